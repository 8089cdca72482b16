"""What a container of memories holds and costs: shapes, ledgers, the presets and the planner, without torch.

Counting is arithmetic, so `hmn ledger` and `hmn plan` answer before anything heavy is imported.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

from hmn.containers.ledger import Ledger, LedgerPart
from hmn.containers.shape import ImageCounts
from hmn.errors import UserError

EXTRACTOR_CHANNELS = 40
"""Output channels of a class's feature extractor (supplement C.1 of arXiv:2310.07506)."""


@dataclass(frozen=True, kw_only=True)
class HmnShape(ImageCounts):
    """The sizes of a hierarchical memory network. Source: supplement C.1 and Table 1 of arXiv:2310.07506."""

    kind: ClassVar[str] = "hmn"
    """Name of the container."""
    exact_start: ClassVar[bool] = False
    """Whether real images are taken over at the start; else they are fitted."""
    not_prunable: ClassVar[str | None] = None
    """Why single images cannot be taken out; None where they can."""

    image_shape: tuple[int, int, int]
    """Channels, height, width of a generated image."""
    memory_size: int
    """Side m of every memory; the decoder doubles it three times."""
    dataset_channels: int
    class_channels: int
    instance_channels: int
    images_per_class: tuple[int, ...]
    """Instance memories of each class; its length is the number of classes."""
    extractor: bool
    """A 1x1 convolution per class between the dataset memory and the decoder (from 10 IPC on)."""
    budget: int
    """Floats that may be used."""
    hidden: tuple[int, int] = (10, 6)
    """Channels after the first and the second transposed convolution."""

    def __post_init__(self) -> None:
        smallest = min(
            self.memory_size, self.dataset_channels, self.class_channels, self.instance_channels,
            *self.images_per_class, *self.hidden, *self.image_shape,
        )  # fmt: skip
        if smallest < 1 or self.image_shape[0] not in (1, 3):
            raise UserError(f"every size of a container must be at least 1, with 1 or 3 image channels; got {self}.")

    @property
    def decoder_channels(self) -> int:
        """Channels that enter the decoder for one image: dataset features, class memory, instance memory."""
        return self.dataset_features + self.class_channels + self.instance_channels

    @property
    def dataset_features(self) -> int:
        return EXTRACTOR_CHANNELS if self.extractor else self.dataset_channels

    def ledger(self) -> Ledger:
        """Floats by part: weights, biases and BatchNorm of the decoder counted; folding frees the BatchNorm."""
        cells = self.memory_size**2
        widths = (self.decoder_channels, *self.hidden, self.image_shape[0])
        decoder = sum(16 * n_in * n_out + n_out for n_in, n_out in zip(widths, widths[1:], strict=False))
        batch_norm = 2 * sum(self.hidden)
        extractors = self.num_classes * EXTRACTOR_CHANNELS * (self.dataset_channels + 1) if self.extractor else 0
        parts = [
            LedgerPart("dataset memory", self.dataset_channels * cells, self.dataset_channels * cells),
            *_same("class memories", self.num_classes * self.class_channels * cells),
            *_same("instance memories", self.num_images * self.instance_channels * cells),
            *_same("class extractors", extractors),
            LedgerPart("decoder", decoder + batch_norm, decoder),
        ]
        return Ledger(tuple(part for part in parts if part.num_floats), self.budget)

    def with_images(self, images_per_class: int) -> HmnShape:
        """The same sizes with another number of instance memories in every class."""
        return replace(self, images_per_class=(images_per_class,) * self.num_classes)


def _same(name: str, floats: int) -> list[LedgerPart]:
    return [LedgerPart(name, floats, floats)]


class _Preset(NamedTuple):
    classes: int
    size: int
    memory_size: int
    channels: tuple[int, int, int]
    images: int
    over_budget_images: int


# Table 1 of the supplement. ImageNet-10 stores one image a class less than its budget would hold, as published.
_TABLE_1: dict[tuple[str, int], _Preset] = {
    ("cifar10", 1): _Preset(10, 32, 4, (5, 3, 2), 85, 93),
    ("cifar10", 10): _Preset(10, 32, 4, (50, 30, 6), 278, 306),
    ("cifar10", 50): _Preset(10, 32, 4, (50, 30, 8), 1168, 1284),
    ("cifar100", 1): _Preset(100, 32, 4, (5, 3, 2), 93, 102),
    ("cifar100", 10): _Preset(100, 32, 4, (50, 30, 8), 219, 243),
    ("cifar100", 50): _Preset(100, 32, 4, (50, 30, 14), 673, 740),
    ("tiny-imagenet", 1): _Preset(200, 64, 8, (30, 20, 4), 42, 46),
    ("tiny-imagenet", 10): _Preset(200, 64, 8, (50, 30, 10), 185, 203),
    ("imagenet-10", 1): _Preset(10, 224, 12, (30, 25, 8), 125, 138),
}
_TABLE_1.update({("svhn", ipc): _TABLE_1["cifar10", ipc] for ipc in (1, 10, 50)})
PRESETS = tuple(_TABLE_1)


