"""A source hands out labelled images: the one type that training, matching and evaluation take."""

from __future__ import annotations

import hashlib
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor


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
        mean = torch.tensor(self.mean, dtype=images.dtype, device=images.device).view(1, -1, 1, 1)
        std = torch.tensor(self.std, dtype=images.dtype, device=images.device).view(1, -1, 1, 1)
        return (images - mean) / std


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


_HASH_BATCH = 512


def images_checksum(source: Source) -> str:
    """SHA-256 over classes, labels and pixels, in hexadecimal: the same images in the same order, and no others."""
    found = hashlib.sha256(repr((source.class_names, source.image_shape)).encode())
    found.update(source.labels.cpu().contiguous().numpy().tobytes())
    with torch.no_grad():
        for index in torch.arange(len(source)).split(_HASH_BATCH):
            found.update(source.images(index).float().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
