from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from hmn.data.source import NORMALISATIONS, SMALLEST_STD, measure, normalisation_for

METHODS = Path(__file__).parents[2] / "docs" / "methods.md"


def test_measure_agrees_with_float64_over_all_pixels() -> None:
    pixels = torch.randint(0, 256, (5000, 3, 4, 5), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    pixels[:, 1] //= 3
    slow = (pixels.double() / 255).transpose(0, 1).reshape(3, -1)
    measured = measure(pixels)
    assert measured.mean == pytest.approx(slow.mean(1).tolist(), rel=1e-12)
    assert measured.std == pytest.approx(slow.std(1, correction=0).tolist(), rel=1e-12)


def test_constant_channels_do_not_divide_by_zero() -> None:
    assert measure(torch.full((3, 1, 2, 2), 7, dtype=torch.uint8)).std == (SMALLEST_STD,)


def test_constants_only_for_the_name_in_its_own_shape() -> None:
    own = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    assert normalisation_for("cifar10", own) == NORMALISATIONS["cifar10"]
    assert normalisation_for(None, own).mean == (0, 0, 0)
    assert normalisation_for("cifar10", own[:, :1]).mean == (0,)
    assert normalisation_for("cifar10", own[:, :, :16, :16]).mean == (0, 0, 0)


def test_the_documented_table_is_the_one_in_use() -> None:
    rows = re.findall(r"^\| ([a-z0-9-]+) +\| ([\d. ]+)\| ([\d. ]+)\|", METHODS.read_text(), flags=re.M)
    told = {name: (tuple(map(float, mean.split())), tuple(map(float, std.split()))) for name, mean, std in rows}
    assert told == {name: tuple(constants) for name, constants in NORMALISATIONS.items()}
