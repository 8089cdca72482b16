"""Sizes of the containers besides HMN: the published ones, and never a float over the budget."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings, strategies as st

from hmn.containers.container import container_class
from hmn.containers.factorized import FactorizedShape
from hmn.containers.frequency import FrequencyShape
from hmn.containers.inr import InrShape
from hmn.containers.linear import LinearShape
from hmn.containers.mosaic import BOUND, MosaicShape
from hmn.containers.pixels import PixelsShape
from hmn.containers.shape import Budget
from hmn.errors import UserError
from hmn.recipes.kinds import CONTAINERS

CIFAR = (3, 32, 32)


def budget(classes: int, ipc: int, shape: tuple[int, int, int] = CIFAR) -> int:
    return classes * ipc * math.prod(shape)


def of(floats: int) -> Budget:
    """Floats for CIFAR-10."""
    return Budget(num_classes=10, image_shape=CIFAR, floats=floats)


@settings(max_examples=400, deadline=None)
@given(
    kind=st.sampled_from([kind for kind in CONTAINERS.names() if kind != "hmn"]),
    num_classes=st.integers(2, 120),
    channels=st.sampled_from([1, 3]),
    height=st.integers(3, 130),
    width=st.integers(3, 130),
    floats=st.integers(1, 3_000_000),
)
def test_plans_keep_to_any_budget(
    kind: str, num_classes: int, channels: int, height: int, width: int, floats: int
) -> None:
    shape_of_image = (channels, height, width)
    try:
        shape = container_class(kind).shape_class.plan(
            Budget(num_classes=num_classes, image_shape=shape_of_image, floats=floats)
        )
    except UserError as error:
        assert "raise --ipc" in str(error) and f"{floats:,} floats" in str(error)
        return
    assert shape.kind == kind and shape.num_classes == num_classes and shape.image_shape == shape_of_image
    assert shape.ledger().num_floats == sum(math.prod(size) for size in shape.tensors().values()) <= floats
    shape.ledger().check()
    each = shape.num_hallucinators if isinstance(shape, FactorizedShape) else 1
    more = shape.with_images(shape.images_per_class[0] + each)
    assert more.ledger().num_floats > floats, "one more of each class would still fit"


@settings(max_examples=200, deadline=None)
@given(
    num_classes=st.integers(2, 30),
    side=st.integers(3, 100),
    factor=st.integers(1, 5),
    mosaics=st.integers(1, 80),
    bound=st.integers(1, 200),
)
def test_bounded_mosaics_keep_to_budget_and_bound(
    num_classes: int, side: int, factor: int, mosaics: int, bound: int
) -> None:
    image = (1, side, side)
    floats = budget(num_classes, mosaics, image)
    if math.ceil(side / factor) ** 2 * num_classes > floats:
        return
    shape = MosaicShape.plan(
        Budget(num_classes=num_classes, image_shape=image, floats=floats), factor=factor, bound=bound
    )
    assert shape.ledger().num_floats <= floats
    assert shape.images_per_class[0] <= max(bound, mosaics)


def published_bound(ipc: int, factor_max: int, bound: int) -> list[tuple[int, int]]:
    """Factor and images, step by step as IDC's decode_zoom_bound goes."""
    room, left, total, found = bound - ipc, ipc, 0, []
    for factor in range(factor_max, 0, -1):
        count = min(room // factor**2, left) if factor > 1 else left
        if count:
            found.append((factor, count * factor**2))
        left, total = left - count, total + count * factor**2
        room = bound - total - left
        if left == 0:
            break
    return found


@pytest.mark.parametrize(("ipc", "factor"), [(1, 2), (10, 2), (50, 2), (20, 3), (32, 2), (128, 2), (10, 3)])
def test_bounded_mosaics_are_divided_as_published(ipc: int, factor: int) -> None:
    image = (3, 36, 36)
    shape = MosaicShape.plan(Budget.of_images(ipc, 10, image), factor=factor, bound=BOUND)
    assert [(f, tiles[0]) for f, tiles in zip(shape.factors, shape.tiles, strict=True)] == published_bound(
        ipc, factor, 128
    )
    assert shape.ledger().num_floats == shape.budget  # tiles of a side that the factors divide waste nothing


def test_published_sizes() -> None:
    for ipc in (1, 10, 50):
        pixels = PixelsShape.plan(of(10 * ipc * 3072))
        mosaic = MosaicShape.plan(of(10 * ipc * 3072))
        assert isinstance(pixels, PixelsShape) and pixels.images_per_class == (ipc,) * 10
        assert isinstance(mosaic, MosaicShape) and mosaic.factors == (2,) and mosaic.images_per_class == (4 * ipc,) * 10
    linear = LinearShape.plan(Budget.of_images(1, 10, CIFAR))
    assert isinstance(linear, LinearShape)
    assert (linear.num_bases, linear.downsample, linear.images_per_class[0]) == (16, 2, 115)
    # DDiF: width and images a class; its code divides the budget of a class by a network's floats.
    for classes, ipc, width, images in (
        (10, 1, 6, 37),
        (10, 10, 6, 379),
        (10, 50, 20, 282),
        (100, 1, 10, 17),
        (100, 10, 15, 92),
        (100, 50, 30, 138),
    ):
        inr = InrShape.plan(Budget.of_images(ipc, classes, CIFAR))
        assert isinstance(inr, InrShape)
        assert (inr.width, inr.hidden_layers, inr.frequency, inr.images_per_class[0]) == (width, 2, 10.0, images)
    subset = InrShape.plan(Budget.of_images(1, 10, (3, 128, 128)))
    assert (subset.width, subset.hidden_layers, subset.frequency) == (20, 3, 40.0)


def test_coefficients_leave_images_by_the_rule() -> None:
    """81 floats an image at 1 IPC of CIFAR-10, as DDiF's networks; elsewhere about 37 * ipc^0.6 images a class."""
    for ipc, coefficients, images in ((1, 81, 37), (10, 203, 151), (50, 387, 396)):
        shape = FrequencyShape.plan(of(10 * ipc * 3072))
        assert isinstance(shape, FrequencyShape)
        assert (shape.coefficients, shape.images_per_class[0]) == (coefficients, images)
        assert images == pytest.approx(37 * ipc**0.6, rel=0.03)
    digits = FrequencyShape.plan(Budget(num_classes=10, image_shape=(1, 8, 8), floats=6_400))
    assert (digits.coefficients, digits.images_per_class[0]) == (8, 80)  # by the rule 4, which are too few
    whole = FrequencyShape.plan(Budget(num_classes=2, image_shape=(1, 3, 3), floats=10**6))
    assert whole.coefficients == 9
    chosen = FrequencyShape.plan(of(30_720), coefficients=3_072)
    assert (chosen.coefficients, chosen.images_per_class[0]) == (3_072, 1)
    mirrored = FrequencyShape.plan(of(30_720), views=2)
    assert (mirrored.coefficients, mirrored.images_per_class[0], mirrored.ledger().num_floats) == (81, 74, 29_970)


def test_hallucinators_that_count_leave_fewer_bases() -> None:
    """Published: ipc bases a class and five hallucinators that nobody counts."""
    for ipc, bases, hallucinators, channels in ((1, 1, 3, 1), (10, 9, 5, 3), (50, 49, 5, 3)):
        shape = FactorizedShape.plan(of(10 * ipc * 3072))
        assert (shape.bases_per_class[0], shape.num_hallucinators, shape.base_channels) == (
            bases,
            hallucinators,
            channels,
        )


def test_factors_that_do_not_divide_the_side_cost_floats() -> None:
    image = (3, 224, 224)
    third = MosaicShape.plan(Budget.of_images(20, 10, image), factor=3)
    assert third.tile_size(3) == (75, 75)
    assert third.images_per_class[0] == 178  # IDC: 180, with mosaics padded by grey that it does not count


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: container_class("cubist"),
            "expected one of factorized, frequency, hmn",
        ),
        (
            lambda: PixelsShape.plan(Budget(num_classes=1, image_shape=CIFAR, floats=9)),
            "at least 2 classes",
        ),
        (
            lambda: InrShape.plan(of(9)),
            "needs at least 210",
        ),
        (lambda: MosaicShape.plan(of(10**5), factor=0), "IDC has 2"),
        (lambda: LinearShape.plan(of(30_720), bases=40), "at most 39"),
        (
            lambda: FrequencyShape.plan(of(79)),
            "needs at least 80",
        ),
        (
            lambda: FrequencyShape.plan(of(79), coefficients=8),
            "at most 7",
        ),
        (
            lambda: FrequencyShape.plan(of(30_720), views=3),
            "3 views of an image",
        ),
    ],
)
def test_mistakes_are_told(call, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=words):
        call()


def test_shapes_refuse_sizes_that_contradict_each_other() -> None:
    with pytest.raises(UserError, match="not a multiple of 2"):
        FactorizedShape(image_shape=CIFAR, images_per_class=(3,), budget=1, num_hallucinators=2, base_channels=3)
    with pytest.raises(UserError, match="must add up"):
        MosaicShape(image_shape=CIFAR, images_per_class=(3,), budget=1, factors=(2,), tiles=((4,),))
    with pytest.raises(UserError, match="must be different and fall"):
        MosaicShape(image_shape=CIFAR, images_per_class=(2,), budget=1, factors=(1, 2), tiles=((1,), (1,)))
    with pytest.raises(UserError, match="at least 1"):
        LinearShape(image_shape=CIFAR, images_per_class=(1,), budget=1, num_bases=0, downsample=2)
    with pytest.raises(UserError, match="expected 1 to all"):
        FrequencyShape(image_shape=(1, 2, 2), images_per_class=(1,), budget=9, coefficients=5)
