"""NumPy archives: arrays found by their usual names; among them the digits that are embedded here."""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import numpy as np

from hmn.data.cache import cached
from hmn.data.decode import fit_array, to_nchw
from hmn.data.formats import SPLIT_OF_WORD, TRAIN, Decoded, Labelled, as_text, number_labels
from hmn.data.options import DataOptions
from hmn.errors import UserError

IMAGE_NAMES = ("images", "x", "data", "image", "arr_0")
LABEL_NAMES = ("labels", "y", "target", "targets", "label", "arr_1")
TEST_WORDS = [word for word, split in SPLIT_OF_WORD.items() if split != TRAIN]


def read_npz(path: Path, options: DataOptions) -> Decoded:
    """Read `images`/`labels`, `x`/`y`, `data`/`target`; or split, as `x_train`, `train_images`, `y_test` ...

    Images: uint8, other integers in 0..255, or floats in [0, 1] (times 255 and rounded); [n, h, w], NHWC or NCHW with 1
    or 3 channels. Labels: integers [n] or [n, 1], or strings; `class_names` may name integers. Raises UserError: the
    file is damaged, arrays are missing or misshapen, values are NaN or out of range.
    """

    def read() -> Decoded:
        return decode_arrays(load_arrays(path), options, None, where=str(path))

    return cached("npz", [(path.suffix, path)], options, read)


def read_digits(options: DataOptions) -> Decoded:
    """The UCI optical digits, 1,797 grey images of 8 x 8, to be split by a seed. Attribution: digits.LICENSE.txt.

    digits.npz stores the values 0..16; here 16 becomes 255.
    """
    with resources.files("hmn.data").joinpath("digits.npz").open("rb") as stream, np.load(stream) as stored:
        # Bytes already here: a later cast lays a single channel out otherwise, and torch's convolutions round by that.
        images = ((stored["images"].astype(np.int64) * 255 + 8) // 16).astype(np.uint8)
        return decode_arrays({"images": images, "labels": stored["labels"]}, options, None, where="digits")


def decode_arrays(
    arrays: Mapping[str, np.ndarray], options: DataOptions, class_names: tuple[str, ...] | None, *, where: str
) -> Decoded:
    """Find, check and convert arrays as `read_npz` takes them; `class_names` go before those of an array."""
    train, test = find_pair(arrays, [TRAIN]) or find_pair(arrays, []), find_pair(arrays, TEST_WORDS)
    if train is None:
        held = ", ".join(arrays) or "nothing"
        expected = "arrays images and labels, or x_train, y_train, x_test, y_test"
        raise UserError(f"{where}: holds {held}: expected {expected}")
    found = [train] if test is None else [train, test]
    # Labels first: they number the classes of both splits.
    given = {f"{where}: array {name}": arrays[name] for _, name in found}
    raw = {place: label_array(labels, where=place) for place, labels in given.items()}
    if len({labels.dtype.kind == "U" for labels in raw.values()}) == 2:
        raise UserError(f"{where}: one split has integer labels, the other text")
    told = next(iter(raw))
    if class_names is None and "class_names" in arrays and raw[told].dtype.kind != "U":
        class_names = name_classes(arrays["class_names"], where=where)
    names, numbered = number_labels(raw, 1, class_names, where=told, skip_bad=options.skip_bad)
    # Then the images; a grey split beside one in colour gets its three channels.
    parts = [
        read_split(where, pair, Labelled(arrays[pair[0]], labels), options)
        for pair, labels in zip(found, numbered, strict=True)
    ]
    channels = max(part.pixels.shape[1] for part in parts)
    for i, (pixels, labels) in enumerate(parts):
        if pixels.shape[1] < channels:
            parts[i] = Labelled(np.repeat(pixels, channels, axis=1), labels)
    return Decoded.out_of(sum(map(len, numbered)), parts, names)


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


def find_pair(arrays: Mapping[str, np.ndarray], words: list[str]) -> tuple[str, str] | None:
    """The names of the image and the label array of a split; without words, of the archive without splits."""
    lowered = {name.lower(): name for name in arrays}

    def find(bases: tuple[str, ...]) -> str | None:
        for base in bases:
            spellings = [s for word in words for s in (f"{base}_{word}", f"{word}_{base}", f"{base}{word}")] or [base]
            if found := next((lowered[s] for s in spellings if s in lowered), None):
                return found
        return None

    images, labels = find(IMAGE_NAMES), find(LABEL_NAMES)
    return (images, labels) if images and labels else None


def label_array(labels: np.ndarray, *, where: str) -> np.ndarray:
    """An array of labels as integers or text [n]."""
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


def read_split(where: str, names: tuple[str, str], given: Labelled, options: DataOptions) -> Labelled:
    """One split, whose arrays have these names, as uint8 [n, c, h, w] and labels, without bad rows."""
    (images, labels), array = given, f"{where}: array {names[0]}"
    if images.ndim == 0:
        raise UserError(f"{array} is a single value: expected images [n, h, w], [n, h, w, c] or [n, c, h, w]")
    if len(images) != len(labels):
        raise UserError(f"{where}: {len(images)} images in {names[0]}, but {len(labels)} labels in {names[1]}")
    images = to_nchw(images, where=array)
    # NaN would pass the check of the range.
    if images.dtype.kind == "f":
        finite = np.isfinite(images).all(axis=(1, 2, 3))
        if not finite.all() and not options.skip_bad:
            raise UserError(f"{array} has NaN or infinity in image {(~finite).nonzero()[0][0]}")
        labels = np.where(finite, labels, -1)
    images, labels = Labelled(images, labels).without_bad()
    pixels = np.ascontiguousarray(as_uint8(images, where=array))
    return Labelled(fit_array(pixels, size=options.size, channels=options.channels), labels)


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
