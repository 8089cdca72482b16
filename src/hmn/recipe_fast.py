"""The recipe that buys the most accuracy a minute on a CPU of those that were tried; docs/log.md has the trials.

Trajectories of narrow networks, matched step by step, into few images of many frequencies that start as real ones.
Where a mirror image is of the same class, each is also shown mirrored: twice the images for the same floats.
"""

from __future__ import annotations

import math
from dataclasses import replace

from hmn.protocols import NO_FLIP
from hmn.recipe_parts import Fitted, evaluated, untrained
from hmn.settings import CondenseConfig, Recipe, SizesConfig, StartConfig, TrajectoryConfig

WIDTH = 32
"""Channels of students and experts."""
IMAGES = 16
"""Images a class for each image in budget: 192 frequencies of each at 32x32 pixels in colour, as FreD's code has them
(TM/scripts/run_TM_FreD.sh)."""
MIN_FREQUENCIES = 12
"""Of an image, where images are small."""


def fast(fitted: Fitted) -> Recipe:
    """TESLA's derivative of MTT's loss, into FreD's kind of container at FreD's size."""
    condense = CondenseConfig(
        objective="trajectory", epochs=400, inner_steps=1, lr=0.05, schedule="cosine",
        start=StartConfig(kind="real"), network=replace(untrained(fitted), width=WIDTH),
    )  # fmt: skip
    trajectory = TrajectoryConfig(
        derivative="direct", differentiate_every=2, student_steps=40, student_batch=64, student_lr=0.1,
        student_lr_rule="nearest", student_lr_lr=0.05, experts=8, expert_steps=25, expert_epochs=8, max_start_epoch=26,
        expert_lr=0.2, expert_batch=128,
    )  # fmt: skip
    values = math.prod(fitted.image_shape)
    return Recipe(
        name="fast", ipc=fitted.ipc, container="frequency", condense=condense, trajectory=trajectory,
        sizes=SizesConfig(
            coefficients=min(max(values // IMAGES, MIN_FREQUENCIES), values),
            views=1 if fitted.dataset in NO_FLIP else 2,
        ),
        evaluate=evaluated(fitted, "short"),
        cost="a quarter of an hour of one thread for CIFAR-10 at 1 IPC; more with classes and pixels",
    )  # fmt: skip
