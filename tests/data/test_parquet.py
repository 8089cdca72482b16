from __future__ import annotations

import io
import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hmn.data.parquet as parquet
from hmn.data.load import load_data, load_images
from hmn.data.options import DataOptions
from hmn.errors import UserError
from tests.data.pictures import picture

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def png(seed: int, **how: Any) -> bytes:
    stream = io.BytesIO()
    picture(seed, **how).save(stream, "PNG")
    return stream.getvalue()


def write(
    path: Path,
    labels: list[Any],
    *,
    seed: int = 0,
    image: str = "img",
    label: str = "label",
    names: list[str] | None = None,
    plain: bool = False,
    blobs: list[bytes | None] | None = None,
    extra: dict[str, Any] | None = None,
) -> None:
    """A shard in the Hub's layout: struct{bytes, path} (or bare bytes), and features in the metadata."""
    data = blobs or [png(seed + i) for i in range(len(labels))]
    column = pa.array(data, pa.binary()) if plain else pa.array([{"bytes": b, "path": None} for b in data])
    table = pa.table({image: column, label: labels} | (extra or {}))
    if names is not None:
        features = {image: {"_type": "Image"}, label: {"_type": "ClassLabel", "names": names}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def test_shards_are_joined_in_order_and_splits_found_by_name(tmp_path: Path) -> None:
    write(tmp_path / "h" / "train-00000-of-00002.parquet", [0, 1, 2], names=["a", "b", "c"])
    write(tmp_path / "h" / "train-00001-of-00002.parquet", [2, 0], seed=3, names=["a", "b", "c"])
    write(tmp_path / "h" / "test-00000-of-00001.parquet", [1], seed=9, names=["a", "b", "c"])
    write(tmp_path / "h" / "validation-00000-of-00001.parquet", [1, 1], seed=9, names=["a", "b", "c"])
    splits = load_data(str(tmp_path / "h"))
    assert splits.train.labels.tolist() == [0, 1, 2, 2, 0] and splits.test.labels.tolist() == [1]
    slow = np.stack([np.asarray(picture(i)).transpose(2, 0, 1) for i in range(5)])
    assert np.array_equal(splits.train.pixels.numpy(), slow)
    assert splits.train.class_names == ("a", "b", "c") and splits.name == "h"


@pytest.mark.parametrize("where", ["data/train-00000-of-00001", "plain_text/train-x", "train/0000", "data/train/0"])
def test_the_hubs_folders(tmp_path: Path, where: str) -> None:
    write(tmp_path / "h" / f"{where}.parquet", [0, 1])
    write(tmp_path / "h" / f"{where.replace('train', 'validation')}.parquet", [1], seed=5)
    splits = load_data(str(tmp_path / "h"))
    assert (len(splits.train), len(splits.test)) == (2, 1) and splits.train.class_names == ("0", "1")


def test_a_lone_file_is_split_by_seed(tmp_path: Path) -> None:
    write(tmp_path / "things.parquet", ["cat", "dog"] * 5, plain=True, image="jpg")
    splits = load_data(str(tmp_path / "things.parquet"))
    assert splits.train.class_names == ("cat", "dog") and len(splits.test) == 2 and splits.name == "things"


def test_columns_are_told_by_features_by_type_by_name_or_by_the_user(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    ids = pa.array(list(range(4)))
    write(path, [0, 1, 0, 1], label="kind", names=["a", "b"], extra={"id": ids})
    assert load_data(str(path)).train.class_names == ("a", "b")
    write(path, [0, 1, 0, 1], label="fine_label", extra={"coarse_label": pa.array([0] * 4)})
    assert load_data(str(path)).train.num_classes == 2
    write(path, [0, 1, 0, 1], label="kind", extra={"id": ids})
    with pytest.raises(UserError, match="several columns could be the label: kind, id; .* --label-column"):
        load_data(str(path))
    assert load_data(str(path), DataOptions(label_column="kind")).train.num_classes == 2
    write(path, [0, 1, 0, 1], image="left", extra={"right": pa.array([png(9)] * 4)})
    with pytest.raises(UserError, match="several columns could be the image: left, right; .* --image-column"):
        load_data(str(path))
    assert len(load_data(str(path), DataOptions(image_column="right")).train.pixels.unique(dim=0)) == 1
    with pytest.raises(UserError, match="no column 'up': it has left, label, right"):
        load_data(str(path), DataOptions(image_column="up"))
    with pytest.raises(UserError, match="label is int64, label is int64: expected encoded image bytes"):
        load_data(str(path), DataOptions(image_column="label", label_column="label"))
    pq.write_table(pa.table({"x": [1.0]}), path)
    with pytest.raises(UserError, match="t.parquet: no image column; it has x: name it with --image-column"):
        load_data(str(path))


def test_bad_rows_are_named_or_skipped(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    blobs: list[bytes | None] = [png(i) for i in range(700)]
    blobs[600] = png(600)[:60]
    blobs[601] = None
    write(path, [0, 1] * 350, names=["a", "b"], blobs=blobs)
    with pytest.raises(UserError, match="t.parquet row 600: cannot decode the image"):
        load_data(str(path))
    splits = load_data(str(path), DataOptions(skip_bad=True))
    assert splits.skipped == 2 and len(splits.train) + len(splits.test) == 698


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ([0, 1, 0, 2], ["a", "b"], "t.parquet: label 2 of row 3 is outside 0..1"),
        ([0, 1, 0, None], ["a", "b"], "t.parquet: label -1 of row 3 is outside 0..1"),
        (
            [-1, -1],
            None,
            r"t.parquet: column label: all labels are negative \(-1\): this split has no labels",
        ),
        ([0, 1, 0, 1], ["a", "b", "c"], r"t.parquet: class 'c' \(label 2\) has no training images"),
        ([0, 0, 9, 9], None, "label 9 of row 2, with 4 images"),
        ([0, 1, 5] * 2, None, r"t.parquet: class '2' \(label 2\) has no training images"),
    ],
)
def test_bad_labels(tmp_path: Path, labels: list[int], names: list[str] | None, message: str) -> None:
    write(tmp_path / "t.parquet", labels, names=names)
    with pytest.raises(UserError, match=message):
        load_data(str(tmp_path / "t.parquet"))


@pytest.mark.parametrize("bad", [-1, None, 2, 999])
def test_skip_bad_leaves_out_bad_labels_and_classes_too_small(tmp_path: Path, bad: int | None) -> None:
    write(tmp_path / "t.parquet", [0] * 5 + [1] * 5 + [3, bad])
    splits = load_data(str(tmp_path / "t.parquet"), DataOptions(skip_bad=True))
    assert splits.skipped == 2 and splits.train.class_names == ("0", "1")
    assert len(splits.train) + len(splits.test) == 10


@pytest.mark.parametrize("odd", ["train-00001-of-00002", "test-00000-of-00001"])
@pytest.mark.parametrize(
    ("how", "labels", "message"),
    [
        ({"image": "picture"}, [0, 1], "no column 'img' as in train-00000-of-00002.parquet: it has picture, label"),
        ({"label": "kind"}, [0, 1], "no column 'label' as in train-00000-of-00002.parquet: it has img, kind"),
        ({}, ["0", "1"], "column label holds string, in train-00000-of-00002.parquet int64: these shards do not match"),
        ({}, [0.5, 1.0], "column label holds double, in train-00000-of-00002.parquet int64: these shards do not match"),
        ({"names": ["b", "a"]}, [0, 1], "column label names other classes than train-00000-of-00002.parquet"),
    ],
)
def test_shards_that_differ_from_the_first(
    tmp_path: Path, odd: str, how: dict[str, Any], labels: list[Any], message: str
) -> None:
    names = ["a", "b"]
    for stem in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        write(tmp_path / f"{stem}.parquet", [0, 1], names=names)
    assert len(load_data(str(tmp_path)).train) == 4
    write(tmp_path / f"{odd}.parquet", labels, **how)
    with pytest.raises(UserError, match=f"{odd}.parquet: {message}") as caught:
        load_data(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_bare_and_wrapped_images_are_read_together(tmp_path: Path) -> None:
    write(tmp_path / "train-0.parquet", ["a", "b"])
    write(tmp_path / "train-1.parquet", ["b", "a"], plain=True, seed=2)
    write(tmp_path / "test-0.parquet", ["b", "c"], seed=4)
    with pytest.raises(UserError, match="test-0.parquet: label -1 of row 1"):
        load_data(str(tmp_path))
    splits = load_data(str(tmp_path), DataOptions(skip_bad=True))
    assert splits.train.labels.tolist() == [0, 1, 1, 0] and splits.test.labels.tolist() == [1]


def test_columns_of_one_name(tmp_path: Path) -> None:
    table = pa.table([pa.array([png(0)] * 2), pa.array([0, 1]), pa.array([0, 1])], names=["image", "label", "label"])
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(UserError, match="t.parquet: several columns are called 'label': rename all but one"):
        load_data(str(tmp_path / "t.parquet"))


@pytest.mark.parametrize("split", ["test", "validation"])
def test_without_training_shards(tmp_path: Path, split: str) -> None:
    path = tmp_path / f"{split}-00000-of-00001.parquet"
    write(path, [0, 1] * 5)
    with pytest.raises(UserError, match=f"holds only {split} shards, no train-\\*.parquet: get those too, or pass"):
        load_data(str(tmp_path))
    assert len(load_data(str(path)).train) == 8


def test_images_to_train_on_by_column(tmp_path: Path) -> None:
    like = load_data("digits", DataOptions(channels=3)).train
    write(tmp_path / "t.parquet", ["3"], label="kind", extra={"id": pa.array([0])})
    with pytest.raises(UserError, match="several columns could be the label: kind, id"):
        load_images(str(tmp_path / "t.parquet"), like=like)
    with pytest.raises(UserError, match="no column 'up'"):
        load_images(str(tmp_path / "t.parquet"), DataOptions(image_column="up"), like=like)
    found = load_images(str(tmp_path / "t.parquet"), DataOptions(image_column="img", label_column="kind"), like=like)
    assert found.labels.tolist() == [3]


def test_damaged_and_missing_shards(tmp_path: Path) -> None:
    path = tmp_path / "train-00000-of-00001.parquet"
    write(path, [0, 1] * 20)
    whole = path.read_bytes()
    for damaged in (whole[:-30], whole[:100], b"", b"PAR1" + b"\0" * 50 + b"PAR1"):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="train-00000-of-00001.parquet: not a readable Parquet file") as caught:
            load_data(str(tmp_path))
        assert "\n" not in str(caught.value)
    middle = len(whole) // 3
    path.write_bytes(whole[:middle] + b"\xff" * 400 + whole[middle + 400 :])
    with pytest.raises(UserError, match="train-00000-of-00001.parquet"):
        load_data(str(tmp_path))
    write(tmp_path / "two" / "train-00000-of-00002.parquet", [0, 1])
    with pytest.raises(UserError, match=r"two: 1 of 2 shards train-\*: download the rest"):
        load_data(str(tmp_path / "two"))


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "t.parquet", [0, 1])
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"pip install 'hmn\[data\]'"):
        load_data(str(tmp_path / "t.parquet"))


