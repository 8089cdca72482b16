"""Real images in memory, and their splits by seed."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from hmn.data.source import HeldImages, Normalisation
from hmn.errors import UserError
from hmn.recipes.parts import Fitted
from hmn.runtime.device import moved, resident


@final
@dataclass(frozen=True, eq=False)
class RealData(HeldImages):
    """Labelled images as they were stored, 8 bits a channel, all in memory. A `Source`. Raises UserError: pixels are
    not uint8 [n, c, h, w] with 1 or 3 channels, labels are not int64 [n], or one is outside 0..len(class_names) - 1.
    """

    pixels: Tensor
    """uint8 [n, c, h, w]."""
    labels: Tensor
    """int64 [n], each in 0..num_classes - 1."""
    class_names: tuple[str, ...]
    normalisation: Normalisation
    name: str

    def __post_init__(self) -> None:
        if self.pixels.dtype != torch.uint8 or self.pixels.ndim != 4 or self.pixels.shape[1] not in (1, 3):
            got = f"{self.pixels.dtype} {list(self.pixels.shape)}"
            raise UserError(f"{self.name}: pixels are {got}: expected uint8 [n, c, h, w] with 1 or 3 channels")
        if self.labels.dtype != torch.int64 or self.labels.shape != self.pixels.shape[:1]:
            got = f"{self.labels.dtype} {list(self.labels.shape)}"
            raise UserError(f"{self.name}: labels are {got}: expected int64 [{len(self.pixels)}]")
        if len(self.labels) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < self.num_classes:
            span = f"{int(self.labels.min())}..{int(self.labels.max())}"
            raise UserError(f"{self.name}: labels span {span}: expected 0..{self.num_classes - 1}")

    def images(self, index: Tensor) -> Tensor:
        """Images at `index` [b] as float32 [b, c, h, w] in [0, 1]."""
        return self.pixels[index.to(self.pixels.device)].to(torch.float32) / 255

    def images_on(self, index: Tensor, device: torch.device) -> Tensor:
        """The same on a device. The stored bytes travel, a quarter of what float32 would take."""
        return moved(self.pixels[index.to(self.pixels.device)], device).to(torch.float32) / 255

    def on(self, device: torch.device) -> RealData:
        """With pixels and labels on a CUDA device where they fit (`hmn.runtime.device.fits`), else as it is."""
        placed = self.with_pixels_on(device)
        return self if placed is self else replace(placed, labels=self.labels.to(device))

    def with_pixels_on(self, device: torch.device) -> RealData:
        """The same with the pixels alone: labels stay on the CPU, where they are chosen by."""
        pixels = resident(self.pixels, device)
        return self if pixels is self.pixels else replace(self, pixels=pixels)

    def subset(self, index: Tensor) -> RealData:
        """The images at `index` [m], in that order; classes and normalisation stay."""
        index = index.to(self.pixels.device)
        return replace(self, pixels=self.pixels[index], labels=self.labels[index])

    def fingerprint(self) -> str:
        """A checksum of pixels and labels, to know the same data again."""
        total = zlib.crc32(self.pixels.contiguous().numpy().data, zlib.crc32(self.labels.numpy().tobytes()))
        return f"{len(self)} images, crc32 {total:08x}"

    @property
    def num_classes(self) -> int:
        """Number of classes, with or without images."""
        return len(self.class_names)

    @property
    def fewest(self) -> int:
        """Images of the smallest class."""
        return int(self.labels.bincount(minlength=self.num_classes).min())


@final
@dataclass(frozen=True, eq=False)
class Splits:
    """A data set: what to condense or train on, what to test on, and how many bad images were left out."""

    train: RealData
    test: RealData
    name: str
    skipped: int

    def fitted(self, ipc: int) -> Fitted:
        """What a recipe is fitted to: these data, and a budget of `ipc` real images a class."""
        data, std = self.train, tuple(self.train.normalisation.std)
        return Fitted(dataset=self.name, ipc=ipc, image_shape=data.image_shape, num_classes=data.num_classes, std=std)


def stratified_indices(labels: Tensor, *, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Indices (rest, taken) of labels int64 [n]; of each class round(share * images) are taken, at least 1.

    At least one image of each class is left over too. Both come in storage order; same seed, same split. Raises
    UserError: share is outside (0, 1), or a class that has images has only one.
    """
    if not 0 < share < 1:
        raise UserError(f"split share {share}: expected a fraction between 0 and 1, for example 0.2")
    generator = torch.Generator().manual_seed(seed)
    taken = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().flatten()
        if len(members) < 2:
            raise UserError(f"class {label} has 1 image: a class needs at least 2 images to be split in two")
        count = min(max(round(share * len(members)), 1), len(members) - 1)
        taken[members[torch.randperm(len(members), generator=generator)[:count]]] = True
    return (~taken).nonzero().flatten(), taken.nonzero().flatten()


def split_validation(data: RealData, *, share: float, seed: int) -> tuple[RealData, RealData]:
    """Training data cut into (rest, validation) by seed, class by class; `share` of each class validates.

    Settings such as beta are chosen on the validation part, never on the test set. Raises UserError: share is outside
    (0, 1), or a class has only one image.
    """
    try:
        rest, validation = stratified_indices(data.labels.cpu(), share=share, seed=seed)
    except UserError as error:
        raise UserError(f"{data.name}: cannot carve a validation split: {error}") from None
    return data.subset(rest), data.subset(validation)


def balanced_indices(labels: Tensor, per_class: int, generator: torch.Generator) -> Tensor:
    """A random choice of `per_class` images of each class present in labels [n], class by class: int64 [m]. Raises
    UserError: per_class is below 1, or a class has fewer images than that.
    """
    if per_class < 1:
        raise UserError(f"per_class={per_class}: expected at least 1 image per class")
    labels = labels.cpu()
    chosen = []
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().flatten()
        if len(members) < per_class:
            raise UserError(f"{per_class} images per class asked for, but class {label} has {len(members)}")
        order = torch.randperm(len(members), generator=generator, device=generator.device).cpu()
        chosen.append(members[order[:per_class]])
    return torch.cat(chosen) if chosen else labels.new_empty(0)
