"""The recipes that buy the most accuracy a minute on a CPU of those that were tried; docs/log.md has the trials.

Trajectories of narrow networks, matched step by step, into few images of many frequencies that start as real ones.
Where a mirror image is of the same class, each is also shown mirrored: twice the images for the same floats.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

from hmn.recipes.parts import Fitted, evaluated, untrained
from hmn.recipes.protocols import NO_FLIP
from hmn.recipes.settings import CondenseConfig, Recipe, SizesConfig, StartConfig, TrajectoryConfig

WIDTH = 32
"""Channels of students and experts."""
IMAGES = 16
"""Images a class for each image in budget: 192 frequencies of each at 32x32 pixels in colour, as FreD's code has them
(TM/scripts/run_TM_FreD.sh)."""
MIN_FREQUENCIES = 64
"""Of an image, where images are small: those of 8x8 pixels are kept whole, having nothing to spare."""


class _Students(NamedTuple):
    """How far students and their experts go."""

    iterations: int
    steps: int
    differentiate_every: int
    first_rate: float
    experts: int
    pieces_ahead: int
    max_start: int
    strayed: int = 0
    averaged: int = 1


_LONG = _Students(900, 100, 5, 0.15, experts=6, pieces_ahead=20, max_start=44, strayed=6, averaged=8)


def fast(fitted: Fitted) -> Recipe:
    """TESLA's derivative of MTT's loss, into FreD's kind of container at FreD's size."""
    students = _Students(400, 40, 2, 0.1, experts=8, pieces_ahead=8, max_start=26)
    return _recipe("fast", fitted, students, "a quarter of an hour of one thread")


def fast_1h(fitted: Fitted) -> Recipe:
    """The same with longer students from later starts, half of them from where training on what is condensed leads.

    They go on gaining where short ones level off.
    """
    return _recipe("fast-1h", fitted, _LONG, "70 minutes of one thread")


def fast_3h(fitted: Fitted) -> Recipe:
    """The same for longer."""
    longer = _LONG._replace(iterations=1600, experts=8, strayed=8)
    return _recipe("fast-3h", fitted, longer, "two hours and a quarter of one thread")


def _recipe(name: str, fitted: Fitted, students: _Students, time: str) -> Recipe:
    condense = CondenseConfig(
        objective="trajectory", epochs=students.iterations, inner_steps=1, lr=0.05, schedule="cosine",
        start=StartConfig(kind="real"), network=replace(untrained(fitted), width=WIDTH),
    )  # fmt: skip
    trajectory = TrajectoryConfig(
        derivative="direct", differentiate_every=students.differentiate_every, student_steps=students.steps,
        student_batch=64, student_lr=students.first_rate, student_lr_rule="nearest", student_lr_lr=0.05,
        experts=students.experts, expert_steps=25, expert_epochs=students.pieces_ahead,
        max_start_epoch=students.max_start, expert_lr=0.2, expert_batch=128, strayed=students.strayed,
        averaged=students.averaged,
    )  # fmt: skip
    values = math.prod(fitted.image_shape)
    return Recipe(
        name=name, ipc=fitted.ipc, container="frequency", condense=condense, trajectory=trajectory,
        sizes=SizesConfig(
            coefficients=min(max(values // IMAGES, MIN_FREQUENCIES), values),
            views=1 if fitted.dataset in NO_FLIP else 2,
        ),
        evaluate=evaluated(fitted, "short"),
        cost=f"{time} for CIFAR-10 at 1 IPC; more with classes and pixels",
    )  # fmt: skip
