"""Sizes for the containers besides HMN that fit a budget in floats: published ones where there are, else the rule's.

docs/methods.md has the published sizes with their sources.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from hmn.errors import UserError
from hmn.plain_shape import RivalShape
from hmn.rival_shapes import (
    FactorizedShape,
    FrequencyShape,
    InrShape,
    LinearShape,
    MosaicShape,
    PixelsShape,
)

HALLUCINATORS = 5
"""Of HaBa (its scripts: --n_style=5)."""
MIN_BASES = 8
"""Of LinBa's container, where they fit: with fewer, all images are alike."""
BOUND = 128
"""Images a class in the bounded form of a mosaic (IDC's batch_syn_max)."""
SHARE_OF_VALUES = 81 / 3072
"""Coefficients over an image's values at 1 IPC: on CIFAR-10 as many floats an image as DDiF's networks have."""
MIN_COEFFICIENTS = 8
"""Of an image: with fewer, it is hardly more than its mean colour."""
SMALL_SIDE = 64
"""Largest side for which DDiF's networks have two sinusoidal layers; three above."""
_INR_WIDTHS = {
    (10, 32, 1): 6, (10, 32, 10): 6, (10, 32, 50): 20,
    (100, 32, 1): 10, (100, 32, 10): 15, (100, 32, 50): 30,
    (10, 128, 1): 20, (10, 128, 10): 20, (10, 128, 50): 40,
}  # fmt: skip
"""Widths of DDiF's networks by classes, side of an image with 3 channels, and IPC (its code: TM/hyper_params.py)."""


def plan_pixels(*, num_classes: int, image_shape: tuple[int, int, int], budget: int) -> PixelsShape:
    """As many whole images a class as the budget holds.

    Raises:
        UserError: not one image of each class fits.
    """
    images = budget // (num_classes * math.prod(image_shape))
    if images < 1:
        raise _too_small("pixels", num_classes, image_shape, budget, num_classes * math.prod(image_shape))
    return PixelsShape(image_shape=image_shape, images_per_class=(images,) * num_classes, budget=budget)


