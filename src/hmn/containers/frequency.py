"""After FreD: every image is its cosine coefficients at low frequencies, and nothing is shared."""

import heapq
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Self, final

import torch
from torch import Tensor, nn

from hmn.containers.container import Container, clamped
from hmn.containers.shape import Budget, Shape
from hmn.errors import UserError

CHANNEL_VARIANCES = {1: (100.0,), 3: (100.0, 12.0, 3.0)}
"""Variances of the opponent channels' frequency 0 at 32x32 pixels, by the number of channels.

With SLOPE this project's choice after a look at CIFAR-10, which has 52, 9 and 1.6 there and falls as r^-2.7 beside it.
"""
SLOPE = -2.7


class Wave(NamedTuple):
    """A place in the cosine transform of an image."""

    channel: int
    """Opponent channel: brightness, red against blue, green against both; grey images have the first alone."""
    down: int
    across: int
    """Half waves over the image's height and over its width."""


def variance(wave: Wave, image_shape: tuple[int, int, int]) -> float:
    """The variance of an image's coefficient at a frequency, by the rule; it grows with the number of pixels."""
    channels, height, width = image_shape
    radius = math.sqrt(wave.down**2 + wave.across**2)
    return CHANNEL_VARIANCES[channels][wave.channel] * (height * width / 1024) * (1 + radius) ** SLOPE


