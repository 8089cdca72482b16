"""Free pixels: every image is stored as it is (DC, DSA, DM, IDC-I, and coresets of real images)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self, final

import torch
from torch import Tensor, nn

from hmn.containers.container import Container, clamped
from hmn.containers.shape import Budget, Shape
from hmn.data.real import RealData
from hmn.errors import UserError


@final
@dataclass(frozen=True, kw_only=True)
class PixelsShape(Shape):
    """Free pixels: DC, DSA, DM, IDC-I, and coresets of real images."""

    words = "free pixels"
    source = "Container: as in DC, [arXiv:2006.05929](https://arxiv.org/abs/2006.05929)"
    exact_start = True

    @classmethod
    def plan(cls, budget: Budget) -> Self:
        """As many whole images a class as the budget holds."""
        return cls._filled([cls._for(budget)])[0]

    def tensors(self) -> dict[str, tuple[int, ...]]:
        return {"pixels": (self.num_images, *self.image_shape)}

    def products_per_image(self) -> int:
        return 0


@final
class Pixels(Container):
    """Image i is row i of the pixels, kept in [0, 1].

    Noise is N(0.5, 0.25) clamped, as in IDC's code (condense.py: Synthesizer). DC, DSA and DM hold normalised pixels
    without bounds; here they are pixels in [0, 1], so a published learning rate is multiplied by the square of the
    normalisation's standard deviation (docs/methods.md).
    """

    shape_class = PixelsShape
    holds_pixels = True
    pixels: nn.Parameter

    @classmethod
    def of(cls, data: RealData, *, budget: int | None = None) -> Pixels:
        """A coreset as a container: these real images, class by class.

        Args:
            data: the chosen images.
            budget: floats that may be used; None for as many as they take.

        Raises:
            UserError: a class has no image.
        """
        counts = torch.bincount(data.labels.cpu(), minlength=data.num_classes).tolist()
        if 0 in counts:
            raise UserError(f"class {data.class_names[counts.index(0)]!r} has no image: choose at least one of each.")
        floats = data.pixels.numel() if budget is None else budget
        shape = PixelsShape(image_shape=data.image_shape, images_per_class=tuple(counts), budget=floats)
        container = cls(shape, class_names=data.class_names, normalisation=data.normalisation)
        container.start_from(data.images(data.labels.argsort(stable=True)))
        return container

    def _first_values(self, name: str, size: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return (torch.randn(size, generator=generator) / 4 + 0.5).clamp(0, 1)

    def _rows_of(self, name: str, images: Tensor) -> Tensor | None:
        return images

    def images(self, index: Tensor) -> Tensor:
        return clamped(self.pixels[index])

    def start_from(self, targets: Tensor) -> bool:
        self.pixels.data.copy_(targets)
        return True
