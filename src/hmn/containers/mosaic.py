"""IDC's multi-formation: an image is a tile of a mosaic, enlarged; factor^2 images for the price of one."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Self, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hmn.containers.pixel_range import clamped, enlarged
from hmn.containers.rival import Rival
from hmn.rival_shapes import MosaicShape


@final
class Mosaic(Rival[MosaicShape]):
    """Image i is tile i, enlarged bilinearly to the image's size.

    The tiles of a class come factor by factor, the largest first. In the bounded form several factors are in use;
    the tiles of factor 1 are whole images.

    Source: IDC (arXiv:2205.14959) section 3 and its code (condense.py: Synthesizer.decode_zoom, decode_zoom_bound,
    and `init` with "mix"). Deviations: tiles are stored one by one, so that single images can be pruned; where the
    factor does not divide the side, IDC pads its mosaic with grey of 0.5, and here the tiles are rounded up and the
    rim is learned, which takes up to 1 % more floats at 224 pixels with factor 3. IDC clamps to [0, 1] once an outer
    iteration, here what is shown is always clamped.
    """

    tiles: nn.ParameterList

    def _first_values(self, name: str, size: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return (torch.randn(size, generator=generator) / 4 + 0.5).clamp(0, 1)

    def _groups(self) -> Tensor:
        """Position of every image's factor, int64 [n]."""
        return torch.cat([
            torch.full((count,), position)
            for counts in zip(*self.shape.tiles, strict=True)
            for position, count in enumerate(counts)
        ])  # fmt: skip

    def _rows_of(self, name: str, images: Tensor) -> Tensor | None:
        of_factor = self._groups() == int(name.split(".")[1])
        row = of_factor.cumsum(0) - 1
        return row[images[of_factor[images]]]

    def images(self, index: Tensor) -> Tensor:
        """Images at `index` [b], float32 [b, c, h, w] in [0, 1], differentiable in the parameters."""
        height, width = self.image_shape[1:]
        if len(self.tiles) == 1:
            return enlarged(clamped(self.tiles[0][index]), (height, width))
        where = index.cpu()
        groups = self._groups()[where]
        order, parts = [], []
        for position, tiles in enumerate(self.tiles):
            of_factor = (groups == position).nonzero()[:, 0]
            rows = self._rows_of(f"tiles.{position}", where[of_factor])
            assert rows is not None
            parts.append(enlarged(clamped(tiles[rows.to(tiles.device)]), (height, width)))
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
        """Take over these images [n, c, h, w] in [0, 1], shrunken to the tiles' size, one for each of its own.

        Shrunken by averaging: IDC's code leaves out pixels (F.interpolate's default), which aliases.
        """
        groups = self._groups()
        for position, tiles in enumerate(self.tiles):
            chosen = targets[(groups == position).to(targets.device)]
            small = F.interpolate(chosen, tiles.shape[2:], mode="bilinear", antialias=True, align_corners=False)
            tiles.data.copy_(small)
        return True

    def finalised(self) -> Self:
        """The container with tiles in [0, 1]."""
        final = copy.deepcopy(self)
        for tiles in final.tiles:
            tiles.data.clamp_(0, 1)
        return final
