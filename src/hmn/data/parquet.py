"""Parquet in the Hugging Face Hub's layout: images as encoded bytes in a column, labels in another."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hmn.data.bulk import Item, decode_all
from hmn.data.cache import cached
from hmn.data.formats import SPLIT_OF_WORD, TEST, TRAIN, VALIDATION, Decoded, number_labels
from hmn.data.options import DataOptions
from hmn.data.parquet_columns import Columns, check_shard, find_columns, open_shard, unreadable
from hmn.errors import UserError

SUBFOLDERS = ("", "data", "plain_text", "default")
"""Where the Hub's repositories keep their shards: at the top, or in the folder of the only configuration."""


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

    A folder with test or validation shards alone is refused: what is to be trained on is missing.

    Raises:
        UserError: a shard is missing or damaged, columns cannot be told, rows are bad; or no pyarrow.
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
