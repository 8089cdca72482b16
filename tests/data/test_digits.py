from __future__ import annotations

from importlib import resources

import numpy as np
import torch

from hmn.data.load import load_data
from hmn.data.options import DataOptions


def test_digits_need_no_files_and_are_split_four_to_one() -> None:
    splits = load_data("digits")
    assert splits.train.image_shape == (1, 8, 8) and splits.train.class_names == tuple("0123456789")
    assert (len(splits.train), len(splits.test)) == (1438, 359)
    whole = torch.cat([splits.train.labels, splits.test.labels]).bincount()
    assert whole.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert ((splits.test.labels.bincount() - whole * 0.2).abs() <= 0.5).all()
    assert splits.train.pixels.equal(load_data("digits").train.pixels)
    assert not splits.train.pixels.equal(load_data("digits", DataOptions(split_seed=1)).train.pixels)


def test_sixteen_levels_are_spread_over_the_eight_bits() -> None:
    splits = load_data("digits")
    assert splits.train.pixels.unique().tolist() == [int(v * 255 / 16 + 0.5) for v in range(17)]


def test_size_and_channels() -> None:
    assert load_data("digits", DataOptions(size=16, channels=3)).train.image_shape == (3, 16, 16)


def test_the_stored_file_is_small_and_attributed() -> None:
    folder = resources.files("hmn.data")
    assert len(folder.joinpath("digits.npz").read_bytes()) < 60_000
    text = folder.joinpath("digits.LICENSE.txt").read_text()
    assert "Alpaydin" in text and "Kaynak" in text and "CC BY 4.0" in text and "UCI" in text
    with folder.joinpath("digits.npz").open("rb") as stream, np.load(stream) as stored:
        assert stored["images"].max() == 16 and stored["images"].shape == (1797, 8, 8)
        # The first image of the set is a zero; its second row as published.
        assert stored["labels"][0] == 0 and stored["images"][0, 1].tolist() == [0, 0, 13, 15, 10, 15, 5, 0]


def test_a_linear_probe_learns_from_it() -> None:
    """Images and labels belong together: least squares on pixels gets most of the test set right."""
    splits = load_data("digits")
    x, t = (part.pixels.flatten(1).double() for part in (splits.train, splits.test))
    target = torch.nn.functional.one_hot(splits.train.labels, 10).double()
    weights = torch.linalg.lstsq(torch.nn.functional.pad(x, (0, 1), value=255), target, driver="gelsd").solution
    guess = (torch.nn.functional.pad(t, (0, 1), value=255) @ weights).argmax(1)
    assert (guess == splits.test.labels).double().mean() > 0.9
