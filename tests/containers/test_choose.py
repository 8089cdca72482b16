"""Sizes over their budget: what a count, a per cent and the published number stand for."""

from __future__ import annotations

import pytest

from hmn.containers.choose import enlarged_shape
from hmn.containers.hmn_sizes import PRESETS, HmnShape, preset
from hmn.errors import UserError


def cifar(ipc: int = 1) -> HmnShape:
    shape = preset("cifar10", ipc)
    assert shape is not None
    return shape


@pytest.mark.parametrize(("asked", "images"), [("93", 93), ("10%", 93), ("10.0%", 93), ("0.1%", 86), ("preset", 93)])
def test_what_is_asked_for(asked: str, images: int) -> None:
    larger, over = enlarged_shape(cifar(), asked, data="cifar10", ipc=1)
    assert larger.images_per_class == (images,) * 10
    assert (over.in_budget, over.images, over.asked) == (85, images, asked)
    assert over.excess_floats == larger.ledger().num_floats - 30_720 == 30_659 + (images - 85) * 320 - 30_720


def test_in_words() -> None:
    _, over = enlarged_shape(cifar(), "10%", data="cifar10", ipc=1)
    assert str(over).startswith("2,499 floats over its budget: 93 images per class, 85 fit;")


@pytest.mark.parametrize(("name", "ipc"), PRESETS)
def test_every_preset_has_its_published_number(name: str, ipc: int) -> None:
    shape = preset(name, ipc)
    assert shape is not None
    larger, over = enlarged_shape(shape, "preset", data=name, ipc=ipc)
    assert larger.images_per_class[0] == over.images == shape.over_budget(name, ipc)
    assert over.excess_floats > 0


@pytest.mark.parametrize(
    ("asked", "data", "words"),
    [
        ("85", "cifar10", "85 images per class are within the budget already"),
        ("1", "cifar10", "within the budget already"),
        ("0%", "cifar10", "expected images per class"),
        ("-5%", "cifar10", "expected images per class"),
        ("nan%", "cifar10", "expected images per class"),
        ("ten", "cifar10", "expected images per class"),
        ("9.5", "cifar10", "expected images per class"),
        ("", "cifar10", "expected images per class"),
        ("preset", "digits", "no published number for digits"),
        ("preset", "cifar100", "no published number for cifar100"),
    ],
)
def test_mistakes_are_told(asked: str, data: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        enlarged_shape(cifar(), asked, data=data, ipc=1)
