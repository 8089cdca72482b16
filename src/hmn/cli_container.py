"""The choice of a container's sizes for a data set and a budget, from flags and the environment."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hmn.cli_settings import given_environment
from hmn.errors import UserError
from hmn.plan import plan as plan_shape
from hmn.plan import preset
from hmn.plan_rivals import plan_rival
from hmn.rival_shapes import ContainerShape
from hmn.settings import ContainerName, SizesConfig

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


def sized(container: ContainerName | None, sizes: Mapping[str, Any]) -> tuple[ContainerName, SizesConfig]:
    """The container and its sizes by flags, else by the environment."""
    own = {**given_environment(), **sizes}
    config = SizesConfig(**{path.partition(".")[2]: own[path] for path in own if path.startswith("sizes.")})
    return container or own.get("container", "hmn"), config


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
