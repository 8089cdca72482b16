"""DDiF: every image is a small sinusoidal network from a pixel's place to its colour."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Self, final

import torch
from torch import Tensor

from hmn.containers.container import Container, shown
from hmn.containers.shape import Budget, Shape
from hmn.errors import UserError

SMALL_IMAGE = 64
"""Largest side for which DDiF's networks have two sinusoidal layers; three above."""
MAX_LAYERS = 64
"""Sinusoidal layers of a network, at most: a damaged file may ask for any number."""
_INR_WIDTHS: dict[tuple[int, tuple[int, int, int]], dict[float, int]] = {
    (10, (3, 32, 32)): {1: 6, 10: 6, 50: 20},
    (100, (3, 32, 32)): {1: 10, 10: 15, 50: 30},
    (10, (3, 128, 128)): {1: 20, 10: 20, 50: 40},
}
"""Widths of DDiF's networks by classes and shape of an image, by IPC (its code: TM/hyper_params.py)."""


@final
@dataclass(frozen=True, kw_only=True)
class InrShape(Shape):
    """DDiF: a small sinusoidal network (SIREN) for each image, from a pixel's place to its colour."""

    words = "a small sinusoidal network for each,"
    source = "Container: of DDiF, [arXiv:2503.04835](https://arxiv.org/abs/2503.04835)"
    parts: ClassVar[Mapping[str, str]] = {"weights": "networks", "biases": "networks"}

    width: int
    hidden_layers: int
    """Sinusoidal layers; one linear layer to the channels follows."""
    first_frequency: float = 30.0
    frequency: float = 10.0
    """omega_0 of the first and of the other layers (not stored: settings, not values)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden_layers > MAX_LAYERS:
            raise UserError(f"{self.hidden_layers:,} layers, more than the limit of {MAX_LAYERS}.")

    @classmethod
    def plan(cls, budget: Budget, *, width: int | None = None) -> Self:
        """DDiF's published widths; elsewhere the width that leaves about 37 * ipc^0.6 images a class.

        37 images a class is what its networks of width 6 (81 floats each) give at 1 IPC of CIFAR-10. Two sinusoidal
        layers up to 64 pixels, with omega_0 = 30 and 10; three above, with 30 and 40.

        Args:
            width: values between the layers of each image's network.
        """
        # The width that is given or published, else of those that fit the one with the nearest number of images.
        if width is None:
            width = _INR_WIDTHS.get((budget.num_classes, budget.image_shape), {}).get(budget.ipc)
        widths = range(2, 65) if width is None else (width,)
        layers, frequency = (2, 10.0) if max(budget.image_shape[1:]) <= SMALL_IMAGE else (3, 40.0)
        fitting = cls._filled(
            cls._for(budget, width=each, hidden_layers=layers, frequency=frequency) for each in widths
        )
        wanted = 37 * max(1.0, budget.ipc) ** 0.6
        return min(fitting, key=lambda shape: abs(math.log(shape.images_per_class[0] / wanted)))

    @property
    def widths(self) -> tuple[int, ...]:
        """Values between the layers, from two coordinates to the channels."""
        return 2, *(self.width,) * self.hidden_layers, self.image_shape[0]

    def tensors(self) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {}
        for layer, (n_in, n_out) in enumerate(pairwise(self.widths)):
            found[f"weights.{layer}"] = (self.num_images, n_out, n_in)
        for layer, n_out in enumerate(self.widths[1:]):
            found[f"biases.{layer}"] = (self.num_images, n_out)
        return found

    def products_per_image(self) -> int:
        return math.prod(self.image_shape[1:]) * sum(n_in * n_out for n_in, n_out in pairwise(self.widths))


def coordinates(height: int, width: int) -> Tensor:
    """Rows and columns of all pixels, each from -1 to 1: float32 [2, h * w]."""
    rows, columns = (2 * torch.arange(side) / max(side - 1, 1) - 1 for side in (height, width))
    return torch.stack([rows.repeat_interleave(width), columns.repeat(height)])


@final
class Inr(Container):
    """Image i is network i at the places of all pixels, in normalised units, shown as pixels in [0, 1].

    Every layer but the last is sin(omega_0 * (W x + b)).

    Source: DDiF (arXiv:2503.04835) and its code (SynSet/DDiF.py: Siren), whose initialisation this has. Deviations:
    what is shown is clamped to [0, 1]; images that are not square have their coordinates from -1 to 1 on both sides,
    where its code divides both by the height. It fits each network to a real image before condensing, which is what
    `reconstruction_step` does here for all of them together.
    """

    shape_class = InrShape
    shape: InrShape

    def _first_values(self, name: str, size: tuple[int, ...], generator: torch.Generator) -> Tensor:
        layer = int(name.split(".")[1])
        n_in = self.shape.widths[layer]
        bound = 1 / n_in if layer == 0 else math.sqrt(6 / n_in) / self.shape.frequency
        return (2 * torch.rand(size, generator=generator) - 1) * bound

    def _rows_of(self, name: str, images: Tensor) -> Tensor | None:
        return images

    def images(self, index: Tensor) -> Tensor:
        channels, height, width = self.image_shape
        # CPU kernels round a batch of one differently: two keep every image's bits the same.
        rows = index.repeat(2) if len(index) == 1 else index
        hidden = coordinates(height, width).to(self.get_parameter("weights.0")).expand(len(rows), -1, -1)
        for layer in range(self.shape.hidden_layers + 1):
            weight, bias = self.get_parameter(f"weights.{layer}"), self.get_parameter(f"biases.{layer}")
            hidden = torch.baddbmm(bias[rows][:, :, None], weight[rows], hidden)
            if layer < self.shape.hidden_layers:
                hidden = torch.sin((self.shape.first_frequency if layer == 0 else self.shape.frequency) * hidden)
        return shown(hidden[: len(index)].reshape(len(index), channels, height, width), self.normalisation)
