"""NumPy archives: arrays found by their usual names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hmn.data.assemble import same_channels
from hmn.data.cache import cached
from hmn.data.decode import fit_array
from hmn.data.formats import Decoded, Labelled, good_labels, number_labels
from hmn.data.options import DataOptions
from hmn.errors import UserError

IMAGE_NAMES = ("images", "x", "data", "image", "arr_0")
LABEL_NAMES = ("labels", "y", "target", "targets", "label", "arr_1")
TRAIN_WORDS, TEST_WORDS = ("train",), ("test", "val", "valid", "validation")


def read_npz(path: Path, options: DataOptions) -> Decoded:
    """Read `images`/`labels`, `x`/`y`, `data`/`target`; or split, as `x_train`, `train_images`, `y_test` ...

    Images: uint8, other integers in 0..255, or floats in [0, 1] (times 255 and rounded); [n, h, w], NHWC or
    NCHW with 1 or 3 channels. Labels: integers [n] or [n, 1], or strings; `class_names` may name integers.

    Raises:
        UserError: the file is damaged, arrays are missing or misshapen, values are NaN or out of range.
    """

    def read() -> Decoded:
        return decode_arrays(load_arrays(path), options, None, where=str(path))

    return cached("npz", [(path.suffix, path)], options, read)


def decode_arrays(
    arrays: Mapping[str, np.ndarray], options: DataOptions, class_names: tuple[str, ...] | None, *, where: str
) -> Decoded:
    """Find, check and convert arrays as `read_npz` takes them; `class_names` go before those of an array.

    Raises:
        UserError: arrays are missing or misshapen, values are NaN or out of range.
    """
    pairs = [find_pair(arrays, words) for words in (TRAIN_WORDS, TEST_WORDS)]
    if pairs[0] is None:
        pairs = [find_pair(arrays, ()), pairs[1]]
    if pairs[0] is None:
        held = ", ".join(arrays) or "nothing"
        raise UserError(
            f"{where}: holds {held}: expected arrays images and labels, or x_train, y_train, x_test, y_test"
        )
    # Labels first: they number the classes of both splits.
    found = [pair for pair in pairs if pair is not None]
    raw = [label_array(arrays[name], where=f"{where}: array {name}") for _, name in found]
    if len({labels.dtype.kind == "U" for labels in raw}) == 2:
        raise UserError(f"{where}: one split has integer labels, the other text")
    if class_names is None and "class_names" in arrays and raw[0].dtype.kind != "U":
        class_names = name_classes(arrays["class_names"], where=where)
    told = f"{where}: array {found[0][1]}"
    names, numbered = number_labels(raw, 1, class_names, where=told, skip_bad=options.skip_bad)
    # Then the images; a grey split beside one in colour gets its three channels.
    parts, skipped = [], 0
    for pair, labels in zip(found, numbered, strict=True):
        part, lost = read_pair(where, pair[0], arrays[pair[0]], pair[1], labels, len(names), options)
        parts.append(part)
        skipped += lost
    if len(parts) == 1:
        return Decoded(parts[0], None, names, skipped)
    train, test = same_channels(parts[0].pixels, parts[1].pixels)
    return Decoded(Labelled(train, parts[0].labels), Labelled(test, parts[1].labels), names, skipped)


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an archive; pickled objects are never loaded."""
    try:
        # mmap_mode: of a single array, whose header may promise anything, only the header is read.
        stored = np.load(path, allow_pickle=False, mmap_mode="r")
        if not isinstance(stored, np.lib.npyio.NpzFile):
            raise UserError(f"{path}: a single array, not an .npz archive: expected images and labels")
        with stored:
            members = {name: stored[name] for name in stored.files}
    except UserError:
        raise
    except MemoryError as error:
        reason = " ".join(str(error).split()) or "its arrays do not fit"
        raise UserError(f"{path}: not enough memory for this .npz archive: {reason}") from None
    except Exception as error:  # NumPy and zipfile let through whatever the bytes make them say
        reason = " ".join(str(error).split()) or type(error).__name__
        if "allow_pickle" in reason:  # NumPy takes every other file for a pickle, and tells how to load it unsafely
            reason = "it holds Python objects, or is another kind of file"
        raise UserError(f"{path}: not a readable .npz archive: {reason}") from None
    # Members that are no arrays come as bytes.
    return {name: array for name, array in members.items() if isinstance(array, np.ndarray)}


