"""The sizes of a hierarchical memory network: what it stores and counts, the published ones, and the planner."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any, ClassVar, final

from hmn.containers.shape import Budget, Shape

EXTRACTOR_CHANNELS = 40
"""Output channels of a class's feature extractor (supplement C.1 of arXiv:2310.07506)."""
SHARED_SHARE = 0.4
"""Part of the budget that memories and weights shared by several images may take before a leaner tier is chosen."""
MAX_MEMORY_SIZE = 12
"""Decoders grow to 96 pixels; larger images are enlarged bilinearly, as the paper does for ImageNet-10."""
_SHARED = ("dataset_channels", "class_channels", "extractor", "hidden")
# What images share, from rich to lean, as in Table 1.
_TIERS: tuple[tuple[int, int, bool, tuple[int, int]], ...] = (
    (50, 30, True, (10, 6)),
    (30, 20, False, (10, 6)),
    (5, 3, False, (10, 6)),
    (2, 2, False, (6, 4)),
    (1, 1, False, (4, 3)),
    (1, 1, False, (2, 2)),
)


@final
@dataclass(frozen=True, kw_only=True)
class HmnShape(Shape):
    """The sizes of a hierarchical memory network. Source: supplement C.1 and Table 1 of arXiv:2310.07506."""

    kind = "hmn"
    words = "a hierarchical memory network"
    source = (
        "Method: Zheng et al., *Leveraging Hierarchical Feature Sharing for Efficient Dataset Condensation*, "
        "[arXiv:2310.07506](https://arxiv.org/abs/2310.07506)"
    )
    parts: ClassVar[Mapping[str, str]] = {
        "dataset_memory": "dataset memory",
        "class_memory": "class memories",
        "instance_memory": "instance memories",
        **dict.fromkeys(("extractor_weight", "extractor_bias"), "class extractors"),
    }
    not_learned_as_stored = (
        "an hmn container is stored with its BatchNorm folded away, so what it learns is not what it stores"
    )
    storing = (
        "BatchNorm is folded into the layer before it when a container is stored, which is why it counts and is not "
        "stored."
    )
    format_version = 1

    memory_size: int
    """Side m of every memory; the decoder doubles it three times."""
    dataset_channels: int
    class_channels: int
    instance_channels: int
    extractor: bool
    """A 1x1 convolution per class between the dataset memory and the decoder (from 10 IPC on)."""
    hidden: tuple[int, int] = (10, 6)
    """Channels after the first and the second transposed convolution."""

    @property
    def dataset_features(self) -> int:
        """Channels of a class's dataset features, which enter the decoder beside its memory and an image's."""
        return EXTRACTOR_CHANNELS if self.extractor else self.dataset_channels

    @property
    def shared_floats(self) -> int:
        """Floats that count and do not belong to one image alone."""
        return self.ledger().num_floats - self.num_images * self.instance_channels * self.memory_size**2

    def tensors(self) -> dict[str, tuple[int, ...]]:
        side, classes = self.memory_size, self.num_classes
        found: dict[str, tuple[int, ...]] = {
            "dataset_memory": (self.dataset_channels, side, side),
            "class_memory": (classes, self.class_channels, side, side),
            "instance_memory": (self.num_images, self.instance_channels, side, side),
        }
        if self.extractor:
            found["extractor_weight"] = (classes, EXTRACTOR_CHANNELS, self.dataset_channels)
            found["extractor_bias"] = (classes, EXTRACTOR_CHANNELS)
        entering = self.dataset_features + self.class_channels + self.instance_channels
        for position, (n_in, n_out) in enumerate(pairwise((entering, *self.hidden, self.image_shape[0]))):
            found[f"decoder.{position}.weight"] = (n_in, n_out, 4, 4)
            found[f"decoder.{position}.bias"] = (n_out,)
        return found

    def folded(self) -> dict[str, int]:
        """BatchNorm of the decoder, which the field counts."""
        return {"decoder": 2 * sum(self.hidden)}

    def products_per_image(self) -> int:
        """The decoder's layers, which run as 3x3 convolutions to four times the channels."""
        (h1, h2), places = self.hidden, 36 * self.memory_size**2
        return places * (self.instance_channels * h1 + 4 * h1 * h2 + 16 * h2 * self.image_shape[0])

    def shared_products(self) -> int:
        """The share of the data set and of the class in the first layer, computed once for every class."""
        each = 36 * (self.dataset_features + self.class_channels) * self.hidden[0]
        each += self.dataset_features * self.dataset_channels if self.extractor else 0
        return self.num_classes * each * self.memory_size**2

    def over_budget(self, data: str, ipc: int) -> int | None:
        return _TABLE_1[data, ipc][-1] if self == preset(data, ipc) else None

    def origin(self, data: str, ipc: int) -> str:
        if self == preset(data, ipc):
            return "published: Table 1 of the supplement of arXiv:2310.07506"
        return "planned: no published sizes for this data set, shape and ipc"

    def facts(self) -> dict[str, Any]:
        channels = {"dataset": self.dataset_channels, "class": self.class_channels, "instance": self.instance_channels}
        widths = {**channels, "hidden": list(self.hidden)}
        return {"memory_size": self.memory_size, "channels": widths, "extractor": self.extractor}

    def in_words(self) -> str:
        return (
            f"memories of {self.memory_size} x {self.memory_size} with {self.dataset_channels} / "
            f"{self.class_channels} / {self.instance_channels} channels (data set / class / image)"
        )

    def why(self) -> str:
        side, grown = max(self.image_shape[1:]), self.memory_size * 8
        growth = f"doubled three times to {grown}" + ("" if grown == side else f" and resized to {side}")
        return (
            f"memories of side {self.memory_size} ({growth}); {self.shared_floats / self.budget:.0%} of the budget "
            f"is for what images share, the rest for {self.images_each()} images per class of "
            f"{self.instance_channels * self.memory_size**2} floats each"
        )

    @classmethod
    def plan(cls, budget: Budget) -> HmnShape:
        """The published sizes; for any other data as many images as the budget holds, never one more.

        The rule. The memory side is the image side over 8, rounded up, at most 12. The shared tiers are the richest
        row of Table 1 (then leaner ones for tiny budgets) that takes at most two fifths of the budget. The instance
        channels are as many as leave about 85 * ipc^0.6 images a class (Table 1 read as a line: 85, 278 and 1,168 at
        1, 10 and 50 IPC), and no more than a quarter of the real images a class where that is known: on small data
        fewer, better images train better (docs/log.md).
        """
        side = min(math.ceil(max(budget.image_shape[1:]) / 8), MAX_MEMORY_SIZE)
        published = preset(budget.data, round(budget.ipc))
        asked = budget.num_classes, budget.image_shape, budget.floats
        if published is not None and (published.num_classes, published.image_shape, published.budget) == asked:
            return published
        # For every tier that fits, the channels that leave about as many images as wanted; then the richest that
        # leaves enough to single images.
        wanted = 85 * budget.ipc**0.6
        if budget.real_per_class is not None:
            wanted = min(wanted, max(1.0, budget.real_per_class / 4))
        tiers: list[dict[str, Any]] = [dict(zip(_SHARED, tier, strict=True)) for tier in _TIERS]
        fitting = cls._filled(
            cls._for(budget, memory_size=side, instance_channels=n, **tier) for tier in tiers for n in range(1, 17)
        )
        filled = [
            min(group, key=lambda shape: abs(math.log(shape.images_per_class[0] / wanted)))
            for _, group in groupby(fitting, key=lambda shape: (shape.dataset_channels, shape.hidden))
        ]
        return next((shape for shape in filled if shape.shared_floats <= SHARED_SHARE * budget.floats), filled[-1])


