"""After FreD: every image is its cosine coefficients at low frequencies, and nothing is shared."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor, nn

from hmn.containers.pixel_range import clamped
from hmn.containers.rival import Rival
from hmn.data.source import Normalisation
from hmn.frequencies import extent, kept, variance
from hmn.rival_shapes import FrequencyShape

OPPONENT = (
    (1 / math.sqrt(3), 1 / math.sqrt(3), 1 / math.sqrt(3)),
    (1 / math.sqrt(2), 0.0, -1 / math.sqrt(2)),
    (1 / math.sqrt(6), -2 / math.sqrt(6), 1 / math.sqrt(6)),
)
"""Brightness, red against blue, green against both, orthonormal: nearly the principal axes of CIFAR-10's pixels, which
are [.56 .58 .60], [.70 .05 -.71] and [-.44 .81 -.38]."""


@final
class Frequency(Rival[FrequencyShape]):
    """Image i is the inverse cosine transform of coefficients[i], each times its scale, plus 0.5, shown in [0, 1].

    With two views, images 2 i and 2 i + 1 are that of coefficients[i] and its mirror image. Mirroring turns the sign of
    every frequency with an odd number of half waves over the width.

    Frequencies and scales are a rule's (hmn.frequencies); a stored value has about unit size, which suits Adam.

    Source: the idea is FreD's (arXiv:2311.08819; its code, TM/main_TM_FreD.py: SynSet). Deviations: FreD chooses the
    frequencies of each class, the same for red, green and blue, by the variance that they explain in its images, and
    keeps that choice as a mask beside the coefficients; here a fixed rule chooses them, on opponent channels. There
    images are normalised and without bounds, here what is shown is clamped to [0, 1].
    """

    coefficients: nn.Parameter
    places: Tensor
    """int64 [k], of the coefficients in the grid [c, u, v] of the frequencies that are in use."""
    scales: Tensor
    """[k], what a stored value of 1 is worth."""
    down: Tensor
    """[h, u], the cosines of each frequency at each row."""
    across: Tensor
    """[v, w], and at each column."""
    signs: Tensor
    """[views, k], what a coefficient is multiplied with in each view."""

    def __init__(
        self,
        shape: FrequencyShape,
        *,
        class_names: tuple[str, ...],
        normalisation: Normalisation,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(shape, class_names=class_names, normalisation=normalisation, generator=generator)
        waves = kept(shape.image_shape, shape.coefficients)
        u, v = extent(shape.image_shape, shape.coefficients)
        fixed = {
            "places": torch.tensor([(wave.channel * u + wave.down) * v + wave.across for wave in waves]),
            "scales": torch.tensor([math.sqrt(variance(wave, shape.image_shape)) for wave in waves]),
            "down": cosines(shape.image_shape[1], u).T.contiguous(),
            "across": cosines(shape.image_shape[2], v),
            "signs": torch.tensor(
                [[float((-1) ** (view * wave.across)) for wave in waves] for view in range(shape.views)]
            ),
        }
        for name, values in fixed.items():
            self.register_buffer(name, values, persistent=False)

    def _first_values(self, name: str, size: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return torch.randn(size, generator=generator)

    def _rows_of(self, name: str, images: Tensor) -> Tensor | None:
        return images[:: self.copies] // self.copies

    def images(self, index: Tensor) -> Tensor:
        """Images at `index` [b], float32 [b, c, h, w] in [0, 1], differentiable in the parameters."""
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
        """Take over what these images [n, c, h, w] in [0, 1], one for each of its own, have at its frequencies.

        Of several for the views of one, the first is taken.
        """
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
