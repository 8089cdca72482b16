"""The description of a container in the header of its container.safetensors: written, parsed and checked.

It is one JSON string under "hmn" in the header's metadata.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from hmn.containers.container import Container, container_class
from hmn.containers.quantise import STORED_AS
from hmn.containers.shape import Ledger, Shape
from hmn.data.source import Normalisation
from hmn.errors import UserError
from hmn.recipes.kinds import CONTAINERS

FORMAT_NAME = "hmn"
FORMAT_VERSION = 3
"""1: a hierarchical memory network, which is still written as 1. 2: any other container. 3: int4.

From 2 on the description names the container."""
MAX_FLOATS = 2**31
"""Stored values, and values of all pixels that `hmn.load` renders."""
MAX_IMAGES = 2**24
MAX_IMAGE_SIDE = 8192
ONLY_CONTAINER_OF_1 = "hmn"


@dataclass(frozen=True, kw_only=True)
class ArtifactInfo:
    """What a stored container says about itself."""

    path: Path
    format_version: int
    dtype: str
    """How the values are stored: "float32", "float16", "int8" or "int4"."""
    shape: Shape
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
    final: Container, *, data_name: str, dtype: str, quantisation_error: dict[str, float] | None
) -> dict[str, str]:
    """Metadata of the header: one entry, because safetensors writes several in no fixed order."""
    shape = final.shape
    description: dict[str, Any] = {
        "version": version_of(shape, dtype),
        "dtype": dtype,
        "shape": asdict(shape),
        "class_names": final.class_names,
        "normalisation": final.normalisation._asdict(),
        "data_name": data_name,
        "quantisation_error": quantisation_error,
    }
    if description["version"] > 1:
        description["container"] = shape.kind
    return {FORMAT_NAME: json.dumps(description, sort_keys=True)}


def version_of(shape: Shape, dtype: str) -> int:
    """The oldest version of the format that holds such a container with values of `dtype`."""
    return 3 if dtype == "int4" else shape.format_version


def parse_json(text: str | bytes) -> Any:
    """Parsed JSON, or None where it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # ValueError: bad JSON, bad UTF-8, a number of absurd length
        return None


def parse_description(file: Path, header: dict[str, Any]) -> dict[str, Any]:
    """Fields of ArtifactInfo that the header's metadata holds. Raises UserError: no description, one from a newer
    version, a field of the wrong type, or an absurd size.
    """
    text = header.get("__metadata__", {}).get(FORMAT_NAME)
    if text is None:
        raise UserError(f"{file}: a safetensors file, but not a container: its metadata holds no {FORMAT_NAME!r}.")
    found = parse_json(text) if isinstance(text, str) else None
    version = found.get("version") if isinstance(found, dict) else None
    if not isinstance(found, dict) or not isinstance(version, int) or version is True or version < 1:
        raise UserError(f"{file}: damaged: the description in its header cannot be read.")
    # A newer format is no damage, and whatever else is wrong is told in one line.
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
    shape = _shape(ONLY_CONTAINER_OF_1 if found["version"] == 1 else found["container"], found["shape"])
    if shape.num_images > MAX_IMAGES:
        raise ValueError(f"{shape.num_images:,} images, more than the limit of {MAX_IMAGES:,}")
    if max(shape.image_shape) > MAX_IMAGE_SIDE or not shape.num_classes:
        raise ValueError(f"{shape.num_classes} classes of images {shape.image_shape}, limit {MAX_IMAGE_SIDE} a side")
    if shape.ledger().stored_floats > MAX_FLOATS:
        raise ValueError(f"{shape.ledger().stored_floats:,} values, more than the limit of {MAX_FLOATS:,}")
    # What goes with the sizes must fit them.
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
    made = {"shape": shape, "class_names": tuple(names), "normalisation": normalisation}
    kept = {key: found[key] for key in ("dtype", "data_name", "quantisation_error")}
    return {"format_version": found["version"], **made, **kept}


def _shape(container: Any, sizes: Mapping[str, Any]) -> Shape:
    """The sizes of a container out of JSON; what older files lack has the default that those hold."""
    _demand(isinstance(container, str) and container in CONTAINERS.names(), "container")
    shape_class = container_class(container).shape_class
    hints = get_type_hints(shape_class)
    given = [field.name for field in fields(shape_class) if field.name in sizes or field.name not in shape_class.added]
    return shape_class(**{name: _size(name, hints[name], sizes[name]) for name in given})


def _size(name: str, kind: Any, value: Any) -> Any:
    """A field of a shape out of JSON, by its annotation: a number, a switch, or tuples of them."""
    inner = get_args(kind)
    if inner:
        _demand(isinstance(value, list) and bool(value), name)
        _demand(inner[-1] is Ellipsis or len(inner) == len(value), name)
        return tuple(_size(name, inner[0], item) for item in value)
    if kind is float:
        _demand(_is_finite(value), name)
        return float(value)
    _demand(isinstance(value, kind) and isinstance(value, bool) == (kind is bool), name)
    return value


def _demand(holds: bool, name: str) -> None:
    if not holds:
        raise ValueError(f"{name} is not as expected")


def _list_of(values: Any, is_right: Callable[[Any], bool]) -> bool:
    return isinstance(values, list) and bool(values) and all(is_right(value) for value in values)


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
