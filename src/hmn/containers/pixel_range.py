"""From what is stored to pixels: resized, and clamped to [0, 1] with a gradient as long as a step leads back."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hmn.data.source import Normalisation


def clamped(values: Tensor) -> Tensor:
    """`values` clamped to [0, 1].

    Outside, the gradient passes only where descending along it leads back into the range: with a plain clamp's zero
    gradient a value that has once left it would stay there for ever.
    """
    return _Clamp.apply(values)


def shown(values: Tensor, normalisation: Normalisation) -> Tensor:
    """Normalised images [b, c, h, w], as the published containers hold them, as pixels in [0, 1]."""
    mean, std = (torch.tensor(v, dtype=values.dtype, device=values.device).view(1, -1, 1, 1) for v in normalisation)
    return clamped(values * std + mean)


def resized(images: Tensor, size: tuple[int, ...], *, antialias: bool = False) -> Tensor:
    """Images [b, c, h, w] at another size, bilinearly, as IDC's and LinBa's codes enlarge; no images stay none."""
    if images.shape[2:] == size:
        return images
    if not len(images):  # the share of a process may be empty, which F.interpolate does not take
        return images[:, :, :1, :1].expand(-1, -1, *size)
    return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=antialias)


class _Clamp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.save_for_backward(values)
        return values.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (values,) = ctx.saved_tensors
        inward = ((values >= 0) | (grad < 0)) & ((values <= 1) | (grad > 0))
        return grad * inward
