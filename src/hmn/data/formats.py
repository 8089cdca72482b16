"""What every reader takes and gives, and the checks that all of them share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hmn.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How to read a data set.

    Raises:
        UserError: size below 1, or channels neither 1 nor 3.
    """

    size: int | None = None
    """Side in pixels of the centre square that every image becomes; None demands equal sizes."""
    channels: int | None = None
    """1 or 3; None follows the data."""
    skip_bad: bool = False
    """Leave bad images, rows and classes out and count them, instead of stopping at the first."""
    image_column: str | None = None
    label_column: str | None = None
    progress: bool | None = None
    """None: a bar where stderr is a terminal."""
    cache: bool = True

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise UserError(f"--size {self.size}: expected a side of at least 1 pixel")
        if self.channels not in (None, 1, 3):
            raise UserError(f"--channels {self.channels}: expected 1 (grey) or 3 (RGB)")


class Labelled(NamedTuple):
    """Images uint8 [n, c, h, w] and labels int64 [n]."""

    pixels: np.ndarray
    labels: np.ndarray


class Decoded(NamedTuple):
    """A data set as read: test is None where it must still be split off by a seed."""

    train: Labelled
    test: Labelled | None
    class_names: tuple[str, ...]
    skipped: int


def good_labels(labels: np.ndarray, num_classes: int, *, where: str, skip_bad: bool) -> np.ndarray:
    """Which labels [n] lie in 0..num_classes - 1, as bool [n].

    Raises:
        UserError: one does not, and skip_bad is off.
    """
    good = (labels >= 0) & (labels < num_classes)
    if not good.all() and not skip_bad:
        row = int((~good).nonzero()[0][0])
        raise UserError(f"{where}: label {labels[row]} of row {row} is outside 0..{num_classes - 1}")
    return good


def count_classes(labels: np.ndarray, *, where: str, skip_bad: bool) -> int:
    """Number of classes of unnamed integer labels [n]: the largest plus one.

    With skip_bad, labels beyond the number of images are bad rows, and the largest of the others counts.

    Raises:
        UserError: there are no labels, all are negative, or the largest is beyond the number of images.
    """
    if not len(labels):
        raise UserError(f"{where}: no images: the data set is empty")
    if skip_bad and (labels < len(labels)).any():
        labels = np.where(labels < len(labels), labels, -1)
    largest = int(labels.max())
    if largest < 0:
        raise UserError(f"{where}: all labels are negative ({largest}): this split has no labels")
    if largest >= len(labels):
        row = int(labels.argmax())
        raise UserError(
            f"{where}: label {largest} of row {row}, with {len(labels)} images: expected 0..k-1 for k classes"
        )
    return largest + 1


@dataclass(frozen=True, kw_only=True)
class DataFlags:
    """How to find and read a data set."""

    data_dir: Path | None = None
    """Folder that holds named data sets (default: $HMN_DATA)."""
    download: bool = False
    """Fetch a named data set that is not there."""
    size: int | None = None
    """Resize and crop every image to this side, in pixels."""
    channels: int | None = None
    """1 for grey, 3 for colour."""
    skip_bad: bool = False
    """Go on past images that cannot be read, and count them."""
    image_column: str | None = None
    """Parquet: column of the images."""
    label_column: str | None = None
    """Parquet: column of the labels."""
    split_seed: int | None = None
    """Data without a test split: seed by which one is split off (default: 0)."""
    test_share: float | None = None
    """Data without a test split: share of each class to split off (default: 0.2)."""


SHAPING_FLAGS = (
    "data_dir", "size", "channels", "skip_bad", "image_column", "label_column", "split_seed", "test_share",
)  # fmt: skip
"""Flags that the data of a finished run are read with again."""


def absolute_flags(flags: DataFlags) -> DataFlags:
    """The same flags with the path from the root."""
    return flags if flags.data_dir is None else replace(flags, data_dir=flags.data_dir.expanduser().resolve())
