"""IDC's multi-formation: an image is a tile of a mosaic, enlarged; factor^2 images for the price of one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self, final

import torch
from torch import Tensor, nn

from hmn.containers.container import Container, clamped, resized
from hmn.containers.shape import Budget, Shape
from hmn.errors import UserError

BOUND = 128
"""Images a class in IDC's bounded form of a mosaic (its batch_syn_max)."""


@final
@dataclass(frozen=True, kw_only=True)
class MosaicShape(Shape):
    """IDC's multi-formation: a tile of 1/factor of the side is an image, enlarged when it is used."""

    words = "mosaics of tiles"
    source = "Container: of IDC, [arXiv:2205.14959](https://arxiv.org/abs/2205.14959)"
    exact_start = True

    factors: tuple[int, ...]
    """Factors in use, largest first; one, but for the bounded form."""
    tiles: tuple[tuple[int, ...], ...]
    """For each factor, the tiles of each class; images_per_class are their sums."""

    def __post_init__(self) -> None:
        super().__post_init__()
        sums = tuple(sum(counts) for counts in zip(*self.tiles, strict=True))
        if sums != self.images_per_class or len(self.tiles) != len(self.factors):
            raise UserError(f"tiles of a mosaic must add up to its images: got {sums} for {self.images_per_class}.")
        if list(self.factors) != sorted(set(self.factors), reverse=True) or min(map(min, self.tiles)) < 0:
            raise UserError(f"factors of a mosaic must be different and fall, got {self.factors}, {self.tiles}.")

    @classmethod
    def plan(cls, budget: Budget, *, factor: int = 2, bound: int | None = None) -> Self:
        """As many tiles of 1/factor of the side as the budget holds; or IDC's bounded form.

        The bounded form (`bound`; IDC's is BOUND) cuts as many mosaics at the full factor as keep a class within so
        many images, the next ones at a smaller factor, the rest not at all. Where no factor divides the side, tiles
        are rounded up and fewer fit.

        Args:
            factor: tiles are of 1/factor of the side (IDC: 2, and 3 on ImageNet).
            bound: at most so many images a class, the rest of the budget in larger tiles (IDC's bounded form: 128).
        """
        if factor < 1:
            raise UserError(f"mosaic factor {factor}: expected 1 or more; IDC has 2, and 3 on ImageNet.")
        least = cls._for(budget, factors=(factor,), tiles=((1,) * budget.num_classes,))
        filled, mosaics = cls._filled([least])[0], int(budget.ipc)
        return filled if bound is None or not mosaics else least._bounded(mosaics, factor, bound)

    def _bounded(self, mosaics: int, factor: int, bound: int) -> Self:
        """IDC's decode_zoom_bound: never more than the mosaics, nor than the bound where it can be kept."""
        left, shown, tiles = mosaics, 0, {}
        for cut in range(factor, 0, -1):
            room = bound - shown - left  # each mosaic that is not cut yet is an image at least
            count = left if cut == 1 else max(0, min(room // cut**2, left))
            if count:
                tiles[cut] = count * cut**2
            left, shown = left - count, shown + count * cut**2

        def shape() -> Self:
            each = tuple((count,) * self.num_classes for count in tiles.values())
            total = (sum(tiles.values()),) * self.num_classes
            return replace(self, factors=tuple(tiles), images_per_class=total, tiles=each)

        while shape().ledger().num_floats > self.budget:  # tiles rounded up take more than the mosaic they are from
            largest = max(tiles, key=lambda cut: tiles[cut] > 1 and cut)
            tiles[largest] -= 1
        return shape()

    def tile_size(self, factor: int) -> tuple[int, int]:
        """Height and width of a tile, rounded up where the factor does not divide the side."""
        return -(-self.image_shape[1] // factor), -(-self.image_shape[2] // factor)

    def tensors(self) -> dict[str, tuple[int, ...]]:
        return {
            f"tiles.{position}": (sum(counts), self.image_shape[0], *self.tile_size(factor))
            for position, (factor, counts) in enumerate(zip(self.factors, self.tiles, strict=True))
        }

    def products_per_image(self) -> int:
        return 0

    def with_images(self, images_per_class: int) -> MosaicShape:
        """The same with more or fewer tiles of the largest factor."""
        more = (images_per_class - before for before in self.images_per_class)
        first = tuple(count + added for count, added in zip(self.tiles[0], more, strict=True))
        counts = (images_per_class,) * self.num_classes
        return replace(self, images_per_class=counts, tiles=(first, *self.tiles[1:]))


@final
class Mosaic(Container):
    """Image i is tile i, enlarged bilinearly to the image's size.

    The tiles of a class come factor by factor, the largest first. In the bounded form several factors are in use;
    the tiles of factor 1 are whole images.

    Source: IDC (arXiv:2205.14959) section 3 and its code (condense.py: Synthesizer.decode_zoom, decode_zoom_bound,
    and `init` with "mix"). Deviations: tiles are stored one by one, so that single images can be pruned; where the
    factor does not divide the side, IDC pads its mosaic with grey of 0.5, and here the tiles are rounded up and the
    rim is learned, which takes up to 1 % more floats at 224 pixels with factor 3. IDC clamps to [0, 1] once an outer
    iteration, here what is shown is always clamped.
    """

    shape_class = MosaicShape
    holds_pixels = True
    shape: MosaicShape

    def _first_values(self, name: str, size: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return (torch.randn(size, generator=generator) / 4 + 0.5).clamp(0, 1)

    def _groups(self) -> Tensor:
        """Position of every image's factor, int64 [n]."""
        counts = torch.tensor(self.shape.tiles).T.flatten()  # class by class, factor by factor
        return torch.arange(len(self.shape.factors)).repeat(self.shape.num_classes).repeat_interleave(counts)

    def _tiles(self) -> list[nn.Parameter]:
        """The tiles of each factor."""
        return [self.get_parameter(f"tiles.{position}") for position in range(len(self.shape.factors))]

    def _rows_of(self, name: str, images: Tensor) -> Tensor | None:
        of_factor = self._groups() == int(name.split(".")[1])
        row = of_factor.cumsum(0) - 1
        return row[images[of_factor[images]]]

    def images(self, index: Tensor) -> Tensor:
        size = self.image_shape[1:]
        if len(self.shape.factors) == 1:
            return resized(clamped(self._tiles()[0][index]), size)
        where = index.cpu()
        groups = self._groups()[where]
        order, parts = [], []
        for position, tiles in enumerate(self._tiles()):
            of_factor = (groups == position).nonzero()[:, 0]
            rows = self._rows_of(f"tiles.{position}", where[of_factor])
            assert rows is not None
            parts.append(resized(clamped(tiles[rows.to(tiles.device)]), size))
            order.append(of_factor)
        return torch.cat(parts)[torch.cat(order).argsort().to(index.device)]

    def _shape_with(self, images: Tensor, classes: range) -> MosaicShape:
        groups, labels = self._groups()[images], self.labels.cpu()[images] - classes.start
        tiles = tuple(
            tuple(torch.bincount(labels[groups == position], minlength=len(classes)).tolist())
            for position in range(len(self.shape.factors))
        )
        counts = tuple(sum(of_class) for of_class in zip(*tiles, strict=True))
        return replace(self.shape, images_per_class=counts, tiles=tiles)

    def start_from(self, targets: Tensor) -> bool:
        """Shrunken by averaging: IDC's code leaves out pixels (F.interpolate's default), which aliases."""
        groups = self._groups()
        for position, tiles in enumerate(self._tiles()):
            chosen = targets[(groups == position).to(targets.device)]
            tiles.data.copy_(resized(chosen, tiles.shape[2:], antialias=True))
        return True
