"""What every reader takes and gives, and the checks that all of them share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hmn.errors import UserError


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
