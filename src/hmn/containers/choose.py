"""The choice of a container's sizes for a data set and a budget, and of sizes over it, to be pruned into it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hmn.containers.container import container_class
from hmn.containers.shape import Budget, Shape
from hmn.errors import UserError
from hmn.recipes.kinds import CONTAINERS
from hmn.recipes.settings import Recipe
from hmn.recipes.values import changed


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A container's sizes, and how they came about."""

    ipc: int
    shape: Shape
    reason: str


def choose_shape(
    data: str,
    ipc: int,
    *,
    image_shape: tuple[int, int, int],
    num_classes: int,
    real_per_class: int | None = None,
    images: int | None = None,
    container: str = "hmn",
    sizes: Mapping[str, int] | None = None,
) -> Chosen:
    """The published sizes where the data are known, else planned ones; then `images` a class, if given.

    Args:
        data: name of the data set.
        ipc: real images a class whose floats are the budget.
        image_shape, num_classes, real_per_class: of the data, as in `Budget`.
        images: generated images a class, in the place of as many as fit.
        container: its name.
        sizes: in the place of the plan's own choice, by the names of the plan's arguments.

    Raises:
        UserError: nothing fits the budget, `images` a class take more than it, or a size that the container has not.
    """
    checked_ipc(data, ipc)
    shape_class = container_class(container).shape_class
    check_sizes(shape_class, sizes or {})
    budget = Budget.of_images(ipc, num_classes, image_shape, data=data, real_per_class=real_per_class)
    # The sizes, then the number of images that was asked for.
    planned: Callable[..., Shape] = shape_class.plan
    shape = planned(budget, **sizes or {})
    reason = shape.origin(data, ipc)
    if images is not None:
        if images < 1:
            raise UserError(f"--images {images}: expected at least 1 image per class.")
        shape, reason = shape.with_images(images), f"{reason}; --images {images}"
    shape.ledger().check()
    return Chosen(ipc=ipc, shape=shape, reason=reason)


def check_sizes(shape_class: type[Shape], sizes: Mapping[str, int]) -> None:
    """Refuse sizes that this container has not, or that are below 1."""
    known = shape_class.planned_sizes()
    for name, value in sizes.items():
        if name not in known:
            has = f"has {', '.join(known)}" if known else "has none"
            shapes = [container_class(other).shape_class for other in CONTAINERS.names()]
            owners = [shape.kind for shape in shapes if name in shape.planned_sizes()]
            owner = f"is for --container {' or '.join(owners)}, and " if owners else ""
            raise UserError(f"sizes.{name} {value}: {owner}this is {shape_class.kind}, which {has}: leave it out.")
        if value < 1:
            raise UserError(f"sizes.{name} {value}: expected at least 1.")


def checked_ipc(data: str, ipc: int | None) -> int:
    """The images per class, or an error where they are not given or below 1."""
    if ipc is None:
        raise UserError(f"{data}: give --ipc, the images per class whose floats are the budget.")
    if ipc < 1:
        raise UserError(f"--ipc {ipc}: expected at least 1 image per class.")
    return ipc


def learned_as_stored(recipe: Recipe, dtype: str, given: Mapping[str, object]) -> Recipe:
    """The recipe for values that are stored as `dtype`: int4 is also learned so, where `given` does not say how."""
    if dtype != "int4" or "condense.learned_as" in given:
        return recipe
    cannot = container_class(recipe.container).shape_class.not_learned_as_stored
    return recipe if cannot else changed(recipe, {"condense.learned_as": dtype})


@dataclass(frozen=True, kw_only=True)
class OverBudget:
    """A container that is larger than its budget on purpose.

    Source: section 3 of arXiv:2310.07506; over-budget numbers of Table 1 of its supplement.
    """

    asked: str
    """As given: a count, a per cent, or "preset"."""
    in_budget: int
    """Images per class that pruning leaves."""
    images: int
    """Images per class that are condensed."""
    excess_floats: int
    """More than the budget; not above 0 where a published number of images leaves room for one more."""

    def __str__(self) -> str:
        over = f"{self.excess_floats:,} floats over its budget"
        return f"{over}: {self.images:,} images per class, {self.in_budget:,} fit; `hmn prune` brings it within"


def enlarged_shape(shape: Shape, asked: str, *, data: str, ipc: int) -> tuple[Shape, OverBudget]:
    """The same sizes with more images a class than fit.

    Args:
        shape: sizes within the budget, with the same number of images in every class.
        asked: "93", "10%" (of the images that fit, rounded down, at least one) or "preset" (the published number).
        data: name of the data set, for "preset".
        ipc: of the budget, for "preset".

    Raises:
        UserError: none of these, not more than fits, nothing published for these sizes, or a container that pruning
            cannot bring back.
    """
    if shape.not_prunable is not None:
        raise UserError(f"--over-budget {asked}: it could not be pruned into its budget. {shape.not_prunable}")
    fits = shape.images_per_class[0]
    images = _images(asked, fits, shape, data, ipc)
    if images <= fits:
        raise UserError(
            f"--over-budget {asked}: {fits:,} images per class are within the budget already; give more than that, "
            "or --images for fewer."
        )
    larger = shape.with_images(images)
    excess = larger.ledger().num_floats - larger.budget
    return larger, OverBudget(asked=asked, in_budget=fits, images=images, excess_floats=excess)


def _images(asked: str, fits: int, shape: Shape, data: str, ipc: int) -> int:
    if asked == "preset":
        published = shape.over_budget(data, ipc)
        if published is None:
            raise UserError(f"--over-budget preset: no published number for {data} at {ipc} ipc; give a count or 10%.")
        return published
    # A count, or a per cent of what fits.
    number = asked.removesuffix("%")
    try:
        if number == asked:
            return int(asked)
        percent = float(number)
    except ValueError:
        percent = -1.0
    if not 0 < percent < math.inf:
        raise UserError(f"--over-budget {asked}: expected images per class (93), a per cent (10%) or preset.")
    rounded = math.floor(fits // shape.copies * percent / 100 + 1e-9)  # 100 times a tenth may be a hair below 10
    return fits + shape.copies * max(1, rounded)