def test_cifar100_sample(shared_data: Path) -> None:
    splits = load_data("cifar100", DataOptions(data_dir=shared_data / "samples"))
    assert splits.train.labels.bincount().tolist() == [20] * 100 and len(splits.test) == 500
    assert splits.train.class_names[:2] == ("apple", "aquarium_fish")
    assert splits.train.normalisation.mean == (0.5071, 0.4866, 0.4409)


def test_cifar10_test_shard_decodes_quickly_and_is_cached(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data" / "cifar10"
    folder.mkdir(parents=True)
    for split in ("train", "test"):  # the test shard twice: as quick as it gets, with the real layout
        shutil.copy(shared_data / "cifar10" / "test-00000-of-00001.parquet", folder / f"{split}-0.parquet")
    splits = load_data("cifar10", DataOptions(data_dir=tmp_path / "data"))
    assert splits.train.labels.bincount().tolist() == [1000] * 10
    assert splits.train.class_names[0] == "airplane" and splits.train.image_shape == (3, 32, 32)
    first = pq.ParquetFile(folder / "test-0.parquet").read_row_group(0, columns=["img"]).column(0)[7].as_py()
    from PIL import Image

    slow = np.asarray(Image.open(io.BytesIO(first["bytes"]))).transpose(2, 0, 1)
    assert np.array_equal(splits.test.pixels[7].numpy(), slow)
    monkeypatch.setattr(parquet, "decode_parquet", None)
    start = time.perf_counter()
    again = load_data("cifar10", DataOptions(data_dir=folder))
    assert time.perf_counter() - start < 1.5
    assert again.train.pixels.equal(splits.train.pixels) and again.name == "cifar10"
