"""Loading an artifact: `hmn.load` gives its images, `hmn.load_container` the container itself.

Needs torch, numpy and safetensors. container.safetensors is enough; a ledger.json beside it adds the checksum. Every
check comes before the memory that it guards, every mistake is a line.

Layout of the file: 8 bytes (length of the header, little endian), the header (JSON: tensors by name, with
type, shape and offsets), the values. Source: https://github.com/huggingface/safetensors, "Format".
"""

import hashlib
import math
import os
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor
from torch.utils.data import Dataset

from hmn.containers.artifact.format import MAX_FLOATS, ArtifactInfo, parse_description, parse_json
from hmn.containers.artifact.place import CONTAINER, LEDGER
from hmn.containers.container import Container, container_class
from hmn.containers.quantise import decode, layout
from hmn.containers.shape import Shape
from hmn.data.source import HeldImages
from hmn.errors import UserError

MAX_FILE_BYTES = 2 * 2**30
MAX_HEADER_BYTES = 16 * 2**20
_TYPE_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.int8: "I8", torch.uint8: "U8"}


class CondensedImages(HeldImages, Dataset[tuple[Tensor, int]]):
    """The images of a stored container, rendered once: a map-style Dataset of (image, label), and a Source.

    An image is float32 [c, h, w] in [0, 1], or normalised per channel with `normalise`; a label is an int.
    """

    def __init__(self, container: Container, *, normalise: bool = False) -> None:
        # A clone, because tensors made in inference mode cannot be trained on.
        self.pixels = container.render_all().clone()
        """float32 [n, c, h, w] in [0, 1], whether or not items are normalised."""
        self.labels = container.labels.clone()
        """int64 [n], class by class."""
        self.class_names = container.class_names
        self.normalisation = container.normalisation
        self.normalise = normalise

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.pixels[index]
        if self.normalise:
            image = self.normalisation.apply(image[None])[0]
        return image, int(self.labels[index])


def load(path: str | os.PathLike[str], *, normalise: bool = False) -> CondensedImages:
    """The images of an artifact, given its folder or its container.safetensors, as a torch map-style Dataset.

    Args:
        path: the folder that `hmn condense` wrote, or the file in it.
        normalise: items are shifted and scaled per channel by the real data's mean and standard deviation.

    Raises:
        UserError: nothing there, not an artifact, from a newer version, damaged, or absurdly large.
    """
    found, content = read(path)
    values = found.shape.num_images * math.prod(found.shape.image_shape)
    if values > MAX_FLOATS:
        raise UserError(
            f"{path}: rendering all images takes {values:,} values, more than the limit of "
            f"{MAX_FLOATS:,}: use hmn.load_container and render in parts."
        )
    images = CondensedImages(_container(found, content), normalise=normalise)
    if not bool(torch.isfinite(images.pixels).all()):
        raise UserError(f"{path}: its values render pixels that are not finite: the file is damaged, fetch it again.")
    return images


def load_container(path: str | os.PathLike[str]) -> Container:
    """The finalised container of an artifact, in float32 on the CPU.

    Raises:
        UserError: as for `load`.
    """
    return _container(*read(path))


def info(path: str | os.PathLike[str]) -> ArtifactInfo:
    """What an artifact holds, from its header and checksum, without building the container; errors as for `load`."""
    return read(path)[0]


def _container(found: ArtifactInfo, content: bytes) -> Container:
    """The container from bytes whose header has been checked."""
    try:
        stored = safetensors.torch.load(content)
    except safetensors.SafetensorError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{found.path}: the file is damaged ({reason}): fetch it again.") from None
    state = decode(stored, found.shape.tensors())
    for name in sorted(state):
        if not bool(torch.isfinite(state[name]).all()):
            raise UserError(f"{found.path}: tensor {name!r} holds values that are not finite: fetch the file again.")
    make = container_class(found.shape.kind)
    container = make(found.shape, class_names=found.class_names, normalisation=found.normalisation, stored=True)
    container.load_state_dict(state)
    return container


def read(path: str | os.PathLike[str]) -> tuple[ArtifactInfo, bytes]:
    """The description of an artifact and the bytes of its file, once description, sizes and checksum agree. Raises
    UserError: nothing there, not an artifact, from a newer version, damaged, or absurdly large.
    """
    file = _file_at(path)
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
            header = parse_json(start[8:])
            if not isinstance(header, dict) or not all(isinstance(entry, dict) for entry in header.values()):
                raise UserError(f"{file}: not a safetensors file, or damaged: its header cannot be read.")
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
    sizes = {"ledger": description["shape"].ledger(), "file_bytes": size, "value_bytes": value_bytes}
    return ArtifactInfo(path=file, checksum=checksum, **sizes, **description), content


def _file_at(path: str | os.PathLike[str]) -> Path:
    """The container's file, given it or its folder."""
    try:
        place = Path(path)
        file = place / CONTAINER if place.is_dir() else place
        there, is_file = place.exists(), file.is_file()
    except (OSError, ValueError) as error:  # a name that the system refuses, a folder that may not be entered
        raise UserError(f"{str(path)!r}: cannot be read ({error}).") from None
    if is_file:
        return file
    if not there:
        raise UserError(f"{path}: nothing there: expected an artifact's folder or its {CONTAINER}.")
    if file == place:
        raise UserError(f"{path}: neither a folder nor a file: give an artifact's folder or {CONTAINER}.")
    raise UserError(
        f"{path}: not an artifact, it holds no {CONTAINER}: expected a folder that `hmn condense` has finished."
    )


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