# Table 1 of the supplement. ImageNet-10 stores one image a class less than its budget would hold, as published.
# Classes, sides of image and memory, channels (data set, class, image), images a class, and over the budget.
_TABLE_1: dict[tuple[str, int], tuple[int, int, int, tuple[int, int, int], int, int]] = {
    ("cifar10", 1): (10, 32, 4, (5, 3, 2), 85, 93),
    ("cifar10", 10): (10, 32, 4, (50, 30, 6), 278, 306),
    ("cifar10", 50): (10, 32, 4, (50, 30, 8), 1168, 1284),
    ("cifar100", 1): (100, 32, 4, (5, 3, 2), 93, 102),
    ("cifar100", 10): (100, 32, 4, (50, 30, 8), 219, 243),
    ("cifar100", 50): (100, 32, 4, (50, 30, 14), 673, 740),
    ("tiny-imagenet", 1): (200, 64, 8, (30, 20, 4), 42, 46),
    ("tiny-imagenet", 10): (200, 64, 8, (50, 30, 10), 185, 203),
    ("imagenet-10", 1): (10, 224, 12, (30, 25, 8), 125, 138),
}
_TABLE_1.update({("svhn", ipc): _TABLE_1["cifar10", ipc] for ipc in (1, 10, 50)})
PRESETS = tuple(_TABLE_1)


def preset(name: str, ipc: int) -> HmnShape | None:
    """The published shape for a data set's name and images per class, or None. Source: supplement Table 1."""
    if (name, ipc) not in _TABLE_1:
        return None
    classes, side, memory_size, (dataset, per_class, instance), images, _ = _TABLE_1[name, ipc]
    return HmnShape(
        image_shape=(3, side, side),
        memory_size=memory_size,
        dataset_channels=dataset,
        class_channels=per_class,
        instance_channels=instance,
        images_per_class=(images,) * classes,
        extractor=ipc >= 10,
        budget=classes * ipc * 3 * side**2,
    )
