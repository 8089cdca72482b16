"""Flipped labels of digits have the lowest AUM."""

from __future__ import annotations

import torch
from benchmarks.label_noise import flip_labels, measure, parsed, training_images


def test_flips_are_as_many_as_asked_and_all_wrong() -> None:
    labels = torch.arange(1000) % 7
    wrong, flipped = flip_labels(labels, 7, 0.05, seed=1)
    assert int(flipped.sum()) == 50
    assert torch.equal(wrong != labels, flipped)
    assert 0 <= int(wrong.min()) <= int(wrong.max()) < 7
    assert torch.equal(flip_labels(labels, 7, 0.05, seed=1)[0], wrong)
    assert not torch.equal(flip_labels(labels, 7, 0.05, seed=2)[0], wrong)


def test_a_profile_finds_eight_of_ten_flipped_digits() -> None:
    given = parsed(["--data", "digits", "--epochs", "16", "--width", "16", "--flips", "1"])
    found = measure(training_images(given), given)
    assert (found["flipped"], found["flagged_share"]) == (72, 0.05)
    assert found["precision"]["mean"] >= 0.8