def find_pair(arrays: Mapping[str, np.ndarray], words: tuple[str, ...]) -> tuple[str, str] | None:
    """The names of the image and the label array of a split; words=() is the archive without splits."""

    def spellings(base: str) -> list[str]:
        return [s for word in words for s in (f"{base}_{word}", f"{word}_{base}", f"{base}{word}")] or [base]

    def find(bases: tuple[str, ...]) -> str | None:
        lowered = {name.lower(): name for name in arrays}
        return next((lowered[s] for base in bases for s in spellings(base) if s in lowered), None)

    images, labels = find(IMAGE_NAMES), find(LABEL_NAMES)
    return (images, labels) if images and labels else None


def label_array(labels: np.ndarray, *, where: str) -> np.ndarray:
    """An array of labels as integers or text [n].

    Raises:
        UserError: another shape, or another kind of values.
    """
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if labels.ndim != 1 or labels.dtype.kind not in "iuUS":
        raise UserError(f"{where} is {labels.dtype} {list(labels.shape)}: expected integer or text labels [n]")
    return np.array([as_text(label) for label in labels.tolist()], dtype=str) if labels.dtype.kind == "S" else labels


def name_classes(names: np.ndarray, *, where: str) -> tuple[str, ...]:
    """The array class_names as text."""
    if names.ndim != 1 or names.dtype.kind not in "USiu":
        got = f"{names.dtype} {list(names.shape)}"
        raise UserError(f"{where}: array class_names is {got}: expected one name a class, text [k]")
    return tuple(map(as_text, names.tolist()))


def as_text(name: object) -> str:
    """A class name as text; bytes are taken for UTF-8."""
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


def read_pair(
    where: str,
    name: str,
    images: np.ndarray,
    label_name: str,
    labels: np.ndarray,
    num_classes: int,
    options: DataOptions,
) -> tuple[Labelled, int]:
    """One split as uint8 [n, c, h, w] and labels, and how many rows were left out."""
    if images.ndim == 0:
        raise UserError(
            f"{where}: array {name} is a single value: expected images [n, h, w], [n, h, w, c] or [n, c, h, w]"
        )
    if len(images) != len(labels):
        raise UserError(f"{where}: {len(images)} images in {name}, but {len(labels)} labels in {label_name}")
    good = good_labels(labels, num_classes, where=f"{where}: array {label_name}", skip_bad=options.skip_bad)
    images = to_nchw(images, where=f"{where}: array {name}")
    # NaN would pass the check of the range.
    if images.dtype.kind == "f":
        finite = np.isfinite(images).all(axis=(1, 2, 3))
        if not finite.all() and not options.skip_bad:
            row = int((~finite).nonzero()[0][0])
            raise UserError(f"{where}: array {name} has NaN or infinity in image {row}")
        good &= finite
    kept = good.nonzero()[0]
    pixels = as_uint8(images[kept] if len(kept) < len(images) else images, where=f"{where}: array {name}")
    pixels = fit_array(np.ascontiguousarray(pixels), size=options.size, channels=options.channels)
    return Labelled(pixels, labels[kept]), len(labels) - len(kept)


def to_nchw(images: np.ndarray, *, where: str) -> np.ndarray:
    """[n, h, w], NHWC or NCHW to NCHW.

    Raises:
        UserError: no axis, or both, can be that of 1 or 3 channels.
    """
    if images.ndim in (3, 4) and 0 in images.shape[1:]:
        raise UserError(f"{where} has shape {list(images.shape)}: the images have no pixels")
    if images.ndim == 3:
        return images[:, None]
    if images.ndim != 4:
        raise UserError(f"{where} has shape {list(images.shape)}: expected [n, h, w], [n, h, w, c] or [n, c, h, w]")
    first, last = images.shape[1] in (1, 3), images.shape[3] in (1, 3)
    if first == last:
        what = "either axis could be the channels" if first else "no axis of 1 or 3 channels"
        raise UserError(f"{where} has shape {list(images.shape)}: {what}")
    return images if first else images.transpose(0, 3, 1, 2)


def as_uint8(images: np.ndarray, *, where: str) -> np.ndarray:
    """Integers 0..255 as they are, floats in [0, 1] times 255 and rounded."""
    if images.dtype == np.uint8 or not images.size:
        return images.astype(np.uint8, copy=False)
    if images.dtype.kind not in "iuf":
        raise UserError(f"{where} has dtype {images.dtype}: expected uint8, or floats in [0, 1]")
    low, high = images.min(), images.max()
    top = 1 if images.dtype.kind == "f" else 255
    if low < 0 or high > top:
        raise UserError(f"{where} spans {low:g}..{high:g}: expected {images.dtype} values in 0..{top}")
    return (images * np.float32(255) + np.float32(0.5)).astype(np.uint8) if top == 1 else images.astype(np.uint8)