def plan_mosaic(
    *,
    num_classes: int,
    image_shape: tuple[int, int, int],
    budget: int,
    factor: int = 2,
    bound: int | None = None,
) -> MosaicShape:
    """As many tiles of 1/factor of the side as the budget holds; or IDC's bounded form.

    The bounded form (`bound`; IDC's is BOUND) cuts as many mosaics at the full factor as keep a class within so many
    images, the next ones at a smaller factor, the rest not at all. Where no factor divides the side, tiles are rounded
    up and fewer fit.

    Raises:
        UserError: not one tile of each class fits, or the factor is below 1.
    """
    if factor < 1:
        raise UserError(f"mosaic factor {factor}: expected 1 or more; IDC has 2, and 3 on ImageNet.")
    one = (1,) * num_classes
    least = MosaicShape(image_shape=image_shape, images_per_class=one, budget=budget, factors=(factor,), tiles=(one,))
    tile = least.ledger().num_floats
    if tile > budget:
        raise _too_small("mosaic", num_classes, image_shape, budget, tile)
    mosaics = budget // (num_classes * math.prod(image_shape))
    if bound is None or not mosaics:
        return least.with_images(budget // tile)
    return _bounded(least, mosaics, factor, bound)


def _bounded(least: MosaicShape, mosaics: int, factor: int, bound: int) -> MosaicShape:
    """The division of IDC's decode_zoom_bound: never more than the mosaics, nor than the bound where it can be kept."""
    left, shown, tiles = mosaics, 0, {}
    for cut in range(factor, 0, -1):
        room = bound - shown - left  # each mosaic that is not cut yet is an image at least
        count = left if cut == 1 else max(0, min(room // cut**2, left))
        if count:
            tiles[cut] = count * cut**2
        left, shown = left - count, shown + count * cut**2

    def shape() -> MosaicShape:
        return replace(
            least, factors=tuple(tiles), images_per_class=(sum(tiles.values()),) * least.num_classes,
            tiles=tuple((count,) * least.num_classes for count in tiles.values()),
        )  # fmt: skip

    while shape().ledger().num_floats > least.budget:  # tiles rounded up take more than the mosaic that they are from
        largest = max(tiles, key=lambda cut: tiles[cut] > 1 and cut)
        tiles[largest] -= 1
    return shape()


def plan_factorized(*, num_classes: int, image_shape: tuple[int, int, int], budget: int) -> FactorizedShape:
    """Bases of full depth with five hallucinators, as published; where those do not fit, what gives most images.

    HaBa does not count its hallucinators; here they count, and at 1 IPC of CIFAR-10 (30,720 floats) the published
    27,840 floats of hallucinators leave no room for ten bases. Then the bases are grey (HaBa's --single_channel)
    and the hallucinators as many as give the most images.

    Raises:
        UserError: not one base of each class fits beside one hallucinator.
    """
    full = _with_bases(num_classes, image_shape, budget, image_shape[0], HALLUCINATORS)
    if full is not None:
        return full
    candidates = [
        shape
        for channels in sorted({1, image_shape[0]}, reverse=True)
        for count in range(HALLUCINATORS, 0, -1)
        if (shape := _with_bases(num_classes, image_shape, budget, channels, count)) is not None
    ]
    if not candidates:
        lean = FactorizedShape(image_shape=image_shape, images_per_class=(1,) * num_classes, budget=budget,
                               num_hallucinators=1, base_channels=1)  # fmt: skip
        raise _too_small("factorized", num_classes, image_shape, budget, lean.ledger().num_floats)
    return max(candidates, key=lambda shape: (shape.num_images, shape.base_channels))


def _with_bases(
    num_classes: int, image_shape: tuple[int, int, int], budget: int, channels: int, hallucinators: int
) -> FactorizedShape | None:
    one = FactorizedShape(
        image_shape=image_shape, images_per_class=(hallucinators,) * num_classes, budget=budget,
        num_hallucinators=hallucinators, base_channels=channels,
    )  # fmt: skip
    each = num_classes * channels * math.prod(image_shape[1:])
    bases = (budget - one.ledger().num_floats) // each + 1
    return one.with_images(bases * hallucinators) if bases >= 1 else None


def plan_linear(
    *, num_classes: int, image_shape: tuple[int, int, int], budget: int, num_bases: int | None = None
) -> LinearShape:
    """LinBa's 16 half-size bases and 115 images a class at 1 IPC of CIFAR-10; elsewhere bases by a rule.

    The rule leaves about 115 * ipc^0.6 images a class, as HMN's sizes grow, with 8 bases at least and no more than
    a base has values. LinBa's sizes at other budgets are not in its code.

    Raises:
        UserError: not one image of each class fits beside one base.
    """
    downsample = 2 if min(image_shape[1:]) >= 4 else 1
    lean = LinearShape(
        image_shape=image_shape, images_per_class=(1,) * num_classes, budget=budget, num_bases=1, downsample=downsample
    )
    if lean.ledger().num_floats > budget:
        raise _too_small("linear", num_classes, image_shape, budget, lean.ledger().num_floats)
    base = math.prod((image_shape[0], *lean.base_size))
    ipc = budget / (num_classes * math.prod(image_shape))
    fitting = round(budget / (base + num_classes * 115 * max(1.0, ipc) ** 0.6))
    wanted = num_bases or min(max(fitting, MIN_BASES), base)
    most = budget // (base + num_classes)
    if num_bases is not None and num_bases > most:
        raise UserError(f"linear: {num_bases} bases do not fit {budget:,} floats: choose at most {most}.")
    bases = min(wanted, most)
    images = (budget - bases * base) // (num_classes * bases)
    return replace(lean, num_bases=bases).with_images(images)


def plan_inr(*, num_classes: int, image_shape: tuple[int, int, int], budget: int, width: int | None = None) -> InrShape:
    """DDiF's published widths; elsewhere the width that leaves about 37 * ipc^0.6 images a class.

    37 images a class is what its networks of width 6 (81 floats each) give at 1 IPC of CIFAR-10. Two sinusoidal
    layers up to 64 pixels, with omega_0 = 30 and 10; three above, with 30 and 40.

    Raises:
        UserError: not one network of width 2 for each class fits, or of the width asked for.
    """
    small = max(image_shape[1:]) <= SMALL_SIDE
    ipc = budget / (num_classes * math.prod(image_shape))

    def of_width(width: int) -> InrShape:
        lean = InrShape(
            image_shape=image_shape, images_per_class=(1,) * num_classes, budget=budget, width=width,
            hidden_layers=2 if small else 3, frequency=10.0 if small else 40.0,
        )  # fmt: skip
        images = budget // lean.ledger().num_floats
        if images < 1:
            raise _too_small("inr", num_classes, image_shape, budget, lean.ledger().num_floats)
        return lean.with_images(images)

    square = image_shape[0] == 3 and image_shape[1] == image_shape[2] and ipc == int(ipc)
    chosen = width or (_INR_WIDTHS.get((num_classes, image_shape[1], int(ipc))) if square else None)
    if chosen is not None:
        return of_width(chosen)
    wanted, best = 37 * max(1.0, ipc) ** 0.6, of_width(2)
    for candidate in range(3, 65):
        try:
            shape = of_width(candidate)
        except UserError:
            break
        if abs(math.log(shape.images_per_class[0] / wanted)) < abs(math.log(best.images_per_class[0] / wanted)):
            best = shape
    return best


def plan_frequency(
    *, num_classes: int, image_shape: tuple[int, int, int], budget: int, coefficients: int | None = None, views: int = 1
) -> FrequencyShape:
    """81 coefficients an image and 37 images a class at 1 IPC of CIFAR-10; elsewhere as many as a rule says.

    The rule leaves about 37 * ipc^0.6 images a class, as the one for DDiF's widths, with 8 coefficients at least and no
    more than an image has values. With two views an image is also shown mirrored.

    Raises:
        UserError: not one image of so many coefficients for each class fits, they are more than an image's values, or
            views are not 1 or 2.
    """
    values, of_class = math.prod(image_shape), budget // num_classes
    least = min(MIN_COEFFICIENTS, values)
    if coefficients is None:
        if of_class < least:
            raise _too_small("frequency", num_classes, image_shape, budget, least * num_classes)
        fitting = round(budget / num_classes * SHARE_OF_VALUES / max(1.0, budget / (num_classes * values)) ** 0.6)
        coefficients = min(max(fitting, least), values)
    elif coefficients > (most := min(of_class, values)):
        raise UserError(f"frequency: {coefficients} coefficients an image do not fit {budget:,} floats and images of "
                        f"{values:,} values: choose at most {most}.")  # fmt: skip
    lean = FrequencyShape(
        image_shape=image_shape, images_per_class=(views,) * num_classes, budget=budget, coefficients=coefficients,
        views=views,
    )  # fmt: skip
    return lean.with_images(of_class // coefficients * views)


PLANNERS: dict[str, Callable[..., RivalShape]] = {
    "pixels": plan_pixels, "mosaic": plan_mosaic, "factorized": plan_factorized, "linear": plan_linear, "inr": plan_inr,
    "frequency": plan_frequency,
}  # fmt: skip
"""Planners by the container's name; all take num_classes, image_shape and budget."""


def plan_rival(
    kind: str, *, num_classes: int, image_shape: tuple[int, int, int], budget: int, **sizes: int
) -> RivalShape:
    """The sizes of a container by its name; `sizes` are what its planner takes besides.

    Raises:
        UserError: an unknown name, fewer than two classes, or a budget that holds nothing.
    """
    if kind not in PLANNERS:
        raise UserError(f"container {kind!r}: expected one of hmn, {', '.join(PLANNERS)}.")
    if num_classes < 2 or image_shape[0] not in (1, 3):
        raise UserError(f"cannot plan for {num_classes} classes of {image_shape} images: "
                        "expected at least 2 classes and 1 or 3 channels.")  # fmt: skip
    return PLANNERS[kind](num_classes=num_classes, image_shape=image_shape, budget=budget, **sizes)


def _too_small(kind: str, num_classes: int, image_shape: tuple[int, int, int], budget: int, needed: int) -> UserError:
    return UserError(
        f"a budget of {budget:,} floats cannot hold a container of kind {kind} for {num_classes} classes of "
        f"{image_shape} images, which needs at least {needed:,}: raise --ipc."
    )
