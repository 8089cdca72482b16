"""Presets to the float, and the planner held to its budget on random data sets."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from hmn.containers.hmn_sizes import PRESETS, HmnShape, preset
from hmn.containers.shape import Budget
from hmn.errors import UserError

# Supplement Table 1, with totals from the arithmetic of its decoder: name, ipc, budget, total, images, over budget.
TABLE = [
    ("cifar10", 1, 30_720, 30_659, 85, 93),
    ("cifar10", 10, 307_200, 306_339, 278, 306),
    ("cifar10", 50, 1_536_000, 1_534_819, 1_168, 1_284),
    ("svhn", 1, 30_720, 30_659, 85, 93),
    ("svhn", 10, 307_200, 306_339, 278, 306),
    ("svhn", 50, 1_536_000, 1_534_819, 1_168, 1_284),
    ("cifar100", 1, 307_200, 305_379, 93, 102),
    ("cifar100", 10, 3_072_000, 3_069_779, 219, 243),
    ("cifar100", 50, 15_360_000, 15_342_739, 673, 740),
    ("tiny-imagenet", 1, 2_457_600, 2_418_259, 42, 46),
    ("tiny-imagenet", 10, 24_576_000, 24_489_299, 185, 203),
    ("imagenet-10", 1, 1_505_280, 1_491_699, 125, 138),
]


@pytest.mark.parametrize(("name", "ipc", "budget", "total", "images", "over"), TABLE)
def test_presets(name: str, ipc: int, budget: int, total: int, images: int, over: int) -> None:
    shape = preset(name, ipc)
    assert shape is not None
    ledger = shape.ledger()
    assert (ledger.budget, ledger.num_floats) == (budget, total)
    assert set(shape.images_per_class) == {images}
    assert shape.over_budget(name, ipc) == over
    ledger.check()


@pytest.mark.parametrize(("name", "ipc"), [key for key in PRESETS if key != ("imagenet-10", 1)])
def test_presets_hold_as_many_images_as_fit(name: str, ipc: int) -> None:
    """True of every column of Table 1 but ImageNet-10, which stores 125 where 126 fit."""
    shape = preset(name, ipc)
    assert shape is not None
    assert shape.with_images(shape.images_per_class[0] + 1).ledger().num_floats > shape.budget


def test_unknown_preset_is_none() -> None:
    assert preset("cifar10", 2) is None
    assert preset("digits", 1) is None


@settings(max_examples=300, deadline=None)
@given(
    num_classes=st.integers(2, 300),
    channels=st.sampled_from([1, 3]),
    height=st.integers(2, 300),
    width=st.integers(2, 300),
    ipc=st.integers(1, 60),
    real_per_class=st.none() | st.integers(1, 5000),
)
def test_plan_keeps_to_its_budget(
    num_classes: int, channels: int, height: int, width: int, ipc: int, real_per_class: int | None
) -> None:
    image = (channels, height, width)
    budget = num_classes * ipc * channels * height * width
    try:
        shape = HmnShape.plan(Budget.of_images(ipc, num_classes, image, real_per_class=real_per_class))
    except UserError as error:
        assert "raise --ipc" in str(error)
        leanest = HmnShape(
            image_shape=image,
            memory_size=min(-(-max(height, width) // 8), 12),
            dataset_channels=1,
            class_channels=1,
            instance_channels=1,
            images_per_class=(1,) * num_classes,
            extractor=False,
            budget=budget,
            hidden=(2, 2),
        )
        assert leanest.ledger().num_floats > budget
        return
    assert shape.ledger().num_floats <= budget
    assert shape.num_classes == num_classes and shape.image_shape == image
    more = shape.with_images(shape.images_per_class[0] + 1)
    assert more.ledger().num_floats > budget, "one more image of each class would still fit"
    shape.ledger().check()


def test_plan_stores_about_a_quarter_as_many_images_as_are_real() -> None:
    roomy = HmnShape.plan(Budget.of_images(10, 10, (3, 32, 32)))
    few = HmnShape.plan(Budget.of_images(10, 10, (3, 32, 32), real_per_class=400))
    assert few.instance_channels > roomy.instance_channels
    assert 80 <= few.images_per_class[0] <= 120 < roomy.images_per_class[0]


def test_over_budget_names_the_excess() -> None:
    shape = preset("cifar10", 1)
    assert shape is not None
    with pytest.raises(UserError, match="259 more than the budget of 30,720"):
        shape.with_images(86).ledger().check()


@pytest.mark.parametrize(
    "wrong",
    [{"floats": 0}, {"num_classes": 1}, {"image_shape": (2, 8, 8)}],
)
def test_plan_refuses_nonsense(wrong: dict) -> None:
    with pytest.raises(UserError):
        HmnShape.plan(Budget(**{"num_classes": 10, "image_shape": (3, 8, 8), "floats": 1920, **wrong}))


def test_shape_refuses_empty_parts() -> None:
    with pytest.raises(UserError, match="at least 1"):
        HmnShape(
            image_shape=(3, 8, 8),
            memory_size=1,
            dataset_channels=0,
            class_channels=1,
            instance_channels=1,
            images_per_class=(1, 1),
            extractor=False,
            budget=10,
        )
