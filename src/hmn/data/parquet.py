"""Parquet in the Hugging Face Hub's layout: images as encoded bytes in a column, labels in another."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hmn.data.bulk import Item, decode_all
from hmn.data.cache import cached
from hmn.data.formats import SPLIT_OF_WORD, TEST, TRAIN, VALIDATION, Decoded, number_labels, texts
from hmn.data.options import DataOptions
from hmn.errors import UserError

SUBFOLDERS = ("", "data", "plain_text", "default")
"""Where the Hub's repositories keep their shards: at the top, or in the folder of the only configuration."""
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


def find_shards(root: Path) -> dict[str, list[Path]]:
    """Parquet files by split (train, test, validation; "all" for names that tell none)."""
    if root.is_file():
        return {"all": [root]}
    for folder in (root / name for name in SUBFOLDERS):
        named = sorted((path, path.name) for path in folder.glob("*.parquet"))
        named += sorted((path, word) for word in SPLIT_OF_WORD for path in (folder / word).glob("*.parquet"))
        shards: dict[str, list[Path]] = {}
        for path, told in named:
            start = re.split(r"[^a-z]", told.lower(), maxsplit=1)[0]
            shards.setdefault(SPLIT_OF_WORD.get(start, "all"), []).append(path)
        if shards:
            return shards
    return {}


def read_parquet(root: Path, options: DataOptions) -> Decoded:
    """Read shards train-*, test-* (else validation-*); one file, or shards of no split, are split by a seed.

    A folder with test or validation shards alone is refused: what is to be trained on is missing. Raises UserError: a
    shard is missing or damaged, columns cannot be told, rows are bad; or no pyarrow.
    """
    shards = find_shards(root)
    if not shards:
        raise UserError(f"{root}: no .parquet files: expected train-*.parquet and test-*.parquet")
    train = shards.get(TRAIN) or shards.get("all")
    if train is None:
        held = f"only {' and '.join(shards)} shards, no train-*.parquet"
        raise UserError(f"{root}: holds {held}: get those too, or pass the path of a file")
    test = (shards.get(TEST) or shards.get(VALIDATION)) if TRAIN in shards else None
    for paths in (train, test or []):
        check_complete(paths)

    def read() -> Decoded:
        return decode_parquet(train, test, options, title=root.name)

    # The split of each file is told too: it is part of the name, and a lone file's name is of no account.
    files = [(f"train {i}", path) for i, path in enumerate(train)]
    files += [(f"test {i}", path) for i, path in enumerate(test or [])]
    return cached("parquet", files, options, read)


def check_complete(paths: list[Path]) -> None:
    """Refuse a set of shards NAME-00000-of-00003 that lacks one."""
    for path in paths:
        if match := re.fullmatch(r"(.*)-(\d+)-of-(\d+)(.*)\.parquet", path.name):
            present = {p.name for p in paths if p.name.startswith(match[1] + "-")}
            if len(present) < (wanted := int(match[3])):
                raise UserError(f"{path.parent}: {len(present)} of {wanted} shards {match[1]}-*: download the rest")


def decode_parquet(train: list[Path], test: list[Path] | None, options: DataOptions, *, title: str) -> Decoded:
    """Read the labels of all shards, then decode the images shard by shard."""
    paths = train + (test or [])
    columns = find_columns(train[0], options)
    for path in paths[1:]:
        check_shard(path, columns, first=train[0])
    raw = {str(path): read_labels(path, columns) for path in paths}
    where = f"{train[0]}: column {columns.label}"
    names, numbered = number_labels(raw, len(train), columns.class_names, where=where, skip_bad=options.skip_bad)
    # Images of bad rows are not decoded.
    items = (item for path, rows in zip(paths, numbered, strict=True) for item in read_images(path, rows >= 0, columns))
    good = [rows[rows >= 0] for rows in numbered]
    bulk = decode_all(items, sum(map(len, good)), options, title=title)
    splits = [np.concatenate(shards) for shards in (good[: len(train)], good[len(train) :]) if shards]
    return bulk.decoded(sum(map(len, numbered)), splits, names)


def read_labels(path: Path, columns: Columns) -> np.ndarray:
    """The label column of a shard: int64 or text [n]; a missing integer is -1."""
    import pyarrow as pa

    try:
        with open_shard(path) as shard:
            column = shard.read(columns=[columns.label]).column(0).combine_chunks()
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if pa.types.is_integer(column.type):
            return np.asarray(column.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False))
        return np.array(column.fill_null("").to_pylist(), dtype=str)
    except (pa.ArrowException, KeyError, OSError) as error:
        raise unreadable(path, error) from None


def read_images(path: Path, keep: np.ndarray, columns: Columns) -> Iterator[Item]:
    """The encoded images of the rows to keep, read in small batches."""
    import pyarrow as pa

    row = 0
    try:
        with open_shard(path) as shard:
            for batch in shard.iter_batches(batch_size=512, columns=[columns.image]):
                column = batch.column(0)
                if pa.types.is_struct(column.type):
                    column = column.field("bytes")
                for value in column:
                    if keep[row]:
                        yield Item(f"{path} row {row}", value.as_py() or b"")
                    row += 1
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from None


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
    """Tell the image and the label column by the Hub's features, by type, by name; or take the ones given."""
    with open_shard(path) as shard:
        schema = shard.schema_arrow
    if twice := [name for name in schema.names if schema.names.count(name) > 1]:
        raise UserError(f"{path}: several columns are called {twice[0]!r}: rename all but one")
    types = dict(zip(schema.names, schema.types, strict=True))
    features = hub_features(schema)
    told = {name: features.get(name, {}).get("_type") for name in types}
    fits = [name for name, kind in types.items() if is_image_type(kind)]
    image = choose_column("image", options.image_column, told, fits, str(path))
    fits = [name for name, kind in types.items() if name != image and label_kind(kind)]
    label = choose_column("label", options.label_column, told, fits, str(path))
    if not is_image_type(types[image]) or not label_kind(types[label]):
        found = f"{image} is {types[image]}, {label} is {types[label]}"
        raise UserError(f"{path}: {found}: expected encoded image bytes, and integer or text labels")
    return Columns(image, label, texts(features.get(label, {}).get("names")))


def check_shard(path: Path, columns: Columns, *, first: Path) -> None:
    """Refuse a shard whose columns are not those of the first one: another data set's file, or another version's."""
    with open_shard(path) as shard, open_shard(first) as model:
        schema, expected = shard.schema_arrow, model.schema_arrow
    for column, kind_of in ((columns.image, is_image_type), (columns.label, label_kind)):
        if schema.names.count(column) != 1:
            raise UserError(f"{path}: no column {column!r} as in {first.name}: it has {', '.join(schema.names)}")
        got, wanted = schema.field(column).type, expected.field(column).type
        if not kind_of(got) or kind_of(got) != kind_of(wanted):
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


def label_kind(kind: Any) -> str | None:
    """Whether labels of an Arrow type, or of a dictionary of it, are "integers" or "text"; None where neither."""
    value = str(kind.value_type if str(kind).startswith("dictionary<") else kind)
    if value in ("string", "large_string"):
        return "text"
    return "integers" if value.removeprefix("u") in ("int8", "int16", "int32", "int64") else None


def choose_column(what: str, given: str | None, features: Mapping[str, Any], fits: Sequence[str], where: str) -> str:
    """The column given, else the one by its Hub's feature, else the one that `fits`; of several that of a usual name.

    `what` is image or label; `features` has every column, with the name of its feature where the Hub tells it.
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