def preset(name: str, ipc: int) -> HmnShape | None:
    """The published shape for a data set's name and images per class, or None. Source: supplement Table 1."""
    row = _TABLE_1.get((name, ipc))
    if row is None:
        return None
    dataset, per_class, instance = row.channels
    return HmnShape(
        image_shape=(3, row.size, row.size),
        memory_size=row.memory_size,
        dataset_channels=dataset,
        class_channels=per_class,
        instance_channels=instance,
        images_per_class=(row.images,) * row.classes,
        extractor=ipc >= 10,
        budget=row.classes * ipc * 3 * row.size**2,
    )


def over_budget_images(name: str, ipc: int) -> int | None:
    """Instance memories a class to condense before pruning, where Table 1 gives them."""
    row = _TABLE_1.get((name, ipc))
    return None if row is None else row.over_budget_images


# Shared tiers from rich to lean, as in Table 1: (dataset channels, class channels, extractor, decoder widths).
_SHARED: tuple[tuple[int, int, bool, tuple[int, int]], ...] = (
    (50, 30, True, (10, 6)),
    (30, 20, False, (10, 6)),
    (5, 3, False, (10, 6)),
    (2, 2, False, (6, 4)),
    (1, 1, False, (4, 3)),
    (1, 1, False, (2, 2)),
)
SHARED_SHARE = 0.4
"""Part of the budget that memories and weights shared by several images may take before a leaner tier is chosen."""
MAX_MEMORY_SIZE = 12
"""Decoders grow to 96 pixels; larger images are enlarged bilinearly, as the paper does for ImageNet-10."""


def plan(
    *,
    num_classes: int,
    image_shape: tuple[int, int, int],
    ipc: int | None = None,
    budget: int | None = None,
    real_per_class: int | None = None,
) -> HmnShape:
    """A shape for any data set: as many images as the budget holds, never one more.

    The rule. The memory side is the image side over 8, rounded up, at most 12. The shared tiers are the
    richest row of Table 1 (then leaner ones for tiny budgets) that takes at most two fifths of the budget. The
    instance channels are as many as leave about 85 * ipc^0.6 images a class (Table 1 read as a line: 85, 278
    and 1,168 at 1, 10 and 50 IPC), and no more than a quarter of the real images a class where that is known:
    on small data fewer, better images train better (docs/log.md).

    Args:
        num_classes: classes, at least 2.
        image_shape: channels (1 or 3), height, width.
        ipc: real images a class whose floats are the budget; or give `budget`.
        budget: floats.
        real_per_class: real training images a class, if known.

    Raises:
        UserError: nothing fits, or neither/both of `ipc` and `budget` are given.
    """
    pixels = math.prod(image_shape)
    if (ipc is None) == (budget is None):
        raise UserError("plan: give either ipc, images per class, or budget, floats: one of them, not both.")
    if num_classes < 2 or image_shape[0] not in (1, 3) or (ipc is not None and ipc < 1):
        raise UserError(f"cannot plan for {num_classes} classes of {image_shape} images at ipc={ipc}: "
                        "expected at least 2 classes, 1 or 3 channels and ipc >= 1.")  # fmt: skip
    floats = num_classes * ipc * pixels if ipc is not None else int(budget or 0)
    wanted = 85 * (floats / (num_classes * pixels)) ** 0.6
    if real_per_class is not None:
        wanted = min(wanted, max(1.0, real_per_class / 4))
    side = min(math.ceil(max(image_shape[1:]) / 8), MAX_MEMORY_SIZE)
    fitting = None
    for dataset, per_class, extractor, hidden in _SHARED:
        lean = HmnShape(
            image_shape=image_shape, memory_size=side, dataset_channels=dataset, class_channels=per_class,
            instance_channels=1, images_per_class=(1,) * num_classes, extractor=extractor, budget=floats, hidden=hidden,
        )  # fmt: skip
        if lean.ledger().num_floats > floats:
            continue
        fitting = _fill(lean, wanted)
        shared = fitting.ledger().num_floats - fitting.num_images * fitting.instance_channels * side**2
        if shared <= SHARED_SHARE * floats:
            break
    if fitting is None:
        smallest = lean.ledger().num_floats
        raise UserError(
            f"a budget of {floats:,} floats cannot hold a container for {num_classes} classes of "
            f"{image_shape} images, which needs at least {smallest:,}: raise --ipc."
        )
    return fitting


def _fill(lean: HmnShape, wanted: float) -> HmnShape:
    """Instance channels and images for the room that the shared parts leave."""
    candidates = []
    for channels in range(1, 17):
        shape = replace(lean, instance_channels=channels)
        each = lean.num_classes * channels * lean.memory_size**2
        images = (shape.budget - shape.ledger().num_floats) // each + 1
        if images >= 1:
            candidates.append(shape.with_images(images))
    return min(candidates, key=lambda shape: abs(math.log(shape.images_per_class[0] / wanted)))
