"""Parquet files: opening them, and telling which columns hold images and labels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hmn.data.formats import texts
from hmn.data.options import DataOptions
from hmn.errors import UserError

HUB_FEATURES = {"image": "Image", "label": "ClassLabel"}
USUAL_NAMES = {
    "image": ("image", "img", "images", "bytes", "jpg", "png"),
    "label": ("label", "labels", "fine_label", "class", "target", "y"),
}


class Columns(NamedTuple):
    """Which columns hold what; class_names where the schema tells them."""

    image: str
    label: str
    class_names: tuple[str, ...] | None


def open_shard(path: Path) -> Any:
    """A Parquet file opened for reading."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError(f"{path}: reading Parquet needs pyarrow: pip install 'hmn[data]'") from None
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: Exception) -> UserError:
    """A damaged shard, in one line."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return UserError(f"{path}: not a readable Parquet file: {reason}")


def find_columns(path: Path, options: DataOptions) -> Columns:
    """Tell the image and the label column by the Hub's features, by type, by name; or take the ones given.

    Raises:
        UserError: none or several columns fit, or a given one is not there.
    """
    with open_shard(path) as shard:
        schema = shard.schema_arrow
    if twice := [name for name in schema.names if schema.names.count(name) > 1]:
        raise UserError(f"{path}: several columns are called {twice[0]!r}: rename all but one")
    types = dict(zip(schema.names, schema.types, strict=True))
    features = hub_features(schema)
    told = {name: features.get(name, {}).get("_type") for name in types}
    fits = [name for name, kind in types.items() if is_image_type(kind)]
    image = choose_column("image", options.image_column, told, fits, str(path))
    fits = [name for name, kind in types.items() if name != image and is_label_type(kind)]
    label = choose_column("label", options.label_column, told, fits, str(path))
    if not is_image_type(types[image]) or not is_label_type(types[label]):
        found = f"{image} is {types[image]}, {label} is {types[label]}"
        raise UserError(f"{path}: {found}: expected encoded image bytes, and integer or text labels")
    return Columns(image, label, texts(features.get(label, {}).get("names")))


def check_shard(path: Path, columns: Columns, *, first: Path) -> None:
    """Refuse a shard whose columns are not those of the first one: another data set's file, or another version's.

    Raises:
        UserError: a column is missing or holds something else, or the classes are others.
    """
    with open_shard(path) as shard, open_shard(first) as model:
        schema, expected = shard.schema_arrow, model.schema_arrow
    for column, fits in ((columns.image, is_image_type), (columns.label, is_label_type)):
        if schema.names.count(column) != 1:
            raise UserError(f"{path}: no column {column!r} as in {first.name}: it has {', '.join(schema.names)}")
        got, wanted = schema.field(column).type, expected.field(column).type
        if not fits(got) or (fits is is_label_type and is_text(got) != is_text(wanted)):
            raise UserError(f"{path}: column {column} holds {got}, in {first.name} {wanted}: these shards do not match")
    names = texts(hub_features(schema).get(columns.label, {}).get("names"))
    if names and columns.class_names and names != columns.class_names:
        differ = f"column {columns.label} names other classes than {first.name}"
        raise UserError(f"{path}: {differ}: these shards do not match")


def hub_features(schema: Any) -> dict[str, dict[str, Any]]:
    """The Hub's own description of the columns, from the schema's metadata; empty where there is none."""
    try:
        told = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: feature for name, feature in told.items() if isinstance(feature, dict)}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def is_image_type(kind: Any) -> bool:
    """Whether an Arrow type is that of encoded images: binary, or struct{bytes, ...} with binary bytes."""
    if str(kind).startswith("struct<"):
        index = kind.get_field_index("bytes")
        return index >= 0 and is_image_type(kind.field(index).type)
    return str(kind) in ("binary", "large_binary")


def is_label_type(kind: Any) -> bool:
    """Whether an Arrow type is that of labels: integers, text, or a dictionary of either."""
    return is_text(kind) or str(value_type(kind)).removeprefix("u") in ("int8", "int16", "int32", "int64")


def is_text(kind: Any) -> bool:
    """Whether labels of this Arrow type are text."""
    return str(value_type(kind)) in ("string", "large_string")


def value_type(kind: Any) -> Any:
    """What a dictionary's numbers stand for; any other Arrow type as it is."""
    return kind.value_type if str(kind).startswith("dictionary<") else kind


def choose_column(what: str, given: str | None, features: Mapping[str, Any], fits: Sequence[str], where: str) -> str:
    """The column given, else the one by its Hub's feature, else the one that `fits`; of several that of a usual name.

    `what` is image or label; `features` has every column, with the name of its feature where the Hub tells it.

    Raises:
        UserError: none or several columns are left, or the one that is given is not there.
    """
    if given is not None:
        if given not in features:
            raise UserError(f"{where}: no column {given!r}: it has {', '.join(features)}")
        return given
    found = [name for name, feature in features.items() if feature == HUB_FEATURES[what]] or fits
    if len(found) == 1:
        return found[0]
    for name in USUAL_NAMES[what]:
        if name in found:
            return name
    which = f"several columns could be the {what}: {', '.join(found)}" if found else f"no {what} column"
    raise UserError(f"{where}: {which}; it has {', '.join(features)}: name it with --{what}-column")
