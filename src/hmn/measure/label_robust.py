"""DD-Ranking's label-robust score: what a small set keeps of the whole data's accuracy, and how far it leads chance.

Source: https://github.com/NUS-HPC-AI-Lab/DD-Ranking (README.md; ddranking/metrics/hard_label.py), arXiv:2505.13300.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from hmn.train.results import spread

WEIGHT = 0.5
"""Weight of the improvement over random against hard label recovery: DD-Ranking's default."""


def label_robust_score(small: float, *, whole: float, random: float) -> float:
    """LRS = (e^a - e^-1) / (e - e^-1) with a = w IOR - (1 - w) HLR; from 0 to 1, higher is better.

    HLR, hard label recovery, is accuracy(whole) - accuracy(small); IOR, improvement over random, is accuracy(small) -
    accuracy(random). Labels here are hard everywhere, so one accuracy of the small set serves for both.

    Args:
        small: accuracy in [0, 1] of networks trained on the small set.
        whole: on all training images.
        random: on random real images of the same budget.
    """
    recovery, improvement = whole - small, small - random
    alpha = WEIGHT * improvement - (1 - WEIGHT) * recovery
    return (math.exp(alpha) - math.exp(-1)) / (math.e - math.exp(-1))


def score_rounds(small: Sequence[float], *, whole: Sequence[float], random: Sequence[float]) -> dict[str, Any]:
    """Mean and sample standard deviation over rounds, a seed each, as DD-Ranking's evaluations are.

    Args:
        small: accuracies in per cent, one a seed.
        whole: of the same seeds.
        random: of the same seeds.
    """
    triples = zip(small, whole, random, strict=True)
    return spread([label_robust_score(a / 100, whole=b / 100, random=c / 100) for a, b, c in triples])
