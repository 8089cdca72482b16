from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import hmn.data
from hmn.data.formats import Decoded, Labelled
from hmn.data.load import load_data
from hmn.data.named import NAMES, check_looks, data_root, name_of_path
from hmn.data.options import DataOptions
from hmn.errors import UserError
from tests.data.pictures import picture


@pytest.mark.parametrize("name", [name for name in NAMES if name != "digits"])
def test_absent_data_sets_say_where_was_looked_and_what_to_do(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load_data(name, DataOptions(data_dir=tmp_path))
    line = str(caught.value)
    assert line.startswith(f"{name}: not found in {tmp_path}: ") and "--data-dir" in line and "\n" not in line
    assert ("--download" in line) == (name not in ("tiny-imagenet", "imagenet-10"))


def test_roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert data_root(tmp_path) == tmp_path
    assert data_root(None).name == "hmn"
    monkeypatch.setenv("HMN_DATA", str(tmp_path / "env"))
    assert data_root(None) == tmp_path / "env"
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file: --data-dir is a file: expected the folder"):
        data_root(tmp_path / "file")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("no/such/place", "^no/such/place: no such file or folder, and not one of digits, cifar10"),
        ("cifar-10", "did you mean cifar10\\?$"),
        ("Digits", "did you mean digits\\?$"),
    ],
)
def test_unknown_data(data: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_data(data)


def test_a_file_that_is_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(UserError, match="a.txt: not a data set: expected a folder, an .npz or a .parquet file"):
        load_data(str(tmp_path / "a.txt"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "--size 0: expected a side of at least 1"),
        ({"channels": 2}, "--channels 2: expected 1"),
        ({"test_share": 1.0}, "test share 1.0: expected a fraction"),
        ({"split_seed": -1}, "split seed -1: expected 0 or more"),
        ({"split_seed": 2**64}, "split seed 18446744073709551616: expected 0 or more"),
    ],
)
def test_bad_options(options: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_data("digits", DataOptions(**options))  # type: ignore[arg-type]


def test_what_cannot_be_downloaded(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="tiny-imagenet: cannot be downloaded here: get it yourself"):
        load_data("tiny-imagenet", DataOptions(data_dir=tmp_path, download=True))


def test_another_data_set_under_a_known_name_is_refused(shared_data: Path) -> None:
    sample = shared_data / "samples" / "cifar100"
    with pytest.raises(UserError, match=r"cifar100: holds 100 classes \(apple, ...\) .* but svhn has 10"):
        load_data("svhn", DataOptions(data_dir=sample))


def test_a_neighbours_folder_is_not_mistaken_for_the_data_set(shared_data: Path) -> None:
    with pytest.raises(UserError, match="^cifar10: not found in"):
        load_data("cifar10", DataOptions(data_dir=shared_data / "samples"))


def tiny(num_classes: int, side: int) -> Decoded:
    part = Labelled(np.zeros((num_classes, 3, side, side), dtype=np.uint8), np.arange(num_classes))
    return Decoded(part, part, tuple(f"n{i:08}" for i in range(num_classes)), 0)


def test_parquet_called_tiny_imagenet_must_have_its_classes_and_size(tmp_path: Path) -> None:
    (tmp_path / "train-0.parquet").write_bytes(b"")  # the layout: of Tiny ImageNet's own, a part will do
    check_looks("tiny-imagenet", tiny(200, 64), tmp_path, DataOptions())
    check_looks("tiny-imagenet", tiny(200, 32), tmp_path, DataOptions(size=32))
    for other in (tiny(10, 64), tiny(200, 32)):
        with pytest.raises(UserError, match=r"but tiny-imagenet has 200 of \(3, 64, 64\): to use it, pass its path"):
            check_looks("tiny-imagenet", other, tmp_path, DataOptions())
    (tmp_path / "train-0.parquet").unlink()
    check_looks("tiny-imagenet", tiny(20, 64), tmp_path, DataOptions())
    with pytest.raises(UserError, match="but tiny-imagenet has 200"):
        check_looks("tiny-imagenet", tiny(200, 32), tmp_path, DataOptions())


def test_parquet_at_the_top_of_the_data_folder_is_not_tiny_imagenet(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    images = []
    for seed in range(4):
        stream = io.BytesIO()
        picture(seed).save(stream, "PNG")
        images.append(stream.getvalue())
    pq.write_table(pa.table({"image": images, "label": [0, 1, 0, 1]}), tmp_path / "train-0.parquet")
    with pytest.raises(UserError, match=r"holds 2 classes \(0, ...\) of \(3, 8, 8\) images, but tiny-imagenet has 200"):
        load_data("tiny-imagenet", DataOptions(data_dir=tmp_path))


def test_names_of_paths(make_tree: Callable[..., Path]) -> None:
    tree = make_tree({"a": 2, "b": 2}, root="cifar10.1")
    assert load_data(str(tree)).name == "cifar10.1"
    assert name_of_path(tree, tiny(200, 64)) == "cifar10.1"  # not in Tiny ImageNet's layout
    own = make_tree({"train/n01": 2, "train/n02": 2}, root="tiny.v2")
    (own / "wnids.txt").write_text("n01\nn02\n")
    assert load_data(str(own)).name == "tiny.v2"
    assert name_of_path(own, tiny(200, 64)) == "tiny-imagenet"
    assert name_of_path(own, tiny(199, 64)) == name_of_path(own, tiny(200, 32)) == "tiny.v2"


def test_importing_the_options_imports_no_reader(make_tree: Callable[..., Path]) -> None:
    heavy = ("torch", "PIL", "pyarrow", "torchvision", "rich", "scipy")
    code = f"import sys, hmn.data.formats; print([m for m in {heavy} if m in sys.modules])"
    source = str(Path(hmn.data.__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": source}, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_data_sets_of_one_shape_are_told_apart_by_their_classes(tmp_path: Path) -> None:
    part = Labelled(np.zeros((10, 3, 32, 32), dtype=np.uint8), np.arange(10))
    animals = Decoded(part, part, ("airplane", *map(str, range(9))), 0)
    check_looks("cifar10", animals, tmp_path, DataOptions())
    with pytest.raises(UserError, match=r"holds 10 classes \(airplane, ...\) of .*, but svhn has 10 \(0"):
        check_looks("svhn", animals, tmp_path, DataOptions())
