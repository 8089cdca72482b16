"""Which images survive: exact cases by hand, ties, uneven classes; the survivors' pixels stay as they are."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, strategies as st

from hmn.containers.hmn import Hmn
from hmn.containers.hmn_sizes import HmnShape, preset
from hmn.data.source import Normalisation
from hmn.errors import UserError
from hmn.pruning.survivors import (
    BETAS,
    check_prunable,
    counts_at_rate,
    counts_in_budget,
    counts_to,
    double_end_keep,
    keep_indices,
)

AUM = torch.tensor([5.0, -3.0, 9.0, 0.0, 7.0, 2.0, -8.0, 4.0, 1.0, 6.0])
"""Ascending: 6, 1, 3, 8, 5, 7, 0, 9, 4, 2."""


@pytest.mark.parametrize(
    ("keep", "beta", "survivors"),
    [
        (10, 0.3, list(range(10))),  # k = 0
        (9, 0.0, [0, 1, 3, 4, 5, 6, 7, 8, 9]),  # k = 1: the easiest goes
        (9, 0.3, [0, 1, 3, 4, 5, 6, 7, 8, 9]),  # floor(0.3) = 0
        (9, 1.0, [0, 1, 2, 3, 4, 5, 7, 8, 9]),  # the hardest goes
        (6, 0.0, [1, 3, 5, 6, 7, 8]),  # 0, 9, 4, 2 go
        (6, 1.0, [0, 2, 4, 5, 7, 9]),  # 6, 1, 3, 8 go
        (6, 0.3, [0, 1, 3, 5, 7, 8]),  # floor(1.2) = 1: 6 goes, and 2, 4, 9
        (6, 0.5, [0, 3, 5, 7, 8, 9]),  # 6, 1 and 2, 4
        (1, 0.0, [6]),
        (1, 1.0, [2]),
        (1, 0.3, [3]),  # floor(2.7) = 2: 6 and 1 go
    ],
)
def test_double_end_by_hand(keep: int, beta: float, survivors: list[int]) -> None:
    assert double_end_keep(AUM, keep=keep, hard_share=beta).tolist() == survivors


def test_shares_are_the_decimal_fractions_that_they_read_as() -> None:
    # 0.29 * 100 is 28.999999999999996 in floats, 0.7 * 10 is exact and 0.1 * 3 just above.
    aum = torch.arange(200.0)
    assert int(double_end_keep(aum, keep=100, hard_share=0.29)[0]) == 29
    for beta in BETAS:
        assert int(double_end_keep(aum, keep=190, hard_share=beta)[0]) == round(beta * 10)


def test_of_equal_aums_the_earlier_counts_as_lower() -> None:
    same = torch.zeros(6)
    assert double_end_keep(same, keep=4, hard_share=1.0).tolist() == [2, 3, 4, 5]
    assert double_end_keep(same, keep=4, hard_share=0.0).tolist() == [0, 1, 2, 3]
    assert double_end_keep(same, keep=4, hard_share=0.5).tolist() == [1, 2, 3, 4]
    many = torch.zeros(1000)  # an unstable sort keeps short inputs in order too
    assert double_end_keep(many, keep=500, hard_share=1.0).tolist() == list(range(500, 1000))


@given(
    values=st.lists(st.integers(-5, 5), min_size=1, max_size=30), share=st.sampled_from([*BETAS, 1.0]), data=st.data()
)
def test_double_end_against_sorting_in_python(values: list[int], share: float, data: st.DataObject) -> None:
    keep = data.draw(st.integers(1, len(values)))
    removed = len(values) - keep
    hardest = int(round(share * 10) * removed // 10)
    order = sorted(range(len(values)), key=lambda place: (values[place], place))
    expected = sorted(order[hardest : hardest + keep])
    assert double_end_keep(torch.tensor(values, dtype=torch.float64), keep=keep, hard_share=share).tolist() == expected


@pytest.mark.parametrize(
    ("keep", "share", "words"),
    [(0, 0.5, "keep=0"), (11, 0.5, "keep=11"), (5, -0.1, "hard_share=-0.1"), (5, 1.1, "hard_share=1.1")],
)
def test_what_cannot_be_is_refused(keep: int, share: float, words: str) -> None:
    with pytest.raises(UserError, match=words):
        double_end_keep(AUM, keep=keep, hard_share=share)


def test_an_aum_that_is_no_number_is_refused() -> None:
    with pytest.raises(UserError, match="not a number"):
        double_end_keep(torch.tensor([0.0, torch.nan]), keep=1, hard_share=0)


LABELS = torch.tensor([0, 0, 0, 0, 0, 0, 1, 2, 2, 2])
"""Uneven classes: six, one and three images."""


@pytest.mark.parametrize(
    ("method", "beta", "survivors"),
    [
        ("double-end", 0.5, [0, 3, 5, 6, 7, 8]),  # 1 hard and 2 easy of class 0; 0 and 1 of class 2
        ("hard", 0.5, [0, 2, 4, 6, 7, 9]),
        ("easy", 0.5, [1, 3, 5, 6, 7, 8]),
    ],
)
def test_each_class_is_pruned_by_itself(method: str, beta: float, survivors: list[int]) -> None:
    found = keep_indices(AUM, LABELS, counts=(3, 1, 2), method=method, hard_share=beta)  # type: ignore[arg-type]
    assert found.tolist() == survivors


def test_labels_may_be_in_any_order() -> None:
    shuffled = torch.tensor([2, 0, 1, 0])
    found = keep_indices(torch.tensor([1.0, 5.0, 2.0, 4.0]), shuffled, counts=(1, 1, 1), method="hard")
    assert found.tolist() == [0, 1, 2]


def test_random_draws_by_its_generator() -> None:
    def drawn(seed: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        return keep_indices(None, LABELS, counts=(3, 1, 2), method="random", generator=generator).tolist()

    assert drawn(0) == drawn(0) == sorted(drawn(0))
    assert len({tuple(drawn(seed)) for seed in range(8)}) > 1
    for seed in range(8):
        assert torch.bincount(LABELS[drawn(seed)]).tolist() == [3, 1, 2]
    with pytest.raises(UserError, match="needs a generator"):
        keep_indices(None, LABELS, counts=(3, 1, 2), method="random")
    with pytest.raises(UserError, match="keep=4, but class 2 stores 3"):
        keep_indices(None, LABELS, counts=(3, 1, 4), method="random", generator=torch.Generator())


def test_methods_need_their_aum() -> None:
    with pytest.raises(UserError, match="needs an AUM for each of 10 images, got none"):
        keep_indices(None, LABELS, counts=(3, 1, 2), method="double-end")
    with pytest.raises(UserError, match="got 4"):
        keep_indices(AUM[:4], LABELS, counts=(3, 1, 2), method="hard")
    with pytest.raises(UserError, match="expected one of double-end, random, hard, easy"):
        keep_indices(AUM, LABELS, counts=(3, 1, 2), method="best")  # type: ignore[arg-type]


def test_counts() -> None:
    assert counts_at_rate((6, 1, 3), 0.0) == (6, 1, 3)
    assert counts_at_rate((6, 1, 3), 0.5) == (3, 1, 2)
    assert counts_at_rate((6, 1, 3), 0.99) == (1, 1, 1)
    assert counts_at_rate((93,), 0.1) == (84,)
    assert counts_to((6, 1, 3), 3) == (3, 1, 3)
    for rate in (-0.1, 1.0):
        with pytest.raises(UserError, match="pruning rate"):
            counts_at_rate((6, 1, 3), rate)
    for count in (0, 7):
        with pytest.raises(UserError, match="expected 1..6"):
            counts_to((6, 1, 3), count)


def container(shape: HmnShape) -> Hmn:
    names = tuple(str(number) for number in range(shape.num_classes))
    channels = shape.image_shape[0]
    return Hmn(
        shape,
        class_names=names,
        normalisation=Normalisation((0.5,) * channels, (0.25,) * channels),
        generator=torch.Generator().manual_seed(3),
    )


@pytest.mark.parametrize(("ipc", "over", "fits"), [(1, 93, 85), (10, 306, 278)])
def test_pruning_brings_the_published_containers_within_their_budget(ipc: int, over: int, fits: int) -> None:
    shape = preset("cifar10", ipc)
    assert shape is not None
    assert counts_in_budget(container(shape.with_images(over))) == (fits,) * 10
    assert counts_in_budget(container(shape)) == (fits,) * 10


def test_a_budget_that_holds_no_image_is_refused() -> None:
    shape = preset("cifar10", 1)
    assert shape is not None
    with pytest.raises(UserError, match="one image a class takes"):
        counts_in_budget(container(HmnShape(**{**vars(shape.with_images(3)), "budget": 100})))


def test_survivors_keep_their_pixels_to_the_bit() -> None:
    shape = preset("cifar10", 1)
    assert shape is not None
    final = container(shape.with_images(9)).finalised()
    whole = final.render_all()
    aum = torch.randn(90, generator=torch.Generator().manual_seed(0)).double()
    for counts in ((8,) * 10, (3, 1, 9, 2, 5, 5, 5, 5, 5, 5), (1,) * 10):
        index = keep_indices(aum, final.labels, counts=counts, method="double-end", hard_share=0.3)
        pruned = final.keep(index)
        assert torch.equal(pruned.render_all(), whole[index])
        assert torch.equal(pruned.labels, final.labels[index])


def test_a_container_of_images_that_hang_together_says_why() -> None:
    class Entangled(HmnShape):  # type: ignore[misc]
        not_prunable = "Its images share their memories."

    shape = preset("cifar10", 1)
    assert shape is not None
    norm = Normalisation((0.5,) * 3, (0.25,) * 3)
    tangled = Hmn(Entangled(**vars(shape.with_images(2))), class_names=tuple("abcdefghij"), normalisation=norm)
    for refused in (check_prunable, counts_in_budget):
        with pytest.raises(UserError, match="cannot be pruned image by image: Its images share their memories."):
            refused(tangled)
