"""Containers: learned sources of images whose size can be counted."""

from hmn.containers.base import Container
from hmn.containers.factorized import Factorized
from hmn.containers.hmn import Hmn
from hmn.containers.inr import Inr
from hmn.containers.linear import Linear
from hmn.containers.mosaic import Mosaic
from hmn.containers.pixels import Pixels
from hmn.containers.rival import Rival
from hmn.rival_shapes import RivalShape

RIVALS: dict[str, type[Rival]] = {
    "pixels": Pixels, "mosaic": Mosaic, "factorized": Factorized, "linear": Linear, "inr": Inr
}  # fmt: skip
"""Containers besides HMN by name, the `kind` of their shapes."""

__all__ = ["RIVALS", "Container", "Factorized", "Hmn", "Inr", "Linear", "Mosaic", "Pixels", "Rival", "RivalShape"]
