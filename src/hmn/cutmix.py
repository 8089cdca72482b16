"""CutMix: boxes of images swapped within a batch, the labels mixed by area."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def cutmix(
    images: Tensor, labels: Tensor, *, probability: float, alpha: float, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, float]:
    """With `probability`, one box of every image [b, c, h, w] is replaced by the same box of another image.

    Returns (images, labels_a, labels_b, lam): lam is the share of the picture that is still labels_a's, after
    clipping; the loss is lam * CE(labels_a) + (1 - lam) * CE(labels_b). One share and one box per batch, as
    in IDC. `generator` is a CPU generator.

    Source: arXiv:1905.04899, Eq. 1, 2.
    """
    if float(torch.rand((), generator=generator)) >= probability:
        return images, labels, labels, 1.0
    # torch's own Beta takes no generator; numpy's is seeded from ours.
    rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
    cut = (1 - rng.beta(alpha, alpha)) ** 0.5
    (top, bottom), (left, right) = (_box(side, cut, rng) for side in images.shape[2:])
    other = torch.randperm(len(images), generator=generator).to(images.device)
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images[:, :, top:bottom, left:right][other]
    lam = 1 - (bottom - top) * (right - left) / (images.shape[2] * images.shape[3])
    return mixed, labels, labels[other], lam


def _box(side: int, cut: float, rng: np.random.Generator) -> tuple[int, int]:
    """First and past-the-last pixel of a span of about `cut * side`, centred anywhere, clipped."""
    half, centre = int(side * cut) // 2, int(rng.integers(side))
    return max(centre - half, 0), min(centre + half, side)
