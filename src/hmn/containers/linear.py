"""LinBa: every image is a linear combination of bases that all classes share, enlarged."""

import math
from dataclasses import dataclass, replace
from typing import Self, final

import torch
from torch import Tensor, nn

from hmn.containers.container import Container, resized, shown
from hmn.containers.shape import Budget, Shape
from hmn.errors import UserError

MIN_BASES = 8
"""Bases of a planned container, where they fit: with fewer, all images are alike."""


@final
@dataclass(frozen=True, kw_only=True)
class LinearShape(Shape):
    """LinBa: bases at reduced size, shared by all classes, and coefficients for every image."""

    words = "bases and coefficients"
    source = "Container: of Remember the Past, [arXiv:2206.02916](https://arxiv.org/abs/2206.02916)"

    num_bases: int
    downsample: int
    """An image's side over a base's, rounded down."""

    def _least_one(self) -> tuple[int, ...]:
        return *super()._least_one(), *self.base_size

    @property
    def base_size(self) -> tuple[int, int]:
        return self.image_shape[1] // self.downsample, self.image_shape[2] // self.downsample

    @classmethod
    def plan(cls, budget: Budget, *, bases: int | None = None) -> Self:
        """LinBa's 16 half-size bases and 115 images a class at 1 IPC of CIFAR-10; elsewhere bases by a rule.

        The rule leaves about 115 * ipc^0.6 images a class, as HMN's sizes grow, with 8 bases at least and no more than
        a base has values. LinBa's sizes at other budgets are not in its code.

        Args:
            bases: bases that all images share.
        """
        lean = cls._for(budget, num_bases=1, downsample=2 if min(budget.image_shape[1:]) >= 4 else 1)
        cls._filled([lean])  # refuses a budget that does not even hold this
        # Bases by the rule or as asked for, then as many images as still fit.
        base = math.prod((budget.image_shape[0], *lean.base_size))
        most = budget.floats // (base + budget.num_classes)
        if bases is not None and bases > most:
            raise UserError(f"linear: {bases} bases do not fit {budget.floats:,} floats: choose at most {most}.")
        if bases is None:
            fitting = round(budget.floats / (base + budget.num_classes * 115 * max(1.0, budget.ipc) ** 0.6))
            bases = min(max(fitting, MIN_BASES), base, most)
        return cls._filled([replace(lean, num_bases=bases)])[0]

    def tensors(self) -> dict[str, tuple[int, ...]]:
        return {
            "bases": (self.num_bases, self.image_shape[0], *self.base_size),
            "coefficients": (self.num_images, self.num_bases),
        }

    def products_per_image(self) -> int:
        return self.num_bases * self.image_shape[0] * math.prod(self.base_size)


@final
class Linear(Container):
    """Image i is coefficients[i] @ bases in normalised units, enlarged bilinearly, and shown as pixels in [0, 1].

    Source: Remember the Past (arXiv:2206.02916) and its code (compressors/imgs_embedding_basis_minibatch.py), whose
    Xavier initialisation this has. Deviation: what is shown is clamped to [0, 1]; there it has no bounds.
    """

    shape_class = LinearShape
    shape: LinearShape
    bases: nn.Parameter
    coefficients: nn.Parameter

    def _first_values(self, name: str, size: tuple[int, ...], generator: torch.Generator) -> Tensor:
        bound = math.sqrt(6 / (size[0] + math.prod(size[1:])))  # Xavier, of the matrix [rows, values]
        return (2 * torch.rand(size, generator=generator) - 1) * bound

    def _rows_of(self, name: str, images: Tensor) -> Tensor | None:
        return images if name == "coefficients" else None

    def images(self, index: Tensor) -> Tensor:
        # Not a matrix product, which rounds by the number of rows: an image alone must have the same bits.
        flat = self.bases.flatten(1)
        weights = self.coefficients[index]
        total = weights[:, :1] * flat[0]
        for number in range(1, len(flat)):
            total = torch.addcmul(total, weights[:, number : number + 1], flat[number])
        small = total.view(len(weights), *self.bases.shape[1:])
        return shown(resized(small, self.image_shape[1:]), self.normalisation)
