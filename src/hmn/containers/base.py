"""What every container is: a learned source of labelled images with a ledger."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

import torch
from torch import Tensor, nn

from hmn.data.source import Normalisation
from hmn.plan import Ledger

RENDER_CHUNK = 2048
"""Images decoded at a time when a whole container is rendered: bounds memory, large enough for full speed."""


class Container(nn.Module, ABC):
    """A learned source of images: differentiable in its parameters, countable, class by class in order."""

    labels: Tensor
    """int64 [n], one per generated image, in ascending order."""
    class_names: tuple[str, ...]
    normalisation: Normalisation

    def __len__(self) -> int:
        return len(self.labels)

    @property
    @abstractmethod
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width of a generated image."""

    @abstractmethod
    def images(self, index: Tensor) -> Tensor:
        """Images at `index` [b], float32 [b, c, h, w] in [0, 1], differentiable in the parameters."""

    @abstractmethod
    def ledger(self) -> Ledger:
        """Floats and bytes, part by part."""

    @abstractmethod
    def keep(self, index: Tensor) -> Self:
        """A smaller copy that holds the images at `index` [k]; their pixels do not change.

        Raises:
            ValueError: the index is empty, repeats an image, or leaves the range.
        """

    @abstractmethod
    def rows(self, name: str, classes: range) -> slice | None:
        """Rows of parameter `name` that only the images of these classes need; None for one that all images share."""

    @abstractmethod
    def part(self, classes: range) -> Self:
        """A copy with the memories of these classes alone, numbered from 0, for one process of several.

        The processes' parts make up the container: what depends on the images rendered together, such as BatchNorm,
        takes in those that all of them render at the same time, so that rendering a part is collective
        (hmn.distributed).
        """

    @abstractmethod
    def finalised(self) -> Self:
        """The container in a form in which every image is independent of the others, ready to be stored."""

    def render_all(self) -> Tensor:
        """Every image, float32 [n, c, h, w] in [0, 1], without gradients."""
        device = self.labels.device
        with torch.inference_mode():
            chunks = torch.arange(len(self), device=device).split(RENDER_CHUNK)
            images = [self.images(chunk) for chunk in chunks]
            return images[0] if len(images) == 1 else torch.cat(images)


def check_keep(index: Tensor, num_images: int) -> Tensor:
    """The index in ascending order, or an error for an index that is empty, repeated or out of range."""
    ordered = index.sort().values
    if not len(index) or ordered[0] < 0 or ordered[-1] >= num_images or len(ordered.unique()) != len(index):
        raise ValueError(f"cannot keep {index.tolist()[:8]}...: expected distinct images in 0..{num_images - 1}.")
    return ordered
