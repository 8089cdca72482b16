"""Parquet files: opening them, and telling which columns hold images and labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hmn.data.options import DataOptions
from hmn.errors import UserError

IMAGE_COLUMN_NAMES = ("image", "img", "images", "bytes", "jpg", "png")
LABEL_COLUMN_NAMES = ("label", "labels", "fine_label", "class", "target", "y")


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
    features = hub_features(schema)
    for column in (options.image_column, options.label_column):
        if column is not None and column not in schema.names:
            raise UserError(f"{path}: no column {column!r}: it has {', '.join(schema.names)}")
    if twice := [name for name in schema.names if schema.names.count(name) > 1]:
        raise UserError(f"{path}: several columns are called {twice[0]!r}: rename all but one")
    # What the Hub says of a column goes before its type, and that before its name.
    images = [n for n in schema.names if features.get(n, {}).get("_type") == "Image"]
    images = images or [n for n in schema.names if is_image_type(schema.field(n).type)]
    image = options.image_column or choose_column(images, IMAGE_COLUMN_NAMES, str(path), schema.names, "image")
    labels = [n for n in schema.names if features.get(n, {}).get("_type") == "ClassLabel"]
    labels = labels or [n for n in schema.names if n != image and is_label_type(schema.field(n).type)]
    label = options.label_column or choose_column(labels, LABEL_COLUMN_NAMES, str(path), schema.names, "label")
    if not is_image_type(schema.field(image).type) or not is_label_type(schema.field(label).type):
        types = f"{image} is {schema.field(image).type}, {label} is {schema.field(label).type}"
        raise UserError(f"{path}: {types}: expected encoded image bytes, and integer or text labels")
    names = features.get(label, {}).get("names")
    return Columns(image, label, tuple(map(str, names)) if names else None)


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
    names = hub_features(schema).get(columns.label, {}).get("names")
    if names and columns.class_names and tuple(map(str, names)) != columns.class_names:
        raise UserError(
            f"{path}: column {columns.label} names other classes than {first.name}: these shards do not match"
        )


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


def choose_column(found: Sequence[str], usual: Sequence[str], where: str, columns: Sequence[str], what: str) -> str:
    """The one column found, or the one of them that bears a usual name."""
    if len(found) == 1:
        return found[0]
    for name in usual:
        if name in found:
            return name
    which = f"several columns could be the {what}: {', '.join(found)}" if found else f"no {what} column"
    raise UserError(f"{where}: {which}; it has {', '.join(columns)}: name it with --{what}-column")
