"""The choice of beta and what its noise allows to say, by hand."""

from __future__ import annotations

import math

import pytest

from hmn.studies.pruning.beta import choose_beta, pooled_std, repeats_of, standard_error


def test_a_clear_best_is_told_from_all() -> None:
    found = choose_beta({0.0: [40.0, 41.0, 42.0], 0.1: [50.0, 51.0, 52.0], 0.2: [43.0, 44.0, 45.0]})
    assert (found.best, found.distinguishable, found.indistinguishable_from) == (0.1, True, ())
    assert found.pooled_std == pytest.approx(1.0)
    assert found.sentence.startswith("best beta 0.1: 51.00 % (n 3;")
    assert "leads every other beta" in found.sentence


def test_two_standard_errors_are_the_border() -> None:
    # Within each beta the deviation is 1, so the error of a difference of two means of 3 is sqrt(2 / 3) = 0.8165.
    for lead, told in ((1.62, False), (1.64, True)):
        found = choose_beta({0.0: [1.0, 2.0, 3.0], 0.1: [1.0 + lead, 2.0 + lead, 3.0 + lead]})
        assert found.distinguishable is told
        assert found.indistinguishable_from == (() if told else (0.0,))


def test_a_distant_equal_is_named_though_the_neighbours_are_left_behind() -> None:
    low, high = [1.0, 2.0, 3.0], [51.0, 52.0, 53.0]
    found = choose_beta({0.0: high, 0.1: low, 0.2: low, 0.3: [50.9, 51.9, 52.9]})
    assert (found.best, found.distinguishable, found.indistinguishable_from) == (0.0, True, (0.3,))
    assert "leads its neighbours by more than 2 standard errors, but not 0.3" in found.sentence
    found = choose_beta({0.0: low, 0.1: high, 0.2: [50.5, 51.5, 52.5]})
    assert (found.best, found.distinguishable) == (0.1, False)
    assert "not distinguishable from 0.2" in found.sentence


def test_repeats_that_agree_by_luck_claim_nothing() -> None:
    # 0.1 has no spread of its own; the grid's says what a training is worth.
    found = choose_beta({0.0: [40.0, 44.0, 42.0], 0.1: [43.0, 43.0, 43.0], 0.2: [39.0, 43.0, 44.0]})
    assert found.best == 0.1 and not found.distinguishable
    assert found.indistinguishable_from == (0.0, 0.2)


def test_one_training_each_says_so() -> None:
    found = choose_beta({0.0: [40.0], 0.1: [60.0]})
    assert (found.best, found.distinguishable, found.pooled_std) == (0.1, False, None)
    assert "tells nothing about noise" in found.sentence


def test_of_equals_the_smaller_beta_is_taken() -> None:
    assert choose_beta({0.2: [1.0, 2.0], 0.1: [2.0, 1.0], 0.3: [0.0, 1.0]}).best == 0.1


def test_statistics_by_hand() -> None:
    assert repeats_of([1.0, 2.0, 4.0]) == {"values": [1.0, 2.0, 4.0], "mean": 2.3333, "std": 1.5275, "n": 3}
    assert repeats_of([5.0]) == {"values": [5.0], "mean": 5.0, "std": 0.0, "n": 1}
    assert standard_error([1.0, 3.0], [1.0, 2.0, 3.0]) == pytest.approx(math.sqrt(2 / 2 + 1 / 3))
    assert standard_error([1.0], [1.0, 2.0]) is None
    assert pooled_std([[1.0, 3.0], [1.0, 2.0, 3.0], [9.0]]) == pytest.approx(math.sqrt((2 + 2) / 3))
