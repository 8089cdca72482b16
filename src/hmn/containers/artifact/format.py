"""The description of a container in the header of its container.safetensors: written, parsed and checked.

It is one JSON string under "hmn" in the header's metadata.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from hmn.containers import RIVAL_SHAPES, ContainerShape
from hmn.containers.hmn_sizes import EXTRACTOR_CHANNELS, HmnShape
from hmn.containers.inr import InrShape
from hmn.containers.ledger import Ledger
from hmn.containers.quantise import STORED_AS
from hmn.data.source import Normalisation
from hmn.errors import UserError

FORMAT_NAME = "hmn"
FORMAT_VERSION = 3
"""1: a hierarchical memory network, which is still written as 1. 2: any other container. 3: int4.

From 2 on the description names the container."""
MAX_FLOATS = 2**31
"""Stored values, and values of all pixels that `hmn.load` renders."""
MAX_IMAGES = 2**24
MAX_IMAGE_SIDE = 8192
MAX_LAYERS = 64
ADDED = ("views",)
"""Sizes that older files lack: their defaults are what those hold."""


@dataclass(frozen=True, kw_only=True)
class ArtifactInfo:
    """What a stored container says about itself."""

    path: Path
    format_version: int
    dtype: str
    """How the values are stored: "float32", "float16", "int8" or "int4"."""
    shape: ContainerShape
    class_names: tuple[str, ...]
    normalisation: Normalisation
    data_name: str
    checksum: str
    """SHA-256 of the file, in hexadecimal."""
    ledger: Ledger
    value_bytes: int
    """Bytes of the stored values, scales included, header not."""
    file_bytes: int
    quantisation_error: dict[str, float] | None
    """Mean and maximum absolute difference of pixels in [0, 1] that the dtype costs; None for float32."""


def describe(
    *,
    shape: ContainerShape,
    class_names: tuple[str, ...],
    normalisation: Normalisation,
    data_name: str,
    dtype: str,
    quantisation_error: dict[str, float] | None,
) -> dict[str, str]:
    """Metadata of the header: one entry, because safetensors writes several in no fixed order."""
    description: dict[str, Any] = {
        "version": version_of(shape, dtype),
        "dtype": dtype,
        "shape": asdict(shape),
        "class_names": list(class_names),
        "normalisation": {"mean": list(normalisation.mean), "std": list(normalisation.std)},
        "data_name": data_name,
        "quantisation_error": quantisation_error,
    }
    if description["version"] > 1:
        description["container"] = shape.kind
    return {FORMAT_NAME: json.dumps(description, sort_keys=True)}


def version_of(shape: ContainerShape, dtype: str) -> int:
    """The oldest version of the format that holds such a container with values of `dtype`."""
    if dtype == "int4":
        return 3
    return 1 if isinstance(shape, HmnShape) else 2


def expected_shapes(shape: ContainerShape) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a finalised container's tensors, without allocating them."""
    if not isinstance(shape, HmnShape):
        return shape.tensors()
    side, classes = shape.memory_size, shape.num_classes
    shapes: dict[str, tuple[int, ...]] = {
        "dataset_memory": (shape.dataset_channels, side, side),
        "class_memory": (classes, shape.class_channels, side, side),
        "instance_memory": (shape.num_images, shape.instance_channels, side, side),
    }
    if shape.extractor:
        shapes["extractor_weight"] = (classes, EXTRACTOR_CHANNELS, shape.dataset_channels)
        shapes["extractor_bias"] = (classes, EXTRACTOR_CHANNELS)
    widths = (shape.decoder_channels, *shape.hidden, shape.image_shape[0])
    for position, (n_in, n_out) in enumerate(pairwise(widths)):
        shapes[f"decoder.{position}.weight"] = (n_in, n_out, 4, 4)
        shapes[f"decoder.{position}.bias"] = (n_out,)
    return shapes


