"""Reading container.safetensors: every check comes before the memory that it guards, every mistake is a line.

Layout of the file: 8 bytes (length of the header, little endian), the header (JSON: tensors by name, with
type, shape and offsets), the values. Source: https://github.com/huggingface/safetensors, "Format".
"""

from __future__ import annotations

import hashlib
import math
import os
from pathlib import Path
from typing import Any

import torch

from hmn.containers.artifact.format import ArtifactInfo, parse_description, parse_json
from hmn.containers.artifact.place import CONTAINER, LEDGER
from hmn.containers.quantise import layout
from hmn.containers.shape import Shape
from hmn.errors import UserError

MAX_FILE_BYTES = 2 * 2**30
MAX_HEADER_BYTES = 16 * 2**20
_TYPE_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.int8: "I8", torch.uint8: "U8"}


def locate(path: str | os.PathLike[str]) -> Path:
    """The container's file, given it or its folder.

    Raises:
        UserError: nothing there, or a folder without a container.
    """
    try:
        place = Path(path)
        if place.is_dir():
            if not (place / CONTAINER).is_file():
                raise UserError(
                    f"{path}: not an artifact, it holds no {CONTAINER}: "
                    "expected a folder that `hmn condense` has finished."
                )
            return place / CONTAINER
        if place.is_file():
            return place
        if place.exists():
            raise UserError(f"{path}: neither a folder nor a file: give an artifact's folder or {CONTAINER}.")
    except UserError:
        raise
    except (OSError, ValueError) as error:  # a name that the system refuses, a folder that may not be entered
        raise UserError(f"{str(path)!r}: cannot be read ({error}).") from None
    raise UserError(f"{path}: nothing there: expected an artifact's folder or its {CONTAINER}.")


def read(path: str | os.PathLike[str]) -> tuple[ArtifactInfo, bytes]:
    """The description of an artifact and the bytes of its file, once description, sizes and checksum agree.

    Raises:
        UserError: nothing there, not an artifact, from a newer version, damaged, or absurdly large.
    """
    file = locate(path)
    try:
        size = file.stat().st_size
        if size > MAX_FILE_BYTES:
            raise UserError(f"{file}: {size:,} bytes, more than the limit of {MAX_FILE_BYTES:,} for a container.")
        with file.open("rb") as handle:
            start = handle.read(8)
            length = int.from_bytes(start, "little")
            if len(start) < 8 or not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
                raise UserError(
                    f"{file}: not a safetensors file, or cut short: its first 8 bytes announce a header "
                    f"that {size:,} bytes cannot hold."
                )
            start += handle.read(length)
            header = _header(file, start[8:])
            # What the header says must be sane and agree with the size of the file, before values are read.
            description = parse_description(file, header)
            value_bytes = _check_tensors(file, header, description["shape"], description["dtype"])
            if size != len(start) + value_bytes:
                raise UserError(
                    f"{file}: {size:,} bytes, but its header describes {len(start) + value_bytes:,}: "
                    "the file is damaged or cut short, fetch it again."
                )
            content = start + handle.read(value_bytes)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error}).") from None
    checksum = hashlib.sha256(content).hexdigest()
    _check_checksum(file, checksum)
    found = ArtifactInfo(
        path=file,
        checksum=checksum,
        ledger=description["shape"].ledger(),
        file_bytes=size,
        value_bytes=value_bytes,
        **description,
    )
    return found, content


def _header(file: Path, text: bytes) -> dict[str, Any]:
    header = parse_json(text)
    if not isinstance(header, dict) or not all(isinstance(entry, dict) for entry in header.values()):
        raise UserError(f"{file}: not a safetensors file, or damaged: its header cannot be read.")
    return header


def _check_tensors(file: Path, header: dict[str, Any], shape: Shape, dtype: str) -> int:
    """Bytes of all values, after names, types and shapes have been compared with the description."""
    wanted = layout(shape.tensors(), dtype)
    present = header.keys() - {"__metadata__"}
    for problem, names in (("misses", wanted.keys() - present), ("holds unknown", present - wanted.keys())):
        if names:
            raise UserError(f"{file}: {problem} tensor {min(names)!r}: damaged, or not written by hmn.")
    value_bytes = 0
    for name, (kind, sides) in wanted.items():
        entry = header[name]
        if entry.get("dtype") != _TYPE_NAMES[kind]:
            raise UserError(f"{file}: tensor {name!r} has dtype {entry.get('dtype')!r}, expected {_TYPE_NAMES[kind]}.")
        if entry.get("shape") != list(sides):
            raise UserError(f"{file}: tensor {name!r} has shape {entry.get('shape')}, expected {list(sides)}.")
        value_bytes += math.prod(sides) * kind.itemsize
    return value_bytes


def _check_checksum(file: Path, checksum: str) -> None:
    """Compare with the ledger beside the container, where there is one."""
    ledger = file.with_name(LEDGER)
    if file.name != CONTAINER or not ledger.is_file():
        return
    try:
        with ledger.open("rb") as handle:
            found = parse_json(handle.read(MAX_HEADER_BYTES))
    except OSError as error:
        raise UserError(f"{ledger}: cannot be read ({error.strerror or error}).") from None
    # A ledger without a checksum is damaged: the file could then not be trusted.
    wanted = found.get("sha256") if isinstance(found, dict) else None
    if not isinstance(wanted, str):
        raise UserError(f"{ledger}: damaged, it holds no sha256 of {CONTAINER}: fetch the artifact again.")
    if wanted != checksum:
        raise UserError(
            f"{file}: its SHA-256 is {checksum[:12]}..., {LEDGER} says {wanted[:12]!r}...: "
            "one of the two files is damaged or from another artifact, fetch both again."
        )
