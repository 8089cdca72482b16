"""What the shapes of the containers besides HMN have in common: plain tensors, named and counted."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

from hmn.containers.ledger import Ledger, LedgerPart
from hmn.errors import UserError

if TYPE_CHECKING:
    from hmn.containers import ContainerShape


def images_per_class(shape: ContainerShape) -> int | list[int]:
    """Generated images of each class: one number where it is the same for all."""
    counts = set(shape.images_per_class)
    return counts.pop() if len(counts) == 1 else list(shape.images_per_class)


class ImageCounts:
    """What every container's sizes say of its images."""

    images_per_class: tuple[int, ...]

    @property
    def num_classes(self) -> int:
        return len(self.images_per_class)

    @property
    def num_images(self) -> int:
        return sum(self.images_per_class)

    @property
    def copies(self) -> int:
        """Images that share all that is stored of them: they lie one after the other and are pruned together."""
        return 1


def _too_small(kind: str, num_classes: int, image_shape: tuple[int, int, int], budget: int, needed: int) -> UserError:
    return UserError(
        f"a budget of {budget:,} floats cannot hold a container of kind {kind} for {num_classes} classes of "
        f"{image_shape} images, which needs at least {needed:,}: raise --ipc."
    )


@dataclass(frozen=True, kw_only=True)
class RivalShape(ImageCounts, ABC):
    """The sizes of a container whose every stored value is a plain tensor."""

    kind: ClassVar[str]
    """Name of the container."""
    parts: ClassVar[Mapping[str, str]]
    """For a tensor's name (up to its first dot) the words of the ledger's line that it is counted in."""
    exact_start: ClassVar[bool] = False
    """Whether real images are taken over at the start: as they are, as bases, or their low frequencies."""
    not_prunable: ClassVar[str | None] = None
    """Why single images cannot be taken out, as a whole sentence for people; None where they can."""

    image_shape: tuple[int, int, int]
    """Channels, height, width of a generated image."""
    images_per_class: tuple[int, ...]
    """Generated images of each class; its length is the number of classes."""
    budget: int
    """Floats that may be used."""

    def __post_init__(self) -> None:
        sizes = (*self.images_per_class, *self.image_shape, *self._more_sizes())
        if not self.images_per_class or min(sizes) < 1 or self.image_shape[0] not in (1, 3):
            raise UserError(f"every size of a container must be at least 1, with 1 or 3 image channels; got {self}.")

    def _more_sizes(self) -> tuple[int, ...]:
        """Further sizes that must be at least 1."""
        return ()

    @abstractmethod
    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor that generating the images needs, in the order of the parameters."""

    def with_images(self, images_per_class: int) -> Self:
        """The same sizes with another number of images in every class."""
        return replace(self, images_per_class=(images_per_class,) * self.num_classes)

    @abstractmethod
    def products_per_image(self) -> int:
        """Multiply-adds of rendering one image, in convolutions and matrix products."""

    def ledger(self) -> Ledger:
        """Floats by part; all of them are stored."""
        floats: dict[str, int] = {}
        for name, size in self.tensors().items():
            part = self.parts[name.split(".")[0]]
            floats[part] = floats.get(part, 0) + math.prod(size)
        return Ledger(tuple(LedgerPart(part, count, count) for part, count in floats.items()), self.budget)
