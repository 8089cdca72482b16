"""Images that a program already holds: arrays, torch Datasets and the Hub's data sets, checked as files are."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL.Image import Image as Picture

from hmn.data.bulk import Item, decode_all
from hmn.data.formats import SPLIT_OF_WORD, TEST, TRAIN, VALIDATION, Decoded, number_labels, texts
from hmn.data.npz import decode_arrays
from hmn.data.options import DataOptions
from hmn.data.parquet import USUAL_NAMES, choose_column
from hmn.errors import UserError

PAIRS = "(images, labels), a torch Dataset of (image, label) or a Hugging Face Dataset or DatasetDict"


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
    """The images of `hmn.data.load.load_data` that are no path; test is None where none came along. Raises UserError:
    something else than `PAIRS`, misshapen or differing images, or labels out of range.
    """
    if isinstance(source, Mapping):
        source, found = splits_of_hub(source, where)
        test = found if test is None else test
    parts = [source] if test is None else [source, test]
    names = texts(class_names)
    if not all(isinstance(part, tuple) and len(part) == 2 for part in parts):
        pairs = [pairs_of(part, options, f"{where}: {word}") for word, part in zip((TRAIN, TEST), parts, strict=False)]
        names = names or pairs[0].class_names
        if isinstance(pairs[0].pair(0)[0], Picture):
            return decode_pictures(pairs, options, names, where=where)
        parts = [stacked(part) for part in pairs]
    # Under the names that an archive gives them.
    arrays: dict[str, np.ndarray] = {}
    for (images, labels), ending in zip(parts, ("", "_test"), strict=False):
        arrays |= {f"images{ending}": as_array(images), f"labels{ending}": as_array(labels)}
    return decode_arrays(arrays, options, names, where=where)


def splits_of_hub(splits: Mapping[str, Any], where: str) -> tuple[Any, Any]:
    """Training and test split of a DatasetDict, by the words by which Parquet files are told; or its only split."""
    by_word = {SPLIT_OF_WORD.get(name, name): part for name, part in splits.items()}
    if len(by_word) == 1:
        return next(iter(by_word.values())), None
    if TRAIN not in by_word:
        raise UserError(f"{where}: splits {', '.join(splits) or 'none'}: expected train, and test or validation")
    return by_word[TRAIN], by_word.get(TEST, by_word.get(VALIDATION))


def pairs_of(part: Any, options: DataOptions, where: str) -> Pairs:
    """A torch Dataset, or a Hub's, whose columns are told by their features, else by their names."""
    if isinstance(part, str | bytes) or not (hasattr(part, "__len__") and hasattr(part, "__getitem__")):
        raise UserError(f"{where}: got {type(part).__name__}: expected a name, a path, {PAIRS}")
    if not len(part):
        raise UserError(f"{where}: no images: the data set is empty")
    features = getattr(part, "features", None)
    if not isinstance(features, Mapping):
        return Pairs(part, None, texts(getattr(part, "classes", None)), where)
    # By type where the Hub says it, as for its Parquet files.
    told = {name: type(feature).__name__ for name, feature in features.items()}
    image, label = (
        choose_column(what, given, told, [name for name in told if name in USUAL_NAMES[what]], where)
        for what, given in (("image", options.image_column), ("label", options.label_column))
    )
    return Pairs(part, (image, label), texts(getattr(features[label], "names", None)), where)


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
    images, labels = zip(*(part.pair(index) for index in range(len(part.items))), strict=True)
    arrays = [as_array(image) for image in images]
    for index, array in enumerate(arrays):
        if array.shape != arrays[0].shape:
            shapes = f"image {index} is {list(array.shape)}, image 0 {list(arrays[0].shape)}"
            raise UserError(f"{part.where}: {shapes}: expected equal shapes, or PIL images and a size")
    return np.stack(arrays), as_labels(labels, part.where)


def decode_pictures(
    parts: Sequence[Pairs], options: DataOptions, class_names: tuple[str, ...] | None, *, where: str
) -> Decoded:
    """PIL images, decoded as image files are; both splits at once, so that they share size and channels."""
    found: dict[str, list[Any]] = {part.where: [] for part in parts}

    def items() -> Iterator[Item]:
        for part in parts:
            for index in range(len(part.items)):
                image, label = part.pair(index)
                if not isinstance(image, Picture):
                    got = f"image {index} is of type {type(image).__name__}"
                    raise UserError(f"{part.where}: {got}: expected a PIL image like the first")
                found[part.where].append(label)
                yield Item(f"{part.where}: image {index}", image)

    total = sum(len(part.items) for part in parts)
    bulk = decode_all(items(), total, options, title=where)
    # Labels are known only now: a Dataset gives them together with its images.
    raw = {place: as_labels(labels, place) for place, labels in found.items()}
    names, labels = number_labels(raw, 1, class_names, where=parts[0].where, skip_bad=options.skip_bad)
    return bulk.decoded(total, labels, names)
