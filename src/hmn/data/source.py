"""A source hands out labelled images: the one type that training, matching and evaluation take.

What its images are normalised with is what is usual for a known data set (docs/methods.md says where it is from), else
measured.
"""

import hashlib
from abc import ABC
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from hmn.data.known_sizes import PUBLISHED


class Batch(NamedTuple):
    """Images [b, c, h, w] and their labels [b]."""

    images: Tensor
    labels: Tensor


class Normalisation(NamedTuple):
    """Mean and standard deviation per channel, of pixels in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def apply(self, images: Tensor) -> Tensor:
        """Images [b, c, h, w] in [0, 1], shifted and scaled per channel."""
        mean, std = (torch.tensor(part, dtype=images.dtype, device=images.device).view(1, -1, 1, 1) for part in self)
        return (images - mean) / std


NORMALISATIONS = {
    "cifar10": Normalisation((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": Normalisation((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)),
    "svhn": Normalisation((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
    "mnist": Normalisation((0.1307,), (0.3081,)),
    "fashion-mnist": Normalisation((0.2860,), (0.3530,)),
    "tiny-imagenet": Normalisation((0.4802, 0.4481, 0.3975), (0.2770, 0.2691, 0.2821)),
    "imagenet-10": Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
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
        means.append(float((share * levels).sum()))
        stds.append(max(float((share * (levels - means[-1]) ** 2).sum().sqrt()), SMALLEST_STD))
    return Normalisation(tuple(means), tuple(stds))


def normalisation_for(name: str | None, pixels: Tensor) -> Normalisation:
    """The constants of a known data set in its own shape, else those of `pixels` uint8 [n, c, h, w]."""
    if name in NORMALISATIONS and tuple(pixels.shape[1:]) == PUBLISHED[name].image_shape:
        return NORMALISATIONS[name]
    return measure(pixels)


@runtime_checkable
class Source(Protocol):
    """Labelled images that can be asked for by index: real data, a container, or a rendered container."""

    @property
    def labels(self) -> Tensor:
        """Class of every image, int64 [n]."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; as many as there are classes."""
        ...

    @property
    def normalisation(self) -> Normalisation:
        """What networks are shown the images with."""
        ...

    def __len__(self) -> int:
        """Number of images."""
        ...

    def images(self, index: Tensor) -> Tensor:
        """Images at `index` [b] as float32 [b, c, h, w] in [0, 1]."""
        ...

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        ...


class HeldImages(ABC):
    """What every source has whose images are all in memory."""

    pixels: Tensor
    """[n, c, h, w]."""
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = self.pixels.shape[1:]
        return channels, height, width

    def images(self, index: Tensor) -> Tensor:
        """Images at `index` [b], as they are held."""
        return self.pixels[index.to(self.pixels.device)]


_HASH_BATCH = 512


def images_checksum(source: Source) -> str:
    """SHA-256 over classes, labels and pixels, in hexadecimal: the same images in the same order, and no others."""
    found = hashlib.sha256(repr((source.class_names, source.image_shape)).encode())
    found.update(source.labels.cpu().contiguous().numpy().tobytes())
    with torch.no_grad():
        for index in torch.arange(len(source)).split(_HASH_BATCH):
            found.update(source.images(index).float().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
