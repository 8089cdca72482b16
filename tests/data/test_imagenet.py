from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hmn.data.imagenet import IMAGENET10
from hmn.data.load import load_data
from hmn.data.options import DataOptions
from hmn.errors import UserError
from tests.data.pictures import picture

Tree = Callable[..., Path]


@pytest.fixture
def tiny(make_tree: Tree) -> Path:
    root = make_tree({"train/n02/images": 2, "train/n01/images": 2, "train/n03/images": 2, "val/images": 3})
    (root / "wnids.txt").write_text("n02\nn01\nn03\n")
    (root / "words.txt").write_text("n01\tcrane, a bird\nn02\tdog, hound\nn03\tcrane\nn99\tother\n")
    (root / "val" / "val_annotations.txt").write_text(
        "000.png\tn03\t0\t0\t1\t1\n001.png\tn01\t0\t0\t1\t1\n002.png\tn02\t0\t0\t1\t1\n"
    )
    return root


def test_tiny_layout(tiny: Path) -> None:
    splits = load_data(str(tiny))
    assert splits.train.class_names == ("crane (n01)", "dog", "crane (n03)")
    assert splits.train.labels.tolist() == [0, 0, 1, 1, 2, 2] and splits.test.labels.tolist() == [2, 0, 1]


def test_tiny_without_annotations_is_split_by_seed(tiny: Path) -> None:
    (tiny / "val" / "val_annotations.txt").unlink()
    assert len(load_data(str(tiny)).test) == 3


def test_changed_annotations_are_not_taken_from_the_cache(tiny: Path) -> None:
    load_data(str(tiny))
    path = tiny / "val" / "val_annotations.txt"
    path.write_text(path.read_text().replace("000.png\tn03", "000.png\tn02"))
    assert load_data(str(tiny)).test.labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("000.png\tn77\t0", "val_annotations.txt: line 4 names class 'n77', which is not in wnids.txt"),
        ("000.png n01", "val_annotations.txt: line 4 is '000.png n01': expected <file> TAB <wnid>"),
        ("999.png\tn01", "val/images/999.png: cannot read the file"),
    ],
)
def test_bad_annotations(tiny: Path, line: str, message: str) -> None:
    path = tiny / "val" / "val_annotations.txt"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(UserError, match=message):
        load_data(str(tiny))
    if "\t" in line:
        assert load_data(str(tiny), DataOptions(skip_bad=True)).skipped == 1


def test_a_listed_class_without_images(tiny: Path) -> None:
    (tiny / "wnids.txt").write_text("n01\nn02\nn03\nn04\n")
    with pytest.raises(UserError, match="train/n04: the class folder has no images"):
        load_data(str(tiny))


def test_tiny_sample_by_name_and_by_path(shared_data: Path) -> None:
    splits = load_data("tiny-imagenet", DataOptions(data_dir=shared_data / "samples"))
    assert splits.train.image_shape == (3, 64, 64) and splits.train.class_names[0] == "goldfish"
    assert splits.train.labels.bincount().tolist() == [40] * 20 and len(splits.test) == 200
    assert splits.train.normalisation.mean == (0.4802, 0.4481, 0.3975)
    by_path = load_data(str(shared_data / "samples" / "tiny-imagenet-200"))
    assert by_path.train.pixels.equal(splits.train.pixels)
    assert by_path.train.normalisation.mean == pytest.approx((0.4648, 0.4386, 0.3752), abs=1e-3)


def imagenet_tree(make_tree: Tree, root: str = "imagenet", **more: int) -> Path:
    counts = {f"train/{wnid}": 2 for wnid in IMAGENET10} | {f"val/{wnid}": 1 for wnid in IMAGENET10}
    return make_tree(counts | {"train/n00000001": 2, "val/n00000001": 1} | more, side=40, root=root)


def test_imagenet10_takes_ten_classes_at_224(make_tree: Tree, tmp_path: Path) -> None:
    imagenet_tree(make_tree)
    splits = load_data("imagenet-10", DataOptions(data_dir=tmp_path))
    assert splits.train.image_shape == (3, 224, 224) and len(splits.train) == 20 and len(splits.test) == 10
    assert splits.train.class_names[:2] == ("poke bonnet", "green mamba") and splits.train.num_classes == 10
    assert splits.train.normalisation.mean == (0.485, 0.456, 0.406)
    assert load_data("imagenet-10", DataOptions(data_dir=tmp_path / "imagenet", size=32)).train.image_shape == (
        3,
        32,
        32,
    )


def test_imagenet10_bad_trees(make_tree: Tree, tmp_path: Path) -> None:
    root = imagenet_tree(make_tree)
    for file in (root / "train" / "n02091831").iterdir():
        file.unlink()
    with pytest.raises(UserError, match="train/n02091831: no images of 'Saluki': ImageNet-10 needs this folder"):
        load_data("imagenet-10", DataOptions(data_dir=tmp_path))
    flat = make_tree({f"train/{wnid}": 1 for wnid in IMAGENET10}, root="flat")
    (flat / "val").mkdir()
    picture(0).save(flat / "val" / "x.png")
    with pytest.raises(UserError, match="val: no class folders: sort the validation images"):
        load_data("imagenet-10", DataOptions(data_dir=flat))


def test_the_ten_classes() -> None:
    assert next(iter(IMAGENET10)) == "n02869837" and len(IMAGENET10) == len(set(IMAGENET10.values())) == 10