def parse_json(text: str | bytes) -> Any:
    """Parsed JSON, or None where it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # ValueError: bad JSON, bad UTF-8, a number of absurd length
        return None


def parse_description(file: Path, header: dict[str, Any]) -> dict[str, Any]:
    """Fields of ArtifactInfo that the header's metadata holds.

    Raises:
        UserError: no description, one from a newer version, a field of the wrong type, or an absurd size.
    """
    text = header.get("__metadata__", {}).get(FORMAT_NAME)
    if text is None:
        raise UserError(f"{file}: a safetensors file, but not a container: its metadata holds no {FORMAT_NAME!r}.")
    found = parse_json(text) if isinstance(text, str) else None
    version = found.get("version") if isinstance(found, dict) else None
    if not isinstance(found, dict) or not isinstance(version, int) or version is True or version < 1:
        raise UserError(f"{file}: damaged: the description in its header cannot be read.")
    if version > FORMAT_VERSION:
        raise UserError(
            f"{file}: written in format {version}, newer than format {FORMAT_VERSION} that this hmn reads: "
            "upgrade with `pip install --upgrade hmn`."
        )
    try:
        return _checked(found)
    except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{file}: damaged or foreign: {type(error).__name__} in its description: {reason}.") from None


def _checked(found: dict[str, Any]) -> dict[str, Any]:
    """The description with every field of the right type and a sane size; raises what Python does."""
    sizes = found["shape"]
    kind = _kind(found)
    given = [field.name for field in fields(kind) if field.name in sizes or field.name not in ADDED]
    shape = kind(**{name: _size(name, sizes[name]) for name in given})
    if isinstance(shape, InrShape) and shape.hidden_layers > MAX_LAYERS:
        raise ValueError(f"{shape.hidden_layers:,} layers, more than the limit of {MAX_LAYERS}")
    if shape.num_images > MAX_IMAGES:
        raise ValueError(f"{shape.num_images:,} images, more than the limit of {MAX_IMAGES:,}")
    if max(shape.image_shape) > MAX_IMAGE_SIDE or not shape.num_classes:
        raise ValueError(f"{shape.num_classes} classes of images {shape.image_shape}, limit {MAX_IMAGE_SIDE} a side")
    if shape.ledger().stored_floats > MAX_FLOATS:
        raise ValueError(f"{shape.ledger().stored_floats:,} values, more than the limit of {MAX_FLOATS:,}")
    names, norm, error = found["class_names"], found["normalisation"], found["quantisation_error"]
    _demand(_list_of(names, lambda name: isinstance(name, str)) and len(names) == shape.num_classes, "class_names")
    mean, std = norm["mean"], norm["std"]
    for values in (mean, std):
        _demand(_list_of(values, _is_finite) and len(values) == shape.image_shape[0], "normalisation")
    _demand(min(std) > 0, "normalisation")
    _demand(error is None or (set(error) == {"mean", "max"} and all(map(_is_finite, error.values()))), "error")
    _demand(isinstance(found["data_name"], str), "data_name")
    _demand(isinstance(found["dtype"], str) and found["dtype"] in STORED_AS, "dtype")
    normalisation = Normalisation(tuple(map(float, mean)), tuple(map(float, std)))
    return {
        "format_version": found["version"],
        "dtype": found["dtype"],
        "shape": shape,
        "class_names": tuple(names),
        "normalisation": normalisation,
        "data_name": found["data_name"],
        "quantisation_error": error,
    }


def _kind(found: dict[str, Any]) -> type[ContainerShape]:
    """The class of the container's shape."""
    if found["version"] == 1:
        return HmnShape
    kinds: dict[str, type[ContainerShape]] = {HmnShape.kind: HmnShape, **RIVAL_SHAPES}
    kind = found["container"]
    _demand(isinstance(kind, str) and kind in kinds, "container")
    return kinds[kind]


def _size(name: str, value: Any) -> Any:
    """A field of a shape out of JSON."""
    if name == "tiles":
        _demand(_list_of(value, lambda row: _list_of(row, _is_int)), name)
        return tuple(map(tuple, value))
    if name in ("first_frequency", "frequency"):
        _demand(_is_finite(value), name)
        return float(value)
    if name == "extractor":
        _demand(isinstance(value, bool), name)
        return value
    length = {"image_shape": 3, "hidden": 2, "images_per_class": None, "factors": None}
    if name in length:
        _demand(_list_of(value, _is_int) and length[name] in (None, len(value)), name)
        return tuple(value)
    _demand(_is_int(value), name)
    return value


def _demand(holds: bool, name: str) -> None:
    if not holds:
        raise ValueError(f"{name} is not as expected")


def _list_of(values: Any, is_right: Callable[[Any], bool]) -> bool:
    return isinstance(values, list) and bool(values) and all(is_right(value) for value in values)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
