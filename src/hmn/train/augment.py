"""Differentiable augmentation, several operations on an image (IDC) or a single one (DSA); and CutMix within a batch.

`draw` makes every random number, `apply` makes none: the same parameters on the same image give the same
bits, whatever else is in the batch. Siamese augmentation is one row of parameters expanded to the real and
to the generated images of a class.

Source: DSA (arXiv:2102.08259, utils.py of its code, aug_mode "S"), and the form that IDC (arXiv:2205.14959) gives it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hmn.errors import UserError
from hmn.recipes.settings import AugmentConfig

STAY, CROP, SCALE, ROTATE = range(4)
_CHOICES = {"crop": CROP, "scale": SCALE, "rotate": ROTATE}
_OPERATIONS = ("color", "crop", "scale", "rotate", "flip", "cutout")


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class AugmentParams:
    """What happens to each of n images; None where no image has the operation.

    They stay on the CPU, where `apply` can look at them without waiting for a device.
    """

    choice: Tensor
    """int64 [n]: STAY, CROP, SCALE or ROTATE."""
    flip: Tensor | None
    """bool [n]: mirrored left to right, before everything else."""
    color: Tensor | None
    """float64 [n, 3]: brightness shift, saturation factor, contrast factor, applied in this order."""
    shift: Tensor | None
    """int64 [n, 2]: rows and columns by which CROP moves its window, in pixels."""
    warp: Tensor | None
    """float64 [n, 2, 2]: output (x, y) in [-1, 1] to input (x, y), for SCALE and ROTATE."""
    hole: Tensor | None
    """int64 [n, 4]: top, left, bottom, right of the square set to zero, may reach outside of the image."""

    def __len__(self) -> int:
        return len(self.choice)

    def expand(self, index: Tensor) -> AugmentParams:
        """The rows at `index` [b], repeated as it repeats them: siamese is `expand(class of each image)`."""
        return replace(self, **{name: rows[index.cpu()] for name, rows in vars(self).items() if rows is not None})


def operations(strategy: str) -> frozenset[str]:
    """The operations that a strategy such as "color_crop_cutout" lists; none of them for "none". Raises UserError: an
    operation is not known.
    """
    listed = frozenset(strategy.lower().split("_")) if strategy.lower() not in ("", "none") else frozenset()
    unknown = sorted(listed.difference(_OPERATIONS))
    if unknown:
        how = f"join some of {', '.join(_OPERATIONS)} by '_', or give 'none'"
        raise UserError(f"unknown augmentation {unknown[0]!r} in {strategy!r}: {how}.")
    return listed


def without_cutout(config: AugmentConfig) -> AugmentConfig:
    """The same augmentation less its cutout, as IDC trains where CutMix is on."""
    kept = [name for name in config.strategy.lower().split("_") if name != "cutout"]
    return replace(config, strategy="_".join(kept) or "none")


def draw(
    config: AugmentConfig,
    n: int,
    image_shape: tuple[int, int, int],
    generator: torch.Generator,
    *,
    one_choice: bool = False,
) -> AugmentParams:
    """Random parameters for n images of shape (channels, height, width); `generator` is a CPU generator.

    One of the listed {crop, scale, rotate} is chosen per row, or with `config.at_once` "one" a single operation of
    all that are listed, colour being brightness, saturation and contrast together. IDC and DSA choose once per call:
    a siamese row is a call of its own (one class), so a choice per row is theirs there; for per-sample training set
    `one_choice`, and the whole batch has one choice, the parameters still differing from image to image.
    """
    listed = operations(config.strategy)
    sides = image_shape[1:]
    rows = 1 if one_choice else n
    if config.at_once == "one" and listed:
        places = torch.tensor([place for place, name in enumerate(_OPERATIONS) if name in listed])
        turn = places[torch.randint(len(places), (rows,), generator=generator)].expand(n)
        choice = torch.tensor([_CHOICES.get(name, STAY) for name in _OPERATIONS])[turn]
    else:
        turn = None
        choices = torch.tensor([_CHOICES[name] for name in _CHOICES if name in listed] or [STAY])
        choice = choices[torch.randint(len(choices), (rows,), generator=generator)].expand(n)
    # Every operation that is listed draws, in this order, whether its turn comes or not.
    uniform = partial(torch.rand, dtype=torch.float64, generator=generator)
    flip = color = shift = warp = hole = None
    if "flip" in listed:
        flip = uniform(n) < 0.5
    if "color" in listed:
        u = uniform(n, 3)
        brightness, saturation = (u[:, 0] - 0.5) * config.brightness, u[:, 1] * config.saturation
        color = torch.stack([brightness, saturation, 1 + (2 * u[:, 2] - 1) * config.contrast], dim=1)
    if "crop" in listed:
        shift = torch.stack([_shifts(side, config.crop_share, n, generator) for side in sides], dim=1)
    if "scale" in listed or "rotate" in listed:
        zoom = 1 / config.scale + uniform(n, 2) * (config.scale - 1 / config.scale)
        angle = (2 * uniform(n) - 1) * config.rotate_degrees * torch.pi / 180
        cos, sin = angle.cos(), angle.sin()
        turned = torch.stack([cos, -sin, sin, cos], dim=1).view(n, 2, 2)
        warp = torch.where((choice == SCALE).view(-1, 1, 1), torch.diag_embed(zoom), turned)
    if "cutout" in listed:
        (top, bottom), (left, right) = (_holes(side, config.cutout_share, n, generator) for side in sides)
        hole = torch.stack([top, left, bottom, right], dim=1)
    params = AugmentParams(choice=choice, flip=flip, color=color, shift=shift, warp=warp, hole=hole)
    return params if turn is None else _alone(params, turn)


def _alone(params: AugmentParams, turn: Tensor) -> AugmentParams:
    """The same draws, but nothing where another operation has its turn (crop's siblings are in `choice` already)."""

    def kept(name: str, values: Tensor | None, nothing: Tensor) -> Tensor | None:
        its = turn == _OPERATIONS.index(name)
        if values is None or not its.any():
            return None
        return torch.where(its if values.dim() == 1 else its[:, None], values, nothing.to(values.dtype))

    zero = torch.zeros(())
    flip, color = kept("flip", params.flip, zero), kept("color", params.color, torch.tensor([0.0, 1.0, 1.0]))
    shift, hole = kept("crop", params.shift, zero), kept("cutout", params.hole, zero)
    return replace(params, flip=flip, color=color, shift=shift, hole=hole)


def apply(images: Tensor, params: AugmentParams) -> Tensor:
    """Normalised images [b, c, h, w], changed row by row as `params` (b rows) says; differentiable in them.

    Order: flip, brightness, saturation, contrast, the chosen one of crop / scale / rotate, cutout. What lies outside of
    the image is zero. Saturation is the identity for one channel. Raises ValueError: there are not as many rows of
    parameters as images.
    """
    if len(params) != len(images):
        raise ValueError(f"{len(params)} rows of parameters for {len(images)} images: give one for each.")
    if params.color is not None:
        images = _recolor(images, params.color)
    warped = (params.choice >= SCALE).nonzero()[:, 0]
    if len(warped) == 0:
        return _move(images, params)
    if len(warped) == len(images):
        return _warp(images, params)
    moved = (params.choice < SCALE).nonzero()[:, 0]
    # Some rows are warped, the others moved by whole pixels: each part by its own gather, then in order again.
    back = torch.cat([moved, warped]).argsort().to(images.device)
    ways = ((_move, moved), (_warp, warped))
    parts = [change(images[rows.to(images.device)], params.expand(rows)) for change, rows in ways]
    return torch.cat(parts)[back]


def _shifts(side: int, share: float, n: int, generator: torch.Generator) -> Tensor:
    most = int(side * share + 0.5)
    return torch.randint(-most, most + 1, (n,), generator=generator)


def _holes(side: int, share: float, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Ends of n holes centred anywhere; an even hole has one more place, so that both edges are alike."""
    size = int(side * share + 0.5)
    first = torch.randint(0, side + (1 - size % 2), (n,), generator=generator) - size // 2
    return first, first + size


def _recolor(images: Tensor, color: Tensor) -> Tensor:
    """Brightness b, saturation s, contrast k at once: k s x + k (1 - s) m + (b + (1 - k) M).

    m is the mean over channels at each pixel, M the mean over the image. Saturation moves neither, contrast
    moves not M, brightness moves both by b: so the three operations in turn come to this.
    """
    shift, saturation, contrast = color.to(images.device, images.dtype).view(-1, 3, 1, 1, 1).unbind(1)
    pixel = images if images.shape[1] == 1 else images.mean(dim=1, keepdim=True)
    # Rows first: the sum over a large image alone in its batch is split between threads and rounds otherwise.
    whole = pixel.contiguous().mean(dim=3).mean(dim=2).view(-1, 1, 1, 1)
    base = shift + (1 - contrast) * whole
    if images.shape[1] == 1:
        return images * contrast + base
    return images * (contrast * saturation) + (pixel * (contrast * (1 - saturation)) + base)


def _kept(params: AugmentParams, height: int, width: int) -> Tensor:
    """bool [n, h, w], False in the holes."""
    if params.hole is None:
        return torch.ones((), dtype=torch.bool)
    top, left, bottom, right = params.hole.view(-1, 4, 1).unbind(1)
    rows, columns = torch.arange(height), torch.arange(width)
    in_rows, in_columns = (rows >= top) & (rows < bottom), (columns >= left) & (columns < right)
    return ~(in_rows[:, :, None] & in_columns[:, None, :])


def _masked(images: Tensor, keep: Tensor) -> Tensor:
    """Images with zeros where `keep` is False; `keep` without dimensions keeps everything."""
    return images if keep.dim() == 0 else images * keep.to(images.device, images.dtype)[:, None]


def _move(images: Tensor, params: AugmentParams) -> Tensor:
    """Flip, shift by whole pixels and cutout: one gather and one mask."""
    n, channels, height, width = images.shape
    keep = _kept(params, height, width)
    if params.flip is not None or params.shift is not None:
        rows, columns = torch.arange(height).expand(n, -1), torch.arange(width).expand(n, -1)
        if params.shift is not None:
            rows, columns = rows + params.shift[:, :1], columns + params.shift[:, 1:]
            near_rows, near_columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
            inside = (rows == near_rows)[:, :, None] & (columns == near_columns)[:, None, :]
            keep = keep & inside
            rows, columns = near_rows, near_columns
        if params.flip is not None:
            columns = torch.where(params.flip[:, None], width - 1 - columns, columns)
        index = (rows[:, :, None] * width + columns[:, None, :]).view(n, 1, height * width).to(images.device)
        images = images.flatten(2).gather(2, index.expand(-1, channels, -1)).view(images.shape)
    return _masked(images, keep)


def _warp(images: Tensor, params: AugmentParams) -> Tensor:
    """Flip and scale or rotate by bilinear sampling with zeros outside, then cutout."""
    assert params.warp is not None
    n, _, height, width = images.shape
    warp = params.warp.to(images.device, images.dtype)
    # Pixel centres in [-1, 1]. Not F.affine_grid: its matrix product rounds by the size of the batch.
    x, y = ((2 * torch.arange(side, dtype=torch.float64) + 1) / side - 1 for side in (width, height))
    x, y = x.to(warp).view(1, 1, width), y.to(warp).view(1, height, 1)
    from_x = warp[:, 0, 0].view(n, 1, 1) * x + warp[:, 0, 1].view(n, 1, 1) * y
    from_y = warp[:, 1, 0].view(n, 1, 1) * x + warp[:, 1, 1].view(n, 1, 1) * y
    if params.flip is not None:  # sampling the mirrored image at x is sampling the image at -x
        from_x = torch.where(params.flip.to(images.device).view(n, 1, 1), -from_x, from_x)
    images = F.grid_sample(images.contiguous(), torch.stack([from_x, from_y], dim=3), align_corners=False)
    return _masked(images, _kept(params, height, width))


class Mix(NamedTuple):
    """One draw of CutMix for a batch of b images."""

    rows: slice
    columns: slice
    """The box."""
    other: Tensor
    """int64 [b], on the CPU: the image that each image's box comes from."""
    kept_share: float
    """Share of a picture that is still its own, after clipping."""


def draw_mix(
    count: int, size: tuple[int, int], *, probability: float, alpha: float, generator: torch.Generator
) -> Mix | None:
    """With `probability`, one box and one share for a batch of `count` images of `size`, as in IDC; None otherwise.

    `generator` is a CPU generator. Source: arXiv:1905.04899, Eq. 1, 2.
    """
    if float(torch.rand((), generator=generator)) >= probability:
        return None
    # torch's own Beta takes no generator; numpy's is seeded from ours.
    rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
    cut = (1 - rng.beta(alpha, alpha)) ** 0.5
    (top, bottom), (left, right) = (_box(side, cut, rng) for side in size)
    other = torch.randperm(count, generator=generator)
    kept = 1 - (bottom - top) * (right - left) / (size[0] * size[1])
    return Mix(slice(top, bottom), slice(left, right), other, kept)


def cutmix(
    images: Tensor, labels: Tensor, *, probability: float, alpha: float, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, float]:
    """With `probability`, one box of every image [b, c, h, w] is replaced by the same box of another image.

    Returns (images, labels_a, labels_b, lam): lam is the share of the picture that is still labels_a's; the loss is
    lam * CE(labels_a) + (1 - lam) * CE(labels_b). The box and the share are those of `draw_mix`.
    """
    height, width = images.shape[2:]
    mix = draw_mix(len(images), (height, width), probability=probability, alpha=alpha, generator=generator)
    if mix is None:
        return images, labels, labels, 1.0
    other = mix.other.to(images.device)
    mixed = images.clone()
    mixed[:, :, mix.rows, mix.columns] = images[:, :, mix.rows, mix.columns][other]
    return mixed, labels, labels[other], mix.kept_share


def _box(side: int, cut: float, rng: np.random.Generator) -> tuple[int, int]:
    """First and past-the-last pixel of a span of about `cut * side`, centred anywhere, clipped."""
    half, centre = int(side * cut) // 2, int(rng.integers(side))
    return max(centre - half, 0), min(centre + half, side)
