"""Decoded data sets on disk, so that a second run starts at once.

One file per data set, <key>.safetensors in hmn's cache folder; deleting it is always safe. The key is a SHA-256 over
the source's bytes (each file's relative path, length and content) and over every option that changes the result, so an
edited, added or renamed file decodes again, and a copied or touched tree does not.

A file is moved into place when it is whole, so that no reader, second process or killed run meets half of one. Content
is checked on loading; a damaged file is decoded again. A folder that cannot be written costs a warning, not the run.
"""

import hashlib
import json
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from hmn.data.formats import Decoded, Labelled
from hmn.data.options import DataOptions
from hmn.errors import UserError
from hmn.runtime.files import cache_folder

DECODED_FORMAT = "hmn-decoded-1"
"""Part of every key: raised when decoding changes its result."""
SHAPING_IMAGES = ("size", "channels", "skip_bad", "image_column", "label_column")
"""Options on which decoded images depend."""
_log = logging.getLogger(__name__)


def files_checksum(files: Iterable[tuple[str, Path]], *, skip_bad: bool) -> str:
    """SHA-256 over the relative names, lengths and bytes of files, in the order given."""
    total = hashlib.sha256()
    for name, path in files:
        try:
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
                size = stream.tell()
        except OSError as error:
            if not skip_bad:
                raise UserError(f"{path}: cannot read the file: {error.strerror or error}") from None
            digest, size = "unreadable", 0
        total.update(f"{name}\0{size}\0{digest}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def key_of(kind: str, content: str, options: DataOptions, **extra: object) -> str:
    """The cache key of one reading: format, reader, content and every option that changes the result."""
    shaping = {name: getattr(options, name) for name in SHAPING_IMAGES}
    told = {"format": DECODED_FORMAT, "kind": kind, "content": content, **shaping, **extra}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]


def cached(
    kind: str,
    files: Iterable[tuple[str, Path]],
    options: DataOptions,
    read: Callable[[], Decoded],
    *,
    skip_bad: bool = False,
    **extra: object,
) -> Decoded:
    """The data set of these named files from disk, or from `read`, which is then stored, unless options forbid it.
    Raises UserError: a file cannot be read, and skip_bad is off.
    """
    if not options.cache:
        return read()
    content = files_checksum(files, skip_bad=skip_bad)
    path = cache_folder() / f"{key_of(kind, content, options, **extra)}.safetensors"
    found = load_decoded(path)
    if found is None:
        found = read()
        store_decoded(found, path)
    return found


def load_decoded(path: Path) -> Decoded | None:
    """What was stored, or None where the file is missing, foreign or damaged."""
    if not path.is_file():
        return None
    try:
        # Copied out of the mapping: an image must not change or vanish when the cache is cleaned under us.
        with safe_open(path, framework="np") as stored:
            about = json.loads((stored.metadata() or {})["about"])
            arrays = {name: np.array(stored.get_tensor(name)) for name in stored.keys()}  # noqa: SIM118
        if about["format"] != DECODED_FORMAT or about["sha256"] != checksum(arrays):
            raise ValueError("checksum")
        test = Labelled(arrays["test_pixels"], arrays["test_labels"]) if "test_pixels" in arrays else None
        train = Labelled(arrays["train_pixels"], arrays["train_labels"])
        return Decoded(train, test, tuple(about["class_names"]), int(about["skipped"]))
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        _log.warning("damaged cache file %s is replaced (%s)", path, error)
        return None


def store_decoded(decoded: Decoded, path: Path) -> None:
    """Write atomically; failing to write is a warning, as the data are in memory already."""
    arrays = {"train_pixels": decoded.train.pixels, "train_labels": decoded.train.labels}
    if decoded.test is not None:
        arrays |= {"test_pixels": decoded.test.pixels, "test_labels": decoded.test.labels}
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    about = {"format": DECODED_FORMAT, "class_names": decoded.class_names, "skipped": decoded.skipped}
    about["sha256"] = checksum(arrays)
    temporary = path.with_name(f"{path.stem}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent)
        # Not runtime.write_atomically: it takes bytes, and the data would be in memory once more. Nothing is
        # synced, because what a crash damages fails the checksum and is decoded again.
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        mode = os.fstat(handle).st_mode & 0o777  # as the umask has it; safetensors writes files of mode 0600
        os.close(handle)
        # One entry: safetensors writes several in an order that changes from run to run.
        save_file(arrays, temporary, metadata={"about": json.dumps(about)})
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except Exception as error:  # safetensors reports a full disk in a type of its own
        _log.warning("cannot write the cache %s (%s): the data will be decoded again next time", path, error)
    finally:
        with suppress(OSError):  # there is none where all went well, or nothing could be written
            temporary.unlink()


def remove_leftovers(folder: Path) -> None:
    """Delete temporary files that a killed run left more than a day ago."""
    for leftover in folder.glob("*.tmp"):
        with suppress(OSError):  # another process was quicker
            if time.time() - leftover.stat().st_mtime > 86400:
                leftover.unlink()


def checksum(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 over names, shapes and bytes."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(f"{name} {array.dtype} {array.shape}\n".encode())
        total.update(array.data)
    return total.hexdigest()
