"""Containers: learned sources of images whose size can be counted."""

from __future__ import annotations

from typing import Any

import torch

from hmn.containers.container import Container, Rival
from hmn.containers.factorized import Factorized, FactorizedShape
from hmn.containers.frequency import Frequency, FrequencyShape
from hmn.containers.hmn import Hmn
from hmn.containers.hmn_sizes import HmnShape
from hmn.containers.inr import Inr, InrShape
from hmn.containers.linear import Linear, LinearShape
from hmn.containers.mosaic import Mosaic, MosaicShape
from hmn.containers.pixels import Pixels, PixelsShape
from hmn.containers.shape import RivalShape
from hmn.data.source import Normalisation

RIVAL_SHAPES: dict[str, type[RivalShape]] = {
    shape.kind: shape for shape in (PixelsShape, MosaicShape, FactorizedShape, LinearShape, InrShape, FrequencyShape)
}
"""Shapes by the container's name."""
ContainerShape = HmnShape | RivalShape
"""The sizes of any container."""
RIVALS: dict[str, type[Rival]] = {
    "pixels": Pixels, "mosaic": Mosaic, "factorized": Factorized, "linear": Linear, "inr": Inr, "frequency": Frequency
}  # fmt: skip
"""Containers besides HMN by name, the `kind` of their shapes."""
AnyContainer = Hmn | Rival[Any]
"""A container with a shape, which can be stored."""


def build_container(
    shape: ContainerShape,
    *,
    class_names: tuple[str, ...],
    normalisation: Normalisation,
    generator: torch.Generator | None = None,
    stored: bool = False,
) -> AnyContainer:
    """A fresh container of these sizes.

    Args:
        shape: the sizes, of any kind.
        class_names: one for each class.
        normalisation: of the real data.
        generator: source of its first values.
        stored: in the form that is stored, to load values into.
    """
    if isinstance(shape, HmnShape):
        return Hmn(shape, class_names=class_names, normalisation=normalisation, generator=generator, folded=stored)
    return RIVALS[shape.kind](shape, class_names=class_names, normalisation=normalisation, generator=generator)


__all__ = [
    "RIVALS",
    "AnyContainer",
    "Container",
    "Factorized",
    "Frequency",
    "Hmn",
    "Inr",
    "Linear",
    "Mosaic",
    "Pixels",
    "Rival",
    "RivalShape",
    "build_container",
]
