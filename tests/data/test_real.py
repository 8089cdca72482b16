from __future__ import annotations

import pytest
import torch

from hmn.data.real import RealData, balanced_indices, split_validation, stratified_indices
from hmn.data.source import Normalisation, Source
from hmn.errors import UserError


def real_data(counts: list[int]) -> RealData:
    labels = torch.cat([torch.full((n,), k) for k, n in enumerate(counts)])
    pixels = torch.arange(len(labels)).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).contiguous()
    names = tuple(f"c{k}" for k in range(len(counts)))
    return RealData(pixels, labels, names, Normalisation((0.5,), (0.25,)), "made up")


def test_real_data_is_a_source_with_pixels_in_zero_to_one() -> None:
    data = real_data([3, 2])
    assert isinstance(data, Source)
    assert data.image_shape == (1, 2, 2) and len(data) == 5 and data.num_classes == 2
    images = data.images(torch.tensor([4, 0]))
    assert images.dtype == torch.float32 and images.shape == (2, 1, 2, 2)
    assert images[:, 0, 0, 0].tolist() == pytest.approx([4 / 255, 0])
    assert data.subset(torch.tensor([4, 1])).labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": torch.tensor([0, 2])}, "labels span 0..2: expected 0..1"),
        ({"labels": torch.tensor([-1, 1])}, "labels span -1..1: expected 0..1"),
        ({"labels": torch.tensor([0])}, r"labels are torch.int64 \[1\]: expected int64 \[2\]"),
        ({"pixels": torch.zeros(2, 1, 2, 2)}, "pixels are torch.float32"),
        ({"pixels": torch.zeros(2, 4, 2, 2, dtype=torch.uint8)}, "1 or 3 channels"),
    ],
)
def test_real_data_refuses_wrong_tensors(change: dict[str, torch.Tensor], message: str) -> None:
    good = {"pixels": torch.zeros(2, 1, 2, 2, dtype=torch.uint8), "labels": torch.tensor([0, 1])}
    with pytest.raises(UserError, match=message):
        RealData(**(good | change), class_names=("a", "b"), normalisation=Normalisation((0,), (1,)), name="x")


def test_split_is_stratified_disjoint_complete_and_by_seed() -> None:
    data = real_data([10, 20, 2])
    rest, validation = split_validation(data, share=0.2, seed=1)
    assert torch.bincount(validation.labels).tolist() == [2, 4, 1]
    assert torch.bincount(rest.labels).tolist() == [8, 16, 1]
    ids = [part.pixels[:, 0, 0, 0].tolist() for part in (rest, validation)]
    assert sorted(ids[0] + ids[1]) == list(range(32))
    again = split_validation(data, share=0.2, seed=1)[1]
    assert torch.equal(validation.pixels, again.pixels)
    others = [split_validation(data, share=0.2, seed=seed)[1].pixels for seed in (2, 3, 4)]
    assert any(not torch.equal(validation.pixels, other) for other in others)


def test_split_never_empties_a_side() -> None:
    rest, taken = stratified_indices(torch.tensor([0, 0, 1, 1, 1]), share=0.99, seed=0)
    assert torch.tensor([0, 0, 1, 1, 1])[rest].unique().tolist() == [0, 1]
    rest, taken = stratified_indices(torch.tensor([0, 0, 1, 1, 1]), share=0.01, seed=0)
    assert torch.tensor([0, 0, 1, 1, 1])[taken].unique().tolist() == [0, 1]


def test_split_refuses_a_lone_image_and_a_bad_share() -> None:
    with pytest.raises(UserError, match="made up: cannot carve a validation split: class 1 has 1 image"):
        split_validation(real_data([3, 1]), share=0.5, seed=0)
    with pytest.raises(UserError, match=r"share 1.5: expected a fraction"):
        split_validation(real_data([3, 3]), share=1.5, seed=0)


def test_balanced_indices_take_as_many_of_each_class_without_repeats() -> None:
    labels = torch.tensor([4, 1, 1, 4, 4, 1, 1])
    index = balanced_indices(labels, 3, torch.Generator().manual_seed(0))
    assert labels[index].tolist() == [1, 1, 1, 4, 4, 4]
    assert len(set(index.tolist())) == 6
    assert torch.equal(index, balanced_indices(labels, 3, torch.Generator().manual_seed(0)))
    draws = {tuple(balanced_indices(labels, 3, torch.Generator().manual_seed(s)).tolist()) for s in range(8)}
    assert len(draws) > 1
    with pytest.raises(UserError, match="4 images per class asked for, but class 4 has 3"):
        balanced_indices(labels, 4, torch.Generator())
    with pytest.raises(UserError, match="per_class=0"):
        balanced_indices(labels, 0, torch.Generator())
