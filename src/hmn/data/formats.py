"""What every reader takes and gives, the words for splits, and the checks that all of them share."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hmn.errors import UserError

TRAIN, TEST, VALIDATION = "train", "test", "validation"
SPLIT_OF_WORD = {"train": TRAIN, "test": TEST, "val": VALIDATION, "valid": VALIDATION, "validation": VALIDATION}
"""Names of splits in arrays, Parquet files and the Hub's data sets."""
TRAIN_FOLDERS = ("train", "training")
TEST_FOLDERS = ("test", "testing", "val", "validation", "valid")
"""In order of preference; a folder counts only if it holds class folders (ImageNet's test/ does not)."""


class Labelled(NamedTuple):
    """Images uint8 [n, c, h, w] and labels int64 [n]."""

    pixels: np.ndarray
    labels: np.ndarray

    def take(self, index: np.ndarray) -> Labelled:
        """The images at index [m]."""
        return Labelled(self.pixels[index], self.labels[index])

    def without_bad(self) -> Labelled:
        """The images whose label is not negative."""
        good = self.labels >= 0
        return self if good.all() else self.take(good.nonzero()[0])


class Decoded(NamedTuple):
    """A data set as read: test is None where it must still be split off by a seed."""

    train: Labelled
    test: Labelled | None
    class_names: tuple[str, ...]
    skipped: int

    @classmethod
    def out_of(cls, total: int, parts: Sequence[Labelled], class_names: tuple[str, ...]) -> Decoded:
        """What is left of `total` images: the training split, and the test split where there is one."""
        left = sum(len(part.labels) for part in parts)
        return cls(parts[0], parts[1] if len(parts) == 2 else None, class_names, total - left)

    @property
    def parts(self) -> list[Labelled]:
        """The splits that there are."""
        return [self.train] if self.test is None else [self.train, self.test]


def as_text(name: object) -> str:
    """A class name as text; bytes are taken for UTF-8."""
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


def texts(names: Collection[object] | None) -> tuple[str, ...] | None:
    """Class names as text, where there are any."""
    return tuple(map(as_text, names)) if names is not None and len(names) else None


def count_classes(labels: np.ndarray, *, where: str, skip_bad: bool) -> int:
    """Number of classes of unnamed integer labels [n]: the largest plus one.

    With skip_bad, labels beyond the number of images are bad rows, and the largest of the others counts.
    """
    if not len(labels):
        raise UserError(f"{where}: no images: the data set is empty")
    if skip_bad and (labels < len(labels)).any():
        labels = np.where(labels < len(labels), labels, -1)
    largest = int(labels.max())
    if largest < 0:
        raise UserError(f"{where}: all labels are negative ({largest}): this split has no labels")
    if largest >= len(labels):
        bad = f"label {largest} of row {labels.argmax()}"
        raise UserError(f"{where}: {bad}, with {len(labels)} images: expected 0..k-1 for k classes")
    return largest + 1


def number_labels(
    raw: Mapping[str, np.ndarray], in_train: int, class_names: tuple[str, ...] | None, *, where: str, skip_bad: bool
) -> tuple[tuple[str, ...], list[np.ndarray]]:
    """The class names, and the labels of every part as int64 [n]; a bad one becomes -1 with skip_bad.

    Text is numbered by `class_names`, else in sorted order; one that no training row bears is bad. Integers are
    named by `class_names`, else 0, 1, 2, ...; one that is outside of them is bad.

    Args:
        raw: labels [n], integers or text, by what errors call the part; the first `in_train` parts are for training.
        in_train: how many.
        class_names: where the data tell them.
        where: what errors call the training labels together.
        skip_bad: whether to go on past bad labels.

    Raises:
        UserError: integers without names that `count_classes` refuses; a bad label, and skip_bad is off.
    """
    training = np.concatenate(list(raw.values())[:in_train])
    numbered = list(raw.values())
    if training.dtype.kind == "U":
        class_names = class_names or tuple(name for name in np.unique(training).tolist() if name)
        position = {name: label for label, name in enumerate(class_names)}
        numbered = [np.array([position.get(text, -1) for text in texts.tolist()]) for texts in numbered]
    elif class_names is None:
        num_classes = count_classes(training.astype(np.int64), where=where, skip_bad=skip_bad)
        class_names = tuple(map(str, range(num_classes)))
    # Whatever they were, they are numbers now, and the names say how many there may be.
    found = []
    for part, labels in zip(raw, numbered, strict=True):
        labels = labels.astype(np.int64)
        bad = ((labels < 0) | (labels >= len(class_names))).nonzero()[0]
        if len(bad) and not skip_bad:
            raise UserError(f"{part}: label {labels[bad[0]]} of row {bad[0]} is outside 0..{len(class_names) - 1}")
        labels[bad] = -1
        found.append(labels)
    return class_names, found
