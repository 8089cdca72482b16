"""What the containers besides HMN have in common: a shape that names every tensor, and images that lie in rows."""

from __future__ import annotations

import copy
from abc import abstractmethod
from dataclasses import replace
from typing import Generic, Self, TypeVar

import torch
from torch import Tensor, nn

from hmn.containers.base import Container, check_keep, class_labels, images_of, kept_counts
from hmn.data.source import Normalisation
from hmn.errors import UserError
from hmn.plain_shape import RivalShape
from hmn.plan import Ledger

Shape = TypeVar("Shape", bound=RivalShape)


class Rival(Container, Generic[Shape]):
    """A container whose parameters are the tensors of its shape, by their names.

    A parameter either has rows that belong to single images (or to groups of images of one class), or is shared by
    all images. Every image depends on its own rows and on what is shared, at all times: finalising changes nothing
    that is seen.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        class_names: tuple[str, ...],
        normalisation: Normalisation,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if len(class_names) != shape.num_classes:
            raise ValueError(f"{len(class_names)} class names for {shape.num_classes} classes: expected one for each.")
        self.shape: Shape = shape
        self.class_names, self.normalisation = class_names, normalisation
        self.register_buffer("labels", class_labels(shape.images_per_class), persistent=False)
        generator = generator or torch.Generator().manual_seed(0)
        for name, size in shape.tensors().items():
            self._set(name, self._first_values(name, size, generator))

    def _set(self, name: str, values: Tensor) -> None:
        """Parameter `name` anew; a dot in it means a position in a list of parameters."""
        group, _, position = name.partition(".")
        if not position:
            setattr(self, group, nn.Parameter(values))
            return
        if not hasattr(self, group):
            setattr(self, group, nn.ParameterList())
        listed = getattr(self, group)
        if int(position) < len(listed):
            listed[int(position)] = nn.Parameter(values)
        else:
            listed.append(nn.Parameter(values))

    @abstractmethod
    def _first_values(self, name: str, size: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Values that parameter `name` begins with."""

    @abstractmethod
    def _rows_of(self, name: str, images: Tensor) -> Tensor | None:
        """Rows of parameter `name`, in order, that only the images at `images` (ordered) need; None if shared."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.shape.image_shape

    @property
    def exact_start(self) -> bool:
        return self.shape.exact_start

    @property
    def not_prunable(self) -> str | None:
        return self.shape.not_prunable

    @property
    def copies(self) -> int:
        return self.shape.copies

    def ledger(self) -> Ledger:
        return self.shape.ledger()

    def rows(self, name: str, classes: range) -> slice | None:
        """Rows of parameter `name` that only the images of these classes need; None for one that all images share."""
        span = images_of(self.shape.images_per_class, classes)
        before = self._rows_of(name, torch.arange(span.start))
        own = self._rows_of(name, torch.arange(span.start, span.stop))
        if before is None or own is None:
            return None
        return slice(len(before), len(before) + len(own))

    def part(self, classes: range) -> Self:
        """A copy with the rows of these classes alone, and all that is shared, for one process of several."""
        span = images_of(self.shape.images_per_class, classes)
        return self._with(torch.arange(span.start, span.stop), classes)

    def keep(self, index: Tensor) -> Self:
        """A smaller copy that holds the images at `index` [k]; their pixels do not change.

        Raises:
            ValueError: the index is empty, repeats an image, leaves the range or a class without images.
            UserError: the container cannot be pruned image by image (`not_prunable`).
        """
        if self.not_prunable is not None:
            raise UserError(self.not_prunable)
        index = check_keep(index.cpu(), len(self), self.copies)
        kept_counts(self.labels.cpu(), index, self.class_names)
        return self._with(index, range(self.shape.num_classes))

    def _with(self, images: Tensor, classes: range) -> Self:
        """A copy with the images at `images` (ordered) alone, all of these classes, numbered from 0."""
        smaller = copy.deepcopy(self)
        smaller.shape = self._shape_with(images, classes)
        smaller.class_names = self.class_names[classes.start : classes.stop]
        for name, values in self.named_parameters():
            if (rows := self._rows_of(name, images)) is not None:
                smaller._set(name, values.detach()[rows.to(values.device)].clone())
        smaller.labels = class_labels(smaller.shape.images_per_class).to(self.labels.device)
        return smaller

    def _shape_with(self, images: Tensor, classes: range) -> Shape:
        """The shape with these images alone."""
        labels = self.labels.cpu()[images] - classes.start
        counts = torch.bincount(labels, minlength=len(classes))
        return replace(self.shape, images_per_class=tuple(counts.tolist()))

    def finalised(self) -> Self:
        """The container as it is stored."""
        return copy.deepcopy(self)
