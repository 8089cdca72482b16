"""Images that a program already holds: arrays, torch Datasets and the Hub's data sets, checked as files are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL.Image import Image as Picture

from hmn.data.bulk import Item, decode_all
from hmn.data.formats import Decoded, good_labels, number_labels
from hmn.data.npz import decode_arrays
from hmn.data.options import DataOptions
from hmn.data.parquet import SPLIT_OF_WORD, TEST, TRAIN, VALIDATION
from hmn.data.parquet_columns import IMAGE_COLUMN_NAMES, LABEL_COLUMN_NAMES, choose_column
from hmn.errors import UserError

EXPECTED = (
    "a name, a path, (images, labels), a torch Dataset of (image, label) or a Hugging Face Dataset or DatasetDict"
)


class Pairs(NamedTuple):
    """A split as pairs of an image and its label; the columns of a Hub's row, None where items are pairs already."""

    items: Any
    columns: tuple[str, str] | None
    class_names: tuple[str, ...] | None
    where: str

    def pair(self, index: int) -> tuple[Any, Any]:
        """One image and its label."""
        item = self.items[index]
        if self.columns is not None:
            return item[self.columns[0]], item[self.columns[1]]
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise UserError(f"{self.where}: item {index} is of type {type(item).__name__}: expected (image, label)")
        return item[0], item[1]


def read_in_memory(
    source: Any, test: Any, options: DataOptions, *, class_names: Sequence[str] | None, where: str
) -> Decoded:
    """The images of `hmn.data.load.load_data` that are no path; test is None where none came along.

    Raises:
        UserError: something else than `EXPECTED`, misshapen or differing images, or labels out of range.
    """
    if isinstance(source, Mapping):
        source, found = splits_of_hub(source, where)
        test = found if test is None else test
    parts = [source] if test is None else [source, test]
    names = None if class_names is None else tuple(map(str, class_names))
    if all(isinstance(part, tuple) and len(part) == 2 for part in parts):
        return decode_arrays(named_arrays([(part[0], part[1]) for part in parts]), options, names, where=where)
    pairs = [pairs_of(part, options, f"{where}: {word}") for word, part in zip((TRAIN, TEST), parts, strict=False)]
    names = names or pairs[0].class_names
    if isinstance(pairs[0].pair(0)[0], Picture):
        return decode_pictures(pairs, options, names, where=where)
    return decode_arrays(named_arrays([stacked(part) for part in pairs]), options, names, where=where)


def splits_of_hub(splits: Mapping[str, Any], where: str) -> tuple[Any, Any]:
    """Training and test split of a DatasetDict, by the words by which Parquet files are told; or its only split."""
    by_word = {SPLIT_OF_WORD.get(name, name): part for name, part in splits.items()}
    if len(by_word) == 1:
        return next(iter(by_word.values())), None
    if TRAIN not in by_word:
        raise UserError(f"{where}: splits {', '.join(splits) or 'none'}: expected train, and test or validation")
    return by_word[TRAIN], by_word.get(TEST, by_word.get(VALIDATION))


def pairs_of(part: Any, options: DataOptions, where: str) -> Pairs:
    """A torch Dataset, or a Hub's, whose columns are told by their features, else by their names.

    Raises:
        UserError: something else, nothing in it, or columns that cannot be told.
    """
    if isinstance(part, str | bytes) or not (hasattr(part, "__len__") and hasattr(part, "__getitem__")):
        raise UserError(f"{where}: got {type(part).__name__}: expected {EXPECTED}")
    if not len(part):
        raise UserError(f"{where}: no images: the data set is empty")
    features = getattr(part, "features", None)
    if not isinstance(features, Mapping):
        classes = getattr(part, "classes", None)
        return Pairs(part, None, None if classes is None else tuple(map(str, classes)), where)

    # By type where the Hub says it, as for its Parquet files.
    def column(given: str | None, kind: str, usual: Sequence[str], what: str) -> str:
        if given is not None and given not in features:
            raise UserError(f"{where}: no column {given!r}: it has {', '.join(features)}")
        found = [name for name, feature in features.items() if type(feature).__name__ == kind]
        found = found or [name for name in features if name in usual]
        return given or choose_column(found, usual, where, list(features), what)

    image = column(options.image_column, "Image", IMAGE_COLUMN_NAMES, "image")
    label = column(options.label_column, "ClassLabel", LABEL_COLUMN_NAMES, "label")
    names = getattr(features[label], "names", None)
    return Pairs(part, (image, label), tuple(map(str, names)) if names else None, where)


def named_arrays(parts: Sequence[tuple[Any, Any]]) -> dict[str, np.ndarray]:
    """Images and labels of one or two splits under the names that an archive gives them."""
    arrays: dict[str, np.ndarray] = {}
    for (images, labels), ending in zip(parts, ("", "_test"), strict=False):
        arrays |= {f"images{ending}": as_array(images), f"labels{ending}": as_array(labels)}
    return arrays


def as_array(values: Any) -> np.ndarray:
    """A tensor or anything like an array as an array; NumPy has no bfloat16."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype == torch.bfloat16 else values
    return np.asarray(values)


def as_labels(values: Sequence[Any], where: str) -> np.ndarray:
    """Labels as int64 or text [n]; one that is missing is none of the classes."""
    plain = [value.item() if hasattr(value, "item") else value for value in values]
    missing = "" if any(isinstance(value, str) for value in plain) else -1
    labels = np.array([missing if value is None else value for value in plain])
    if labels.ndim != 1 or labels.dtype.kind not in "iuU":
        raise UserError(f"{where}: labels are {labels.dtype} {list(labels.shape)}: expected integers or text")
    return labels


def stacked(part: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """All images of a split, which are arrays of one shape, and their labels."""
    found = [part.pair(index) for index in range(len(part.items))]
    images = [as_array(image) for image, _ in found]
    for index, image in enumerate(images):
        if image.shape != images[0].shape:
            shapes = f"image {index} is {list(image.shape)}, image 0 {list(images[0].shape)}"
            raise UserError(f"{part.where}: {shapes}: expected equal shapes, or PIL images and a size")
    return np.stack(images), as_labels([label for _, label in found], part.where)


def decode_pictures(
    parts: Sequence[Pairs], options: DataOptions, class_names: tuple[str, ...] | None, *, where: str
) -> Decoded:
    """PIL images, decoded as image files are; both splits at once, so that they share size and channels."""
    counts = [len(part.items) for part in parts]
    found: list[list[Any]] = [[] for _ in parts]

    def items() -> Iterator[Item]:
        for part, labels in zip(parts, found, strict=True):
            for index in range(len(part.items)):
                image, label = part.pair(index)
                if not isinstance(image, Picture):
                    got = type(image).__name__
                    raise UserError(
                        f"{part.where}: image {index} is of type {got}: expected a PIL image like the first"
                    )
                labels.append(label)
                yield Item(f"{part.where}: image {index}", image)

    bulk = decode_all(items(), sum(counts), options, title=where)
    # Labels are known only now: a Dataset gives them together with its images.
    raw = [as_labels(labels, part.where) for part, labels in zip(parts, found, strict=True)]
    names, numbered = number_labels(raw, 1, class_names, where=parts[0].where, skip_bad=options.skip_bad)
    good = [
        good_labels(labels, len(names), where=part.where, skip_bad=options.skip_bad)
        for part, labels in zip(parts, numbered, strict=True)
    ]
    bulk = bulk.only(np.concatenate(good))
    train, test = bulk.parted(np.concatenate(numbered), counts[0], has_test=len(parts) == 2)
    return Decoded(train, test, names, sum(counts) - len(bulk.kept))
