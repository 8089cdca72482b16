"""LinBa: every image is a linear combination of bases that all classes share, enlarged."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor, nn

from hmn.containers.pixel_range import enlarged, shown
from hmn.containers.rival import Rival
from hmn.rival_shapes import LinearShape


@final
class Linear(Rival[LinearShape]):
    """Image i is coefficients[i] @ bases in normalised units, enlarged bilinearly, and shown as pixels in [0, 1].

    Source: Remember the Past (arXiv:2206.02916) and its code (compressors/imgs_embedding_basis_minibatch.py), whose
    Xavier initialisation this has. Deviation: what is shown is clamped to [0, 1]; there it has no bounds.
    """

    bases: nn.Parameter
    coefficients: nn.Parameter

    def _first_values(self, name: str, size: tuple[int, ...], generator: torch.Generator) -> Tensor:
        bound = math.sqrt(6 / (size[0] + math.prod(size[1:])))  # Xavier, of the matrix [rows, values]
        return (2 * torch.rand(size, generator=generator) - 1) * bound

    def _rows_of(self, name: str, images: Tensor) -> Tensor | None:
        return images if name == "coefficients" else None

    def images(self, index: Tensor) -> Tensor:
        """Images at `index` [b], float32 [b, c, h, w] in [0, 1], differentiable in the parameters."""
        # Not a matrix product, which rounds by the number of rows: an image alone must have the same bits.
        flat = self.bases.flatten(1)
        weights = self.coefficients[index]
        total = weights[:, :1] * flat[0]
        for number in range(1, len(flat)):
            total = torch.addcmul(total, weights[:, number : number + 1], flat[number])
        small = total.view(len(weights), *self.bases.shape[1:])
        return shown(enlarged(small, self.image_shape[1:]), self.normalisation)
