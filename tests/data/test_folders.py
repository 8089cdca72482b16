from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hmn.data.load import load_data, load_images
from hmn.data.options import DataOptions
from hmn.errors import UserError
from tests.data.pictures import picture

Tree = Callable[..., Path]


@pytest.mark.parametrize("test", ["test", "val", "validation", "valid"])
def test_explicit_splits_are_taken_as_they_are(make_tree: Tree, test: str) -> None:
    root = make_tree({"train/b": 2, "train/a": 1, f"{test}/a": 1, f"{test}/b": 3})
    splits = load_data(str(root))
    assert splits.train.class_names == ("a", "b") and splits.name == "tree"
    assert splits.train.labels.tolist() == [0, 1, 1] and splits.test.labels.tolist() == [0, 1, 1, 1]
    # make_tree numbers its pictures in the order of the folders given: b came first.
    assert np.array_equal(splits.train.pixels[1].numpy(), np.asarray(picture(0)).transpose(2, 0, 1))


def test_test_is_preferred_to_val_unless_it_has_no_classes(make_tree: Tree) -> None:
    both = make_tree({"train/a": 1, "train/b": 1, "val/a": 1, "val/b": 1, "test/a": 2, "test/b": 2}, root="both")
    assert len(load_data(str(both)).test) == 4
    flat = make_tree({"train/a": 1, "train/b": 1, "val/a": 1, "val/b": 1, "test": 3}, root="flat")
    assert len(load_data(str(flat)).test) == 2


def test_one_tree_is_split_by_seed(make_tree: Tree) -> None:
    root = make_tree({"a": 10, "b": 5})
    splits = load_data(str(root), DataOptions(split_seed=0, test_share=0.2))
    assert splits.test.labels.tolist() == [0, 0, 1] and len(splits.train) == 12
    assert load_data(str(root), DataOptions(split_seed=0)).test.pixels.equal(splits.test.pixels)
    others = [load_data(str(root), DataOptions(split_seed=seed)).test.pixels for seed in (1, 2, 3)]
    assert any(not splits.test.pixels.equal(other) for other in others)
    only_train = make_tree({"train/a": 10, "train/b": 5}, root="only")
    assert len(load_data(str(only_train)).test) == 3


def test_deeper_images_count_and_hidden_or_other_files_do_not(make_tree: Tree) -> None:
    root = make_tree({"a/deep/er": 2, "a": 1, "b": 2, ".hidden": 1})
    (root / "a" / "notes.txt").write_text("no image")
    (root / "b" / ".000.png").write_text("no image")
    (root / "b" / "000.png").rename(root / "b" / "X.PNG")
    splits = load_data(str(root), DataOptions(test_share=0.4))
    assert splits.train.class_names == ("a", "b") and len(splits.train) + len(splits.test) == 5


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"a": 2, "b": 0}, "tree/b: the class folder has no images"),
        ({"train/a": 2, "train/b": 0, "val/a": 1}, "tree/train/b: the class folder has no images"),
        ({"a": 3, "b": 1}, r"tree: class 'b' \(label 1\) has 1 image: splitting off a test set needs 2"),
        ({"": 3}, "tree: images, but no class folders: expected one folder of images per class"),
        ({"": 0}, "tree: neither class folders nor images"),
        ({"a": 0, "b": 0}, "tree: no images in its 2 folders"),
        ({"a": 3}, r"tree: found 1 class \(a\)"),
        (
            {"train/a": 1, "train/b": 1, "val/c": 1},
            "tree/val/c: class 'c' is not among the 2 training classes",
        ),
        ({"train/a": 1, "train/b": 1, "val/a": 0}, "tree/val: no images in its class folders"),
    ],
)
def test_bad_trees_are_one_line(make_tree: Tree, counts: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_data(str(make_tree(counts)))
    assert "\n" not in str(caught.value)


def test_a_broken_file_is_named_or_skipped_and_counted(make_tree: Tree) -> None:
    root = make_tree({"train/a": 3, "train/b": 3, "val/a": 2, "val/b": 2})
    whole = (root / "train" / "b" / "001.png").read_bytes()
    (root / "train" / "b" / "001.png").write_bytes(whole[: len(whole) // 2])
    (root / "val" / "a" / "000.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"tree/train/b/001.png: cannot decode the image"):
        load_data(str(root))
    splits = load_data(str(root), DataOptions(skip_bad=True))
    assert splits.skipped == 2
    assert splits.train.labels.tolist() == [0, 0, 0, 1, 1] and splits.test.labels.tolist() == [0, 1, 1]
    assert load_data(str(root), DataOptions(skip_bad=True)).skipped == 2, "the count is cached too"


def test_skip_bad_drops_empty_and_unknown_classes(make_tree: Tree) -> None:
    root = make_tree({"train/a": 2, "train/b": 0, "train/c": 1, "val/a": 1, "val/b": 1, "val/c": 1, "val/z": 4})
    splits = load_data(str(root), DataOptions(skip_bad=True))
    assert splits.train.class_names == ("a", "c") and splits.skipped == 5
    assert splits.test.labels.tolist() == [0, 1]


def test_mixed_sizes_name_the_file_and_size_mends_it(make_tree: Tree) -> None:
    root = make_tree({"a": 3, "b": 3})
    picture(0, side=10).save(root / "b" / "002.png")
    with pytest.raises(UserError, match=r"tree/b/002.png is 10 x 10, not 8 x 8 like .*a/000.png: pass --size"):
        load_data(str(root))
    assert load_data(str(root), DataOptions(size=6)).train.image_shape == (3, 6, 6)


def test_load_images_takes_a_training_folder_of_one_image_a_class(make_tree: Tree) -> None:
    real = load_data(str(make_tree({"a": 4, "b": 4, "c": 4}))).train
    small = make_tree({"c": 1, "a": 1}, root="small")
    chosen = load_images(str(small), like=real)
    assert chosen.labels.tolist() == [0, 2] and chosen.class_names == real.class_names
    assert chosen.normalisation == real.normalisation
    with pytest.raises(UserError, match="big: images are 3 x 9 x 9: expected 3 x 8 x 8"):
        load_images(str(make_tree({"a": 1}, side=9, root="big")), like=real)


def test_imagenette_sample_loads_at_224(shared_data: Path) -> None:
    splits = load_data(str(shared_data / "samples" / "imagenette"), DataOptions(size=64))
    assert splits.train.image_shape == (3, 64, 64)
    assert splits.train.labels.bincount().tolist() == [40] * 10
    assert splits.test.labels.bincount().tolist() == [10] * 10
    assert all(0.3 < mean < 0.6 for mean in splits.train.normalisation.mean)
