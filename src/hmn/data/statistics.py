"""Mean and standard deviation per channel: the field's constants for known names, else measured.

| name          | mean                   | standard deviation     | of what                                  |
|---------------|------------------------|------------------------|------------------------------------------|
| cifar10       | 0.4914 0.4822 0.4465   | 0.2470 0.2435 0.2616   | all training pixels, 32 x 32             |
| cifar100      | 0.5071 0.4866 0.4409   | 0.2673 0.2564 0.2762   | all training pixels, 32 x 32             |
| svhn          | 0.4377 0.4438 0.4728   | 0.1980 0.2010 0.1970   | all training pixels, 32 x 32             |
| mnist         | 0.1307                 | 0.3081                 | all training pixels, 28 x 28             |
| fashion-mnist | 0.2860                 | 0.3530                 | all training pixels, 28 x 28             |
| tiny-imagenet | 0.4802 0.4481 0.3975   | 0.2770 0.2691 0.2821   | all training pixels, 64 x 64             |
| imagenet-10   | 0.485  0.456  0.406    | 0.229  0.224  0.225    | all of ImageNet, as always used          |

The DC / DSA / IDC code divides CIFAR by 0.2023 0.1994 0.2010, an average of per-image deviations; here
the deviation of all pixels is used. The constants hold for the data's own size and channels: a data set that
is resized, turned grey, or read from a path is measured.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hmn.data.source import Normalisation

KNOWN: dict[str, tuple[tuple[int, int, int], Normalisation]] = {
    "cifar10": ((3, 32, 32), Normalisation((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))),
    "cifar100": ((3, 32, 32), Normalisation((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762))),
    "svhn": ((3, 32, 32), Normalisation((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970))),
    "mnist": ((1, 28, 28), Normalisation((0.1307,), (0.3081,))),
    "fashion-mnist": ((1, 28, 28), Normalisation((0.2860,), (0.3530,))),
    "tiny-imagenet": ((3, 64, 64), Normalisation((0.4802, 0.4481, 0.3975), (0.2770, 0.2691, 0.2821))),
    "imagenet-10": ((3, 224, 224), Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))),
}
"""Name -> (image shape for which the constants hold, the constants)."""
SMALLEST_STD = 1 / 255
"""Standard deviations below one grey level are raised to it: constant channels must not divide by zero."""


def measure(pixels: Tensor) -> Normalisation:
    """Mean and (population) standard deviation per channel of uint8 images [n, c, h, w], on the scale [0, 1].

    Exact: sums over a histogram of the 256 grey levels, not over floats.
    """
    levels = torch.arange(256, dtype=torch.float64) / 255
    means, stds = [], []
    for channel in range(pixels.shape[1]):
        counts = torch.zeros(256, dtype=torch.float64)
        for block in pixels[:, channel].split(4096):  # blocks: bincount widens its input to int64
            counts += torch.bincount(block.reshape(-1), minlength=256)
        share = counts / counts.sum()
        mean = float((share * levels).sum())
        means.append(mean)
        stds.append(max(float((share * (levels - mean) ** 2).sum().sqrt()), SMALLEST_STD))
    return Normalisation(tuple(means), tuple(stds))


def normalisation_for(name: str | None, pixels: Tensor) -> Normalisation:
    """The constants of a known data set in its own shape, else those of `pixels` uint8 [n, c, h, w]."""
    if name in KNOWN:
        shape, constants = KNOWN[name]
        if tuple(pixels.shape[1:]) == shape:
            return constants
    return measure(pixels)
