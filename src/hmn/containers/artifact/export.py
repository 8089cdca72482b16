"""Generated images in forms that others read: class folders of PNG, npz, Parquet in the Hub's layout."""

import io
import json
import os
import re
import secrets
import shutil
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Literal

import numpy as np
from torch import Tensor

from hmn.containers.artifact.picture import as_picture, png_bytes, to_uint8
from hmn.errors import UserError
from hmn.runtime.files import write_atomically

PARQUET_FILE = "train-00000-of-00001.parquet"
MARKER_FILE = ".hmn-export"
"""In every folder that an export wrote: `force` replaces no other. Readers of images pass over hidden files."""
MARKER_TEXT = b"Written by hmn: an export with force may replace this folder.\n"
ROWS_PER_GROUP = 500
"""Images of a Parquet row group: readers decode one at a time."""
MAX_NAME_BYTES = 120
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def export_images(
    source_pixels: Tensor,
    labels: Tensor,
    class_names: Sequence[str],
    out: Path,
    *,
    format: Literal["folders", "npz", "parquet"],
    force: bool = False,
) -> Path:
    """Write labelled images so that they are there in full or not at all; the path of what was written.

    "folders": `out` is a folder with a folder a class, of PNG files. "npz": `out` is a file named *.npz with
    images (uint8 [n, h, w, c]), labels (int64 [n]) and class_names. "parquet": `out` is a folder with one
    file that `datasets.load_dataset(out)` reads as columns image and label.

    Args:
        source_pixels: float [n, c, h, w] in [0, 1], or uint8; 1 or 3 channels.
        labels: int64 [n].
        class_names: one name a class.
        out: replaced only with `force`, and a folder only where it holds nothing but an earlier export.

    Raises:
        UserError: `out` is in use, has the wrong kind of name, or cannot be written; pyarrow is missing.
    """
    if format not in ("folders", "npz", "parquet"):
        raise UserError(f"format={format!r}: expected folders, npz or parquet.")
    if format == "parquet":
        _pyarrow()
    pixels, names = to_uint8(source_pixels).cpu(), [str(name) for name in class_names]
    if not len(labels) == len(pixels) > 0 or not 0 <= int(labels.min()) <= int(labels.max()) < len(names):
        raise UserError(
            f"{len(pixels)} images with {len(labels)} labels of {len(names)} classes: expected a label in "
            f"0..{len(names) - 1} for each of at least one image."
        )
    # Nothing is touched before the place is known to be free.
    out = Path(os.path.abspath(out))  # not resolve: a link is refused below, not followed
    try:
        _check_free(out, format, force)
        out.parent.mkdir(parents=True, exist_ok=True)
        if format == "npz":
            write_atomically(out, _npz(pixels, labels, names))
        else:
            files = _folder_files if format == "folders" else _parquet_file
            _write_folder(out, files(pixels, labels, names))
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}.") from None
    return out


def safe_names(class_names: Sequence[str]) -> list[str]:
    """Names of folders, one a class, all different on any file system, unchanged where that is possible."""
    cleaned = [_safe(name) for name in class_names]
    taken: set[str] = set()
    chosen = [""] * len(cleaned)
    # Names that need no change go first: the others make way for them.
    for position in sorted(range(len(cleaned)), key=lambda i: (cleaned[i] != class_names[i], i)):
        name, count = cleaned[position], 2
        while _fold(name) in taken:
            name, count = f"{cleaned[position]}_{count}", count + 1
        taken.add(_fold(name))
        chosen[position] = name
    return chosen


def _safe(name: str) -> str:
    """One name without separators, control characters, a leading dot, trailing dots; no device's name."""
    name = name.encode("utf-8", "replace").decode()  # lone surrogates
    name = "".join("_" if char in '<>:"/\\|?*' or unicodedata.category(char)[0] == "C" else char for char in name)
    name = name.encode()[:MAX_NAME_BYTES].decode("utf-8", "ignore").strip().rstrip(".")
    name = "_" + name[1:] if name.startswith(".") else name
    return f"{name}_" if _RESERVED.fullmatch(name) else name.rstrip() or "class"


