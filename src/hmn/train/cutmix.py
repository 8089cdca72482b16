"""CutMix: boxes of images swapped within a batch, the labels mixed by area."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


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
