"""Grids: every image lies where it should, enlarged and unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hmn.containers.artifact.picture import GAP, MARGIN_LIMIT, grid, save_png, to_uint8
from hmn.errors import UserError

NAMES = ("ant", "bee", "cow")
LABELS = torch.tensor([2, 0, 0, 1, 0, 2])


def images(channels: int = 3, height: int = 24, width: int = 32) -> torch.Tensor:
    return torch.rand(6, channels, height, width, generator=torch.Generator().manual_seed(0)) * 0.9


@pytest.mark.parametrize("channels", [1, 3])
def test_every_image_lies_in_its_classs_row(channels: int) -> None:
    pixels = images(channels)
    picture = np.asarray(grid(pixels, LABELS, NAMES, per_class=2, scale=2))
    picture = picture[:, :, None] if channels == 1 else picture
    margin = picture.shape[1] - 2 * (2 * 32 + GAP) - GAP
    assert picture.shape == (3 * (2 * 24 + GAP) + GAP, picture.shape[1], channels)
    left = np.full_like(picture, 255)
    for index, row, column in ((1, 0, 0), (2, 0, 1), (3, 1, 0), (0, 2, 0), (5, 2, 1)):
        tile = np.round(255 * pixels[index].permute(1, 2, 0).double().numpy()).astype(np.uint8)
        top, start = GAP + row * (48 + GAP), margin + GAP + column * (64 + GAP)
        left[top : top + 48, start : start + 64] = tile.repeat(2, 0).repeat(2, 1)
    assert np.array_equal(picture[:, margin:], left[:, margin:])
    for row in range(3):  # a name stands in the margin of each row
        assert (picture[GAP + row * 50 : (row + 1) * 50, :margin] < 128).any()


@pytest.mark.parametrize(("side", "factor"), [(8, 12), (28, 3), (32, 3), (64, 2), (224, 1)])
def test_small_images_are_enlarged(side: int, factor: int) -> None:
    picture = grid(images(1, side, side), LABELS, NAMES)
    assert picture.height == 3 * (side * factor + GAP) + GAP


def test_tiny_scale_still_leaves_room_for_names() -> None:
    assert grid(images(1, 4, 4), LABELS, NAMES, scale=1).height >= 3 * 14


def test_chosen_classes_and_limits() -> None:
    one = grid(images(), LABELS, NAMES, classes=[2, 0], scale=1)
    assert one.height == 2 * (24 + GAP) + GAP
    assert grid(images(), LABELS, NAMES, classes=99, scale=1).height == 3 * (24 + GAP) + GAP
    empty = grid(images(), LABELS, (*NAMES, "a class without images"), scale=1)
    assert empty.height == 4 * (24 + GAP) + GAP


def test_long_and_odd_names_are_cut() -> None:
    picture = grid(images(), LABELS, ("very long name " * 9, "two\nlines", ""), scale=1)
    assert picture.width <= MARGIN_LIMIT + 3 * (32 + GAP) + GAP


@pytest.mark.parametrize("bad", [{"per_class": 0}, {"classes": 0}, {"classes": [3]}, {"classes": []}, {"scale": 0}])
def test_nothing_to_show(bad: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="expected"):
        grid(images(), LABELS, NAMES, **bad)
    with pytest.raises(UserError, match="cannot draw 0 images"):
        grid(images()[:0], LABELS[:0], NAMES)


def test_to_uint8_rounds_to_the_nearest_and_back() -> None:
    steps = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(steps.float() / 255), steps) and torch.equal(to_uint8(steps), steps)
    assert to_uint8(torch.tensor([-0.1, 1.1, 0.4 / 255, 0.6 / 255])).tolist() == [0, 255, 0, 1]
    with pytest.raises(UserError, match="NaN or infinite"):
        to_uint8(torch.tensor([float("nan")]))


def test_save_png_is_whole_or_absent(tmp_path: Path) -> None:
    picture = grid(images(), LABELS, NAMES)
    for name in ("a.png", "new/b.png"):
        save_png(picture, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "new" / "b.png").read_bytes()
    with pytest.raises(UserError, match="cannot write"):
        save_png(picture, tmp_path / "a.png" / "b.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "new"]
