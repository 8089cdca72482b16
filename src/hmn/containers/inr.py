"""DDiF: every image is a small sinusoidal network from a pixel's place to its colour."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor, nn

from hmn.containers.pixel_range import shown
from hmn.containers.rival import Rival
from hmn.rival_shapes import InrShape


def coordinates(height: int, width: int) -> Tensor:
    """Rows and columns of all pixels, each from -1 to 1: float32 [2, h * w]."""
    rows, columns = (2 * torch.arange(side) / max(side - 1, 1) - 1 for side in (height, width))
    return torch.stack([rows.repeat_interleave(width), columns.repeat(height)])


@final
class Inr(Rival[InrShape]):
    """Image i is network i at the places of all pixels, in normalised units, shown as pixels in [0, 1].

    Every layer but the last is sin(omega_0 * (W x + b)).

    Source: DDiF (arXiv:2503.04835) and its code (SynSet/DDiF.py: Siren), whose initialisation this has. Deviations:
    what is shown is clamped to [0, 1]; images that are not square have their coordinates from -1 to 1 on both sides,
    where its code divides both by the height. It fits each network to a real image before condensing, which is what
    `reconstruction_step` does here for all of them together.
    """

    weights: nn.ParameterList
    biases: nn.ParameterList

    def _first_values(self, name: str, size: tuple[int, ...], generator: torch.Generator) -> Tensor:
        layer = int(name.split(".")[1])
        n_in = self.shape.widths[layer]
        bound = 1 / n_in if layer == 0 else math.sqrt(6 / n_in) / self.shape.frequency
        return (2 * torch.rand(size, generator=generator) - 1) * bound

    def _rows_of(self, name: str, images: Tensor) -> Tensor | None:
        return images

    def images(self, index: Tensor) -> Tensor:
        """Images at `index` [b], float32 [b, c, h, w] in [0, 1], differentiable in the parameters."""
        channels, height, width = self.image_shape
        # CPU kernels round a batch of one differently: two keep every image's bits the same.
        rows = index.repeat(2) if len(index) == 1 else index
        hidden = coordinates(height, width).to(self.weights[0]).expand(len(rows), -1, -1)
        last = len(self.weights) - 1
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = torch.baddbmm(bias[rows][:, :, None], weight[rows], hidden)
            if layer < last:
                hidden = torch.sin((self.shape.first_frequency if layer == 0 else self.shape.frequency) * hidden)
        return shown(hidden[: len(index)].reshape(len(index), channels, height, width), self.normalisation)
