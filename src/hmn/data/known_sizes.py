"""Sizes of data that are not here, from their name or from flags: enough to plan with."""

import re
from typing import NamedTuple

from hmn.errors import UserError


class DataSize(NamedTuple):
    """What a data set is, as far as cost goes."""

    image_shape: tuple[int, int, int]
    """Channels, height, width."""
    num_classes: int
    images_per_class: int
    """Training images; the mean where classes differ."""


PUBLISHED = {
    "cifar10": DataSize((3, 32, 32), 10, 5000),
    "cifar100": DataSize((3, 32, 32), 100, 500),
    "svhn": DataSize((3, 32, 32), 10, 7326),
    "mnist": DataSize((1, 28, 28), 10, 6000),
    "fashion-mnist": DataSize((1, 28, 28), 10, 6000),
    "tiny-imagenet": DataSize((3, 64, 64), 200, 500),
    "imagenet-10": DataSize((3, 224, 224), 10, 1300),
    "imagenet-1k": DataSize((3, 224, 224), 1000, 1281),
}


def size_of(
    name: str,
    *,
    shape: str | None = None,
    classes: int | None = None,
    images_per_class: int | None = None,
    side: int | None = None,
    channels: int | None = None,
) -> DataSize:
    """The size of data by name, with what is given in the place of what is published.

    `shape` is as in "3x224x224" (channels, height, width); then `side`, in pixels, makes images square. Raises
    UserError: something is neither given nor published, or makes no sense.
    """
    known = PUBLISHED.get(name)
    image_shape = parsed_shape(shape) if shape is not None else known.image_shape if known else None
    classes = known.num_classes if classes is None and known else classes
    images_per_class = known.images_per_class if images_per_class is None and known else images_per_class
    if image_shape is None or classes is None or images_per_class is None:
        raise UserError(
            f"{name}: to plan for data that are not here give --shape, --classes and --images-per-class, "
            f"or one of the names {', '.join(PUBLISHED)}."
        )
    # A side and channels that are given reshape what is known.
    image_shape = (channels or image_shape[0], side or image_shape[1], side or image_shape[2])
    if classes < 2 or images_per_class < 1 or min(image_shape) < 1 or image_shape[0] not in (1, 3):
        raise UserError(
            f"--classes {classes}, --images-per-class {images_per_class}, images of {image_shape}: expected at least "
            "2 classes, 1 image of each, and 1 or 3 channels."
        )
    return DataSize(image_shape, classes, images_per_class)


def parsed_shape(text: str) -> tuple[int, int, int]:
    """Channels, height and width from "3x224x224"."""
    found = re.fullmatch(r"(\d{1,6})x(\d{1,6})x(\d{1,6})", text.strip().lower())
    if found is None:
        raise UserError(f"--shape {text!r}: expected channels, height and width, such as 3x224x224.")
    return int(found[1]), int(found[2]), int(found[3])
