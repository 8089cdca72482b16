"""What every reader takes and gives, and the checks that all of them share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hmn.errors import UserError


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """How to find and read a data set. The verbs' data flags are made from it, with the lines below as their help.

    Raises:
        UserError: a size below 1, channels other than 1 or 3, a seed outside 0..2^63 - 1, or a share outside (0, 1).
    """

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
    progress: bool | None = None
    """Whether to show a bar on stderr; None shows one where stderr is a terminal."""
    cache: bool = True
    """Keep the decoded images in $HMN_CACHE or the platform's cache folder."""

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise UserError(f"--size {self.size}: expected a side of at least 1 pixel")
        if self.channels not in (None, 1, 3):
            raise UserError(f"--channels {self.channels}: expected 1 (grey) or 3 (RGB)")
        if self.test_share is not None and not 0 < self.test_share < 1:
            raise UserError(f"test share {self.test_share}: expected a fraction between 0 and 1, for example 0.2")
        if self.split_seed is not None and not 0 <= self.split_seed < 2**63:
            raise UserError(f"split seed {self.split_seed}: expected 0 or more, below 2^63")

    def absolute(self) -> DataOptions:
        """The same with the data folder from the root."""
        return self if self.data_dir is None else replace(self, data_dir=self.data_dir.expanduser().resolve())

    def recorded(self) -> dict[str, Any]:
        """What shapes the data, as JSON holds it: enough to read the data of a finished run again."""
        values = {name: getattr(self, name) for name in SHAPING}
        return {name: str(value.resolve()) if isinstance(value, Path) else value for name, value in values.items()}

    def completed(self, recorded: object, *, same_place: bool) -> DataOptions:
        """These, with a run's `recorded` ones where none are given; its data folder only in the same place."""
        if not isinstance(recorded, dict):
            return self
        changes: dict[str, Any] = {}
        for name in SHAPING if same_place else SHAPING[1:]:
            given, value = getattr(self, name), recorded.get(name)
            if (given is None or given is False) and value is not None:  # seed 0 is given
                changes[name] = Path(value) if name == "data_dir" else value
        return replace(self, **changes)


SHAPING = ("data_dir", "size", "channels", "skip_bad", "image_column", "label_column", "split_seed", "test_share")
"""Options that the data of a finished run are read with again; the folder comes first."""


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


def number_labels(
    raw: Sequence[np.ndarray], in_train: int, class_names: tuple[str, ...] | None, *, where: str, skip_bad: bool
) -> tuple[tuple[str, ...], list[np.ndarray]]:
    """The class names, and the labels of every part as int64 [n]; the first `in_train` parts are for training.

    Text is numbered by `class_names`, else in sorted order; one that no training row bears becomes -1. Integers are
    named by `class_names`, else 0, 1, 2, ...

    Raises:
        UserError: integers without names that `count_classes` refuses.
    """
    training = np.concatenate(raw[:in_train])
    if training.dtype.kind == "U":
        names = class_names or tuple(name for name in np.unique(training).tolist() if name)
        position = {name: label for label, name in enumerate(names)}
        return names, [np.array([position.get(text, -1) for text in texts.tolist()], dtype=np.int64) for texts in raw]
    if class_names is None:
        num_classes = count_classes(training.astype(np.int64), where=where, skip_bad=skip_bad)
        class_names = tuple(map(str, range(num_classes)))
    return class_names, [labels.astype(np.int64) for labels in raw]