def _fold(name: str) -> str:
    """Equal for names that some file system takes for the same."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFC", name).casefold())


def _check_free(out: Path, format: str, force: bool) -> None:
    """Refuse an output in use, and never delete what an export did not write."""
    if format == "npz" and out.suffix != ".npz":
        raise UserError(f"{out}: expected a file name that ends with .npz.")
    if format != "npz" and out.suffix in (".npz", ".parquet", ".png"):
        raise UserError(f"{out}: expected the name of a folder, not of a file, for format {format}.")
    if out.is_symlink() or (out.exists() and (out.is_dir() if format == "npz" else not out.is_dir())):
        kind = "file" if format == "npz" else "folder"
        raise UserError(f"{out}: in use by something else than a {kind}: choose another output.")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not force:
        raise UserError(f"{out}: already there and not empty: choose another output, or --force to replace it.")
    # Numbered PNGs alone prove nothing, and something may have been put there since.
    if out.is_dir() and not ((out / MARKER_FILE).is_file() and all(map(_is_exported, out.iterdir()))):
        why = "holds files that no export wrote, so --force does not replace it"
        raise UserError(f"{out}: {why}: choose another output.")


def _is_exported(entry: Path) -> bool:
    """Whether an export may have put this into its folder: a class of numbered PNGs, or a file of its own."""
    if entry.is_symlink():
        return False
    if entry.is_dir():
        return all(re.fullmatch(r"\d+\.png", file.name) and file.is_file() for file in entry.iterdir())
    return entry.name in (PARQUET_FILE, MARKER_FILE)


def _write_folder(out: Path, files: Iterator[tuple[str, bytes]]) -> None:
    """Files by relative path, in a folder that takes its name once all are written."""
    token = secrets.token_hex(4)
    fresh, old = out.with_name(f".{out.name}.{token}.tmp"), out.with_name(f".{out.name}.{token}.old")
    try:
        fresh.mkdir()
        for name, content in files:
            (fresh / name).parent.mkdir(exist_ok=True)
            (fresh / name).write_bytes(content)
        (fresh / MARKER_FILE).write_bytes(MARKER_TEXT)
        # The old folder makes way only now, and comes back if the new one cannot take its place.
        if out.exists():
            os.rename(out, old)
        try:
            os.rename(fresh, out)
        except BaseException:
            if old.exists():
                os.rename(old, out)
            raise
    finally:
        for folder in (fresh, old):
            shutil.rmtree(folder, ignore_errors=True)


def _folder_files(pixels: Tensor, labels: Tensor, names: list[str]) -> Iterator[tuple[str, bytes]]:
    """A PNG an image, numbered within its class."""
    folders, counts = safe_names(names), [0] * len(names)
    for image, label in zip(pixels, labels.tolist(), strict=True):
        yield f"{folders[label]}/{counts[label]:05d}.png", png_bytes(as_picture(image))
        counts[label] += 1


def _npz(pixels: Tensor, labels: Tensor, names: list[str]) -> bytes:
    buffer = io.BytesIO()
    images = pixels.permute(0, 2, 3, 1).contiguous().numpy()
    np.savez_compressed(buffer, images=images, labels=labels.cpu().numpy(), class_names=np.array(names))
    return buffer.getvalue()


def _parquet_file(pixels: Tensor, labels: Tensor, names: list[str]) -> Iterator[tuple[str, bytes]]:
    """Columns image (a PNG and its name) and label, with the features that the Hub's library looks for."""
    pa = _pyarrow()
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    image_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    schema = pa.schema([("image", image_type), ("label", pa.int64())], metadata=metadata)
    buffer = io.BytesIO()
    with pa.parquet.ParquetWriter(buffer, schema) as writer:
        for start in range(0, len(pixels), ROWS_PER_GROUP):
            group = enumerate(pixels[start : start + ROWS_PER_GROUP], start)
            images = [{"bytes": png_bytes(as_picture(image)), "path": f"{place:05d}.png"} for place, image in group]
            numbers = labels[start : start + ROWS_PER_GROUP].tolist()
            writer.write_table(pa.table({"image": pa.array(images, image_type), "label": numbers}, schema=schema))
    yield PARQUET_FILE, buffer.getvalue()


def _pyarrow() -> ModuleType:
    try:
        import pyarrow.parquet
    except ImportError:
        raise UserError("Parquet needs pyarrow: pip install 'hmn[data]'") from None
    return pyarrow
