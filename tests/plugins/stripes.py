"""A container from elsewhere: every image is one row of pixels, repeated downwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from hmn.containers.container import Container, clamped
from hmn.containers.shape import Budget, Shape


@dataclass(frozen=True, kw_only=True)
class StripesShape(Shape):
    """Rows of pixels, `each` of which an image has, one below the other."""

    words = "stripes"
    source = "Container: of a test"
    parts: ClassVar[Mapping[str, str]] = {"stripes": "stripes"}

    each: int

    @classmethod
    def plan(cls, budget: Budget, *, each: int = 1) -> Self:
        """As many images as fit.

        Args:
            each: rows of an image.
        """
        one = cls._for(budget, each=each)
        return one.with_images(budget.floats // one.ledger().num_floats)

    def tensors(self) -> dict[str, tuple[int, ...]]:
        channels, _, width = self.image_shape
        return {"stripes": (self.num_images, channels, self.each, width)}

    def products_per_image(self) -> int:
        return 0


class Stripes(Container):
    """Down the image, its rows begin anew as often as needed."""

    shape_class = StripesShape
    shape: StripesShape
    stripes: nn.Parameter

    def _first_values(self, name: str, size: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return torch.rand(size, generator=generator)

    def _rows_of(self, name: str, images: Tensor) -> Tensor | None:
        return images

    def images(self, index: Tensor) -> Tensor:
        """Images at `index` [b], float32 [b, c, h, w] in [0, 1]."""
        rows = clamped(self.stripes[index])
        return rows.repeat(1, 1, -(-self.image_shape[1] // self.shape.each), 1)[:, :, : self.image_shape[1]]
