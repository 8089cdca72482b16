"""Objectives with loops of their own, as a run takes them: the state that is saved, and the records that come of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from hmn.condense.objectives.base import CondenseRecord
from hmn.condense.objectives.experts import EXPERTS, ExpertFiles
from hmn.condense.objectives.trajectory import TrajectoryState, condense_trajectory, train_experts
from hmn.condense.objectives.unrolled import condense_unrolled
from hmn.condense.state import CondenseState
from hmn.data.real import RealData
from hmn.recipes.settings import OWN_LOOPS, Recipe


def follow(state: CondenseState, recipe: Recipe) -> CondenseState | TrajectoryState:
    """What the recipe's loop goes on from: `state`, with more around it where the loop learns more."""
    return TrajectoryState(state, recipe.trajectory) if recipe.condense.objective == "trajectory" else state


def own_records(
    state: CondenseState | TrajectoryState, real: RealData, recipe: Recipe, out: Path
) -> Iterator[CondenseRecord]:
    """Records of the loop of an objective in OWN_LOOPS.

    Args:
        state: from `follow`, new or restored.
        real: the training data.
        recipe: every setting.
        out: the run's folder, which holds what must not be made twice.
    """
    if not isinstance(state, TrajectoryState):
        yield from condense_unrolled(state, real, recipe.condense, recipe.unrolled)
        return
    experts = ExpertFiles(
        out / EXPERTS, real, recipe.condense, recipe.trajectory, seed=recipe.seed,
        device=state.base.container.labels.device,
    )  # fmt: skip
    if recipe.condense.num_sweeps:  # else the container is fitted to real images, and no more
        yield from train_experts(state, experts)
    yield from condense_trajectory(state, real, recipe.condense, recipe.trajectory, experts)


def own_rates(recipe: Recipe) -> list[str]:
    """Flags of the learning rates of the recipe's own loop."""
    name = recipe.condense.objective
    if name not in OWN_LOOPS:
        return []
    flags = (field.name.replace("_", "-") for field in fields(getattr(recipe, name)))
    return [f"--{name}.{flag}" for flag in flags if flag in ("student-lr", "expert-lr")]
