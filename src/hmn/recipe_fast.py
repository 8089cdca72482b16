"""Recipes that buy the most accuracy a minute on a CPU: fast, fast-1h and fast-3h; docs/fast.md tells what chose them.

Trajectories of narrow networks, matched step by step, into few images of many frequencies that start as real ones.
"""

from __future__ import annotations

import math

from hmn.recipe_parts import Fitted, evaluated, network_name
from hmn.settings import CondenseConfig, NetworkConfig, Recipe, SizesConfig, StartConfig, TrajectoryConfig

WIDTH = 32
"""Channels of students and experts."""
IMAGES = 16
"""Images a class for each image in budget: 192 frequencies of each at 32x32 pixels in colour, as FreD's code has them
(TM/scripts/run_TM_FreD.sh)."""
MIN_FREQUENCIES = 12
"""Of an image, where images are small."""


def fast(fitted: Fitted) -> Recipe:
    """A quarter of an hour on two cores for CIFAR-10 at 1 IPC."""
    return _made(fitted, "fast", iterations=1400, experts=6, cost="a quarter of an hour on two cores")


def fast_1h(fitted: Fitted) -> Recipe:
    """An hour on two cores for CIFAR-10 at 1 IPC."""
    return _made(fitted, "fast-1h", iterations=5600, experts=12, cost="less than an hour on two cores")


def fast_3h(fitted: Fitted) -> Recipe:
    """Three hours on two cores for CIFAR-10 at 1 IPC."""
    return _made(fitted, "fast-3h", iterations=17_000, experts=24, cost="less than three hours on two cores")


def _made(fitted: Fitted, name: str, *, iterations: int, experts: int, cost: str) -> Recipe:
    condense = CondenseConfig(
        objective="trajectory", epochs=iterations, inner_steps=1, lr=0.03, schedule="cosine",
        start=StartConfig(kind="real"), network=NetworkConfig(name=network_name(fitted.image_shape), width=WIDTH),
    )  # fmt: skip
    trajectory = TrajectoryConfig(
        derivative="direct", student_steps=20, student_batch=64, student_lr=0.1, student_lr_rule="nearest",
        student_lr_lr=0.05, experts=experts, expert_steps=25, expert_epochs=4, max_start_epoch=20, expert_lr=0.2,
        expert_batch=128,
    )  # fmt: skip
    values = math.prod(fitted.image_shape)
    return Recipe(
        name=name, ipc=fitted.ipc, container="frequency", condense=condense, trajectory=trajectory,
        sizes=SizesConfig(coefficients=min(max(values // IMAGES, MIN_FREQUENCIES), values)),
        evaluate=evaluated(fitted, "short"), cost=f"{cost} for CIFAR-10 at 1 IPC; the same steps on other data",
    )  # fmt: skip