@lru_cache(maxsize=32)
def kept(image_shape: tuple[int, int, int], count: int) -> tuple[Wave, ...]:
    """The `count` frequencies of largest variance, the largest first; the first in order where they are equal."""
    channels, height, width = image_shape
    # Variances fall along both axes: before a wave that is kept come all that are at most as far down and across.
    few = (
        Wave(channel, down, across)
        for channel in range(channels)
        for down in range(min(height, count))
        for across in range(min(width, count // (down + 1)))
    )
    return tuple(heapq.nsmallest(count, few, key=lambda wave: (-variance(wave, image_shape), wave)))


def extent(image_shape: tuple[int, int, int], count: int) -> tuple[int, int]:
    """How many frequencies downwards and across hold all that are kept."""
    waves = kept(image_shape, count)
    return max(wave.down for wave in waves) + 1, max(wave.across for wave in waves) + 1


SHARE_OF_VALUES = 81 / 3072
"""Coefficients over an image's values at 1 IPC: on CIFAR-10 as many floats an image as DDiF's networks have."""
MIN_COEFFICIENTS = 8
"""Coefficients of a planned image, at least: with fewer, it is hardly more than its mean colour."""


@final
@dataclass(frozen=True, kw_only=True)
class FrequencyShape(Shape):
    """After FreD: cosine coefficients for each image, at low frequencies that a rule chooses."""

    words = "cosine coefficients for each,"
    source = "Container: after FreD, [arXiv:2311.08819](https://arxiv.org/abs/2311.08819)"
    exact_start = True
    added = ("views",)

    coefficients: int
    """Values of an image."""
    views: int = 1
    """2 where every image is also shown mirrored, at no further floats."""

    def __post_init__(self) -> None:
        if self.views not in (1, 2):
            raise UserError(f"{self.views} views of an image: expected 1, or 2 with its mirror image.")
        if odd := [count for count in self.images_per_class if count % self.views]:
            raise UserError(f"{odd[0]:,} images of a class: with 2 views they come in pairs; choose an even number.")
        if not 1 <= self.coefficients <= math.prod(self.image_shape):
            raise UserError(f"{self.coefficients} coefficients: expected 1 to all of an image {self.image_shape}.")
        super().__post_init__()

    @classmethod
    def plan(cls, budget: Budget, *, coefficients: int | None = None, views: int = 1) -> Self:
        """81 coefficients an image and 37 images a class at 1 IPC of CIFAR-10; elsewhere as many as a rule says.

        The rule leaves about 37 * ipc^0.6 images a class, as the one for DDiF's widths, with 8 coefficients at least
        and no more than an image has values.

        Args:
            coefficients: cosine coefficients of each image.
            views: 1, or 2, which also shows every image mirrored, at no further floats.
        """
        values, of_class = math.prod(budget.image_shape), budget.floats // budget.num_classes
        if coefficients is None:
            fitting = round(budget.floats / budget.num_classes * SHARE_OF_VALUES / max(1.0, budget.ipc) ** 0.6)
            coefficients = min(max(fitting, MIN_COEFFICIENTS), values)
        elif coefficients > (most := min(of_class, values)):
            raise UserError(
                f"frequency: {coefficients} coefficients an image do not fit {budget.floats:,} floats and images of "
                f"{values:,} values: choose at most {most}."
            )
        # With views, one image's coefficients show several.
        return cls._filled([cls._for(budget, views, coefficients=coefficients, views=views)])[0]

    def tensors(self) -> dict[str, tuple[int, ...]]:
        return {"coefficients": (self.num_images // self.views, self.coefficients)}

    @property
    def copies(self) -> int:
        return self.views

    def products_per_image(self) -> int:
        (channels, height, width), (down, across) = self.image_shape, extent(self.image_shape, self.coefficients)
        return channels * down * width * (across + height)


OPPONENT = (
    (1 / math.sqrt(3), 1 / math.sqrt(3), 1 / math.sqrt(3)),
    (1 / math.sqrt(2), 0.0, -1 / math.sqrt(2)),
    (1 / math.sqrt(6), -2 / math.sqrt(6), 1 / math.sqrt(6)),
)
"""Brightness, red against blue, green against both, orthonormal: nearly the principal axes of CIFAR-10's pixels, which
are [.56 .58 .60], [.70 .05 -.71] and [-.44 .81 -.38]."""


@final
class Frequency(Container):
    """Image i is the inverse cosine transform of coefficients[i], each times its scale, plus 0.5, shown in [0, 1].

    With two views, images 2 i and 2 i + 1 are that of coefficients[i] and its mirror image. Mirroring turns the sign of
    every frequency with an odd number of half waves over the width.

    Frequencies and scales are a rule's; a stored value has about unit size, which suits Adam.

    Source: the idea is FreD's (arXiv:2311.08819; its code, TM/main_TM_FreD.py: SynSet). Deviations: FreD chooses the
    frequencies of each class, the same for red, green and blue, by the variance that they explain in its images, and
    keeps that choice as a mask beside the coefficients; here a fixed rule chooses them, on opponent channels. There
    images are normalised and without bounds, here what is shown is clamped to [0, 1].
    """

    shape_class = FrequencyShape
    shape: FrequencyShape
    coefficients: nn.Parameter
    places: Tensor
    """int64 [k], the places of the coefficients in the grid [c, u, v] of the frequencies that are in use."""
    scales: Tensor
    """[k], what a stored value of 1 is worth."""
    down: Tensor
    """[h, u], the cosines of each frequency at each row."""
    across: Tensor
    """[v, w], and at each column."""
    signs: Tensor
    """[views, k], what a coefficient is multiplied with in each view."""

    def _prepare(self) -> None:
        shape = self.shape
        waves = kept(shape.image_shape, shape.coefficients)
        u, v = extent(shape.image_shape, shape.coefficients)
        fixed = {
            "places": torch.tensor([(wave.channel * u + wave.down) * v + wave.across for wave in waves]),
            "scales": torch.tensor([math.sqrt(variance(wave, shape.image_shape)) for wave in waves]),
            "down": cosines(shape.image_shape[1], u).T.contiguous(),
            "across": cosines(shape.image_shape[2], v),
            "signs": torch.tensor([[(-1.0) ** (view * wave.across) for wave in waves] for view in range(shape.views)]),
        }
        for name, values in fixed.items():
            self.register_buffer(name, values, persistent=False)

    def _first_values(self, name: str, size: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return torch.randn(size, generator=generator)

    def _rows_of(self, name: str, images: Tensor) -> Tensor | None:
        return images[:: self.copies] // self.copies

    def images(self, index: Tensor) -> Tensor:
        channels, height, width = self.image_shape
        u, v = self.down.shape[1], self.across.shape[0]
        # A product for each image, of sizes that do not know how many there are; CPU kernels round a batch of one
        # differently: two keep every image's bits the same.
        rows = index.repeat(2) if len(index) == 1 else index
        count = len(rows)
        values = self.coefficients[rows // self.copies] * self.scales
        if self.copies > 1:
            values = values * self.signs[rows % self.copies]
        grid = values.new_zeros(count, channels * u * v).index_copy(1, self.places, values)
        colours = turned(grid.view(count, channels, u, v), back=True)
        wide = torch.bmm(colours.view(count, channels * u, v), self.across.expand(count, -1, -1))
        found = torch.bmm(self.down.expand(count * channels, -1, -1), wide.view(count * channels, u, width))
        return clamped(found.view(count, channels, height, width)[: len(index)] + 0.5)

    def start_from(self, targets: Tensor) -> bool:
        """Take over what the images have at its frequencies; of several for the views of one, the first."""
        grid = self.down.T @ ((targets[:: self.copies] - 0.5) @ self.across.T)
        self.coefficients.data.copy_(turned(grid, back=False).flatten(1)[:, self.places] / self.scales)
        return True


def cosines(side: int, count: int) -> Tensor:
    """The first rows of the orthonormal cosine transform (DCT-II) of `side` values: float32 [count, side]."""
    angles = torch.arange(count, dtype=torch.float64)[:, None] * (2 * torch.arange(side) + 1) * (math.pi / (2 * side))
    rows = angles.cos() * math.sqrt(2 / side)
    rows[0] = math.sqrt(1 / side)
    return rows.float()


def turned(images: Tensor, *, back: bool) -> Tensor:
    """Images [b, c, ...] from red, green and blue to opponent channels, or back; grey ones as they are."""
    if images.shape[1] == 1:
        return images
    matrix = tuple(zip(*OPPONENT, strict=True)) if back else OPPONENT
    first, second, third = images.unbind(1)
    return torch.stack([first * a + second * b + third * c for a, b, c in matrix], dim=1)
