from __future__ import annotations

import numpy as np
import pytest

from hmn.data.formats import Decoded, Labelled
from hmn.data.load import assemble, training_set
from hmn.data.options import DataOptions
from hmn.data.real import Splits
from hmn.errors import UserError


def part(labels: list[int], *, side: int = 4, channels: int = 1) -> Labelled:
    pixels = np.arange(len(labels), dtype=np.uint8)[:, None, None, None]
    return Labelled(np.broadcast_to(pixels, (len(labels), channels, side, side)).copy(), np.array(labels))


def build(decoded: Decoded, *, skip_bad: bool = False, seed: int = 0, share: float = 0.5) -> Splits:
    options = DataOptions(split_seed=seed, test_share=share, skip_bad=skip_bad)
    return assemble(decoded, options, name="n", where="w", known=None)


def test_both_splits_share_the_training_normalisation() -> None:
    splits = build(Decoded(part([0, 1]), part([0, 1, 1, 1]), ("a", "b"), 3))
    assert splits.train.normalisation == splits.test.normalisation
    assert splits.train.normalisation.mean == pytest.approx((0.5 / 255,))
    assert splits.skipped == 3 and splits.name == "n"


def test_a_class_without_training_images() -> None:
    decoded = Decoded(part([0, 2, 2]), part([0, 1, 2]), ("a", "b", "c"), 0)
    with pytest.raises(UserError, match=r"w: class 'b' \(label 1\) has no training images"):
        build(decoded)
    splits = build(decoded, skip_bad=True)
    assert splits.train.class_names == ("a", "c") and splits.skipped == 1
    assert splits.train.labels.tolist() == [0, 1, 1] and splits.test.labels.tolist() == [0, 1]
    assert splits.test.pixels[:, 0, 0, 0].tolist() == [0, 2]


def test_a_one_image_class_trains_but_cannot_be_split() -> None:
    assert len(build(Decoded(part([0, 1]), part([0]), ("a", "b"), 0)).train) == 2
    with pytest.raises(UserError, match=r"class 'b' \(label 1\) has 1 image: splitting off a test set needs 2"):
        build(Decoded(part([0, 0, 1, 2, 2]), None, ("a", "b", "c"), 0))
    splits = build(Decoded(part([0, 0, 1, 2, 2]), None, ("a", "b", "c"), 0), skip_bad=True)
    assert splits.train.class_names == ("a", "c") and splits.skipped == 1


def test_a_gap_in_the_labels() -> None:
    decoded = Decoded(part([0, 0, 1, 1, 5, 5]), None, tuple("abcdef"), 0)
    with pytest.raises(UserError, match=r"w: class 'c' \(label 2\) has no training images"):
        build(decoded)
    splits = build(decoded, skip_bad=True)
    assert splits.train.class_names == ("a", "b", "f") and splits.train.labels.tolist() == [0, 1, 2]


def test_one_class_is_no_data_set() -> None:
    with pytest.raises(UserError, match=r"w: found 1 class \(a\) with images: expected at least 2"):
        build(Decoded(part([0, 0]), None, ("a",), 0))


def test_an_empty_test_split_and_unequal_shapes() -> None:
    with pytest.raises(UserError, match="w: the test split has no images"):
        build(Decoded(part([0, 1]), part([]), ("a", "b"), 0))
    with pytest.raises(UserError, match="training images are 1 x 4 x 4, test images 1 x 5 x 5: pass --size"):
        build(Decoded(part([0, 1]), part([0], side=5), ("a", "b"), 0))


def test_training_set_takes_over_classes_by_name_or_number() -> None:
    like = build(Decoded(part([0, 1]), part([0]), ("cat", "dog"), 0)).train
    by_name = training_set(Decoded(part([0]), None, ("dog",), 0), like=like, where="x")
    assert by_name.labels.tolist() == [1] and by_name.class_names == ("cat", "dog")
    assert by_name.normalisation == like.normalisation
    by_number = training_set(Decoded(part([0, 1, 1]), None, ("0", "1"), 0), like=like, where="x")
    assert by_number.labels.tolist() == [0, 1, 1]
    with pytest.raises(UserError, match="x: class 'cow' is not one of n's 2: cat, dog"):
        training_set(Decoded(part([0]), None, ("cow",), 0), like=like, where="x")
    with pytest.raises(UserError, match="x: images are 3 x 4 x 4: expected 1 x 4 x 4 as in n"):
        training_set(Decoded(part([0], channels=3), None, ("cat",), 0), like=like, where="x")
