"""The choice of a container's sizes for a data set and a budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hmn.containers.container import Container
from hmn.containers.shape import Budget, Shape
from hmn.errors import UserError
from hmn.recipes.kinds import CONTAINERS
from hmn.recipes.settings import Recipe
from hmn.recipes.values import changed


def container_class(name: str) -> type[Container]:
    """The container of a name.

    Raises:
        UserError: nothing is called so.
    """
    found: type[Container] = CONTAINERS.load(name)
    return found


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A container's sizes, and how they came about."""

    data: str
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
        image_shape: channels, height, width.
        num_classes: of the data.
        real_per_class: training images of the smallest class, if known.
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
    return Chosen(data=data, ipc=ipc, shape=shape, reason=reason)


def check_sizes(shape_class: type[Shape], sizes: Mapping[str, int]) -> None:
    """Refuse sizes that this container has not, or that are below 1.

    Raises:
        UserError: one of these.
    """
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
    """The images per class, if they are given.

    Raises:
        UserError: they are not, or are below 1.
    """
    if ipc is None:
        raise UserError(f"{data}: give --ipc, the images per class whose floats are the budget.")
    if ipc < 1:
        raise UserError(f"--ipc {ipc}: expected at least 1 image per class.")
    return ipc


def learned_as_stored(recipe: Recipe, dtype: str, given: Mapping[str, object]) -> Recipe:
    """The recipe for values that are stored as `dtype`: int4 is also learned so, where `given` does not say how."""
    if (
        dtype != "int4"
        or "condense.learned_as" in given
        or container_class(recipe.container).shape_class.not_learned_as_stored
    ):
        return recipe
    return changed(recipe, {"condense.learned_as": dtype})
