"""The recipe that buys the most accuracy a minute on a CPU of those that were tried; docs/log.md has the trials.

Trajectories of narrow networks, matched step by step, into few images of many frequencies that start as real ones.
Where a mirror image is of the same class, each is also shown mirrored: twice the images for the same floats.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from hmn.recipes.parts import Fitted, evaluated, untrained
from hmn.recipes.protocols import NO_FLIP
from hmn.recipes.settings import CondenseConfig, Recipe, StartConfig

FAST_WIDTH = 32
"""Channels of students and experts."""
IMAGES = 16
"""Images a class for each image in budget: 192 frequencies of each at 32x32 pixels in colour, as FreD's code has them
(TM/scripts/run_TM_FreD.sh)."""
MIN_FREQUENCIES = 64
"""Frequencies of an image at least: images of 8x8 pixels are kept whole, having nothing to spare."""
MINUTES = 15
"""Where the dial stands by itself."""
LONG_FROM = 30
"""Minutes from which on long students gain more than short ones, which level off."""


def fast(fitted: Fitted, minutes: float | None = None) -> Recipe:
    """TESLA's derivative of MTT's loss, into FreD's kind of container at FreD's size, for as long as there is.

    Below 30 minutes students take 40 steps, one of two differentiated, towards where one of 8 experts was 200 steps
    later. From 30 minutes on they take 100 steps, one of five differentiated, towards the mean of where an expert was
    325 to 500 steps later, and half of them start where training on the condensed images led (`strayed`). There are
    then minutes / 30 + 3.5 experts, rounded down, and as many networks that strayed. By this rule a number of minutes
    makes the same recipe everywhere; only the iterations depend on the machine, and where none are timed
    (`hmn.condensation.dial` does) they are those of the one that docs/fast.md was measured on.
    """
    time = MINUTES if minutes is None else minutes
    is_long = time >= LONG_FROM
    kept = int(time / 30 + 3.5)
    settings = {"derivative": "direct", **_STUDENT, **_EXPERT, **(_long(kept) if is_long else _SHORT)}
    epochs = max(1, round(time * (12 if is_long else 400 / MINUTES)))
    network = replace(untrained(fitted), width=FAST_WIDTH)
    how: dict[str, Any] = {"objective": "trajectory", "inner_steps": 1, "lr": 0.05, "schedule": "cosine"}
    condense = CondenseConfig(**how, epochs=epochs, start=StartConfig(kind="real"), network=network)
    # The container's sizes, then what is said of it.
    values = math.prod(fitted.image_shape)
    coefficients = min(max(values // IMAGES, MIN_FREQUENCIES), values)
    about = "a quarter of an hour of one thread for CIFAR-10 at 1 IPC; more with classes and pixels"
    cost = about if minutes is None else f"{minutes:g} minutes of the machine that it was timed on, experts included"
    sizes = {"coefficients": coefficients, "views": 1 if fitted.dataset in NO_FLIP else 2}
    made: dict[str, Any] = {"container": "frequency", "sizes": sizes, "condense": condense, "settings": settings}
    return Recipe(name="fast", ipc=fitted.ipc, minutes=minutes, **made, evaluate=evaluated(fitted, "short"), cost=cost)


_STUDENT: dict[str, Any] = {"student_batch": 64, "student_lr_rule": "nearest", "student_lr_lr": 0.05}
_EXPERT: dict[str, Any] = {"expert_steps": 25, "expert_lr": 0.2, "expert_batch": 128}
_SHORT_STUDENT: dict[str, Any] = {"student_steps": 40, "differentiate_every": 2, "student_lr": 0.1}
_SHORT: dict[str, Any] = {**_SHORT_STUDENT, "experts": 8, "expert_epochs": 8, "max_start_epoch": 26}


def _long(kept: int) -> dict[str, Any]:
    student = {"student_steps": 100, "differentiate_every": 5, "student_lr": 0.15}
    experts = {"experts": kept, "expert_epochs": 20, "max_start_epoch": 44}
    return {**student, **experts, "strayed": kept, "averaged": 8}
