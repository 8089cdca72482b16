"""The choice of a container's sizes for a data set and a budget, from flags and the environment."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from hmn.containers.factorized import plan_factorized
from hmn.containers.frequency import plan_frequency
from hmn.containers.hmn_sizes import plan as plan_shape
from hmn.containers.hmn_sizes import preset
from hmn.containers.inr import plan_inr
from hmn.containers.linear import plan_linear
from hmn.containers.mosaic import plan_mosaic
from hmn.containers.pixels import plan_pixels
from hmn.containers.shape import RivalShape
from hmn.errors import UserError
from hmn.recipes.settings import ContainerName, SizesConfig

if TYPE_CHECKING:
    from hmn.containers import ContainerShape


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


NO_SIZES = SizesConfig()
OWN_SIZES = {
    "factor": ("mosaic", "factor"), "bound": ("mosaic", "bound"), "bases": ("linear", "num_bases"),
    "width": ("inr", "width"), "coefficients": ("frequency", "coefficients"),
    "views": ("frequency", "views"),
}  # fmt: skip
"""Of each size: the container that has it, and its planner's name for it."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A container's sizes, and how they came about."""

    data: str
    ipc: int
    shape: ContainerShape
    reason: str


def choose_shape(
    data: str,
    ipc: int,
    *,
    image_shape: tuple[int, int, int],
    num_classes: int,
    real_per_class: int | None = None,
    images: int | None = None,
    container: ContainerName = "hmn",
    sizes: SizesConfig = NO_SIZES,
) -> Chosen:
    """The published sizes where the data are a preset's, else planned ones; then `images` a class, if given.

    Raises:
        UserError: nothing fits the budget, `images` a class take more than it, or a size that the container has not.
    """
    checked_ipc(data, ipc)
    asked = sizes_of(container, sizes)
    published = preset(data, ipc) if container == "hmn" else None
    if container != "hmn":
        budget = num_classes * ipc * math.prod(image_shape)
        shape: ContainerShape = plan_rival(
            container, num_classes=num_classes, image_shape=image_shape, budget=budget, **asked
        )
        reason = "published or planned for the budget: docs/methods.md"
    elif published is not None and published.image_shape == image_shape and published.num_classes == num_classes:
        shape, reason = published, "published: Table 1 of the supplement of arXiv:2310.07506"
    else:
        shape = plan_shape(num_classes=num_classes, image_shape=image_shape, ipc=ipc, real_per_class=real_per_class)
        reason = "planned: no published sizes for this data set, shape and ipc"
    if images is not None:
        if images < 1:
            raise UserError(f"--images {images}: expected at least 1 image per class.")
        shape, reason = shape.with_images(images), reason + f"; --images {images}"
    shape.ledger().check()
    return Chosen(data=data, ipc=ipc, shape=shape, reason=reason)


def sizes_of(container: ContainerName, sizes: SizesConfig) -> dict[str, Any]:
    """The sizes that are asked for, by the planner's names.

    Raises:
        UserError: a container of this kind has no such size, or it is below 1.
    """
    found = {}
    for name, value in asdict(sizes).items():
        if value is None:
            continue
        owner, argument = OWN_SIZES[name]
        if container != owner:
            raise UserError(f"sizes.{name} {value}: is for --container {owner}, and this is {container}: leave it out.")
        if value < 1:
            raise UserError(f"sizes.{name} {value}: expected at least 1.")
        found[argument] = value
    return found


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
