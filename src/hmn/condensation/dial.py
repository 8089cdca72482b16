"""A recipe's dial: how many iterations so many minutes of this machine come to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hmn.condensation.cost.price import estimate
from hmn.containers.shape import Shape
from hmn.data.real import Splits
from hmn.recipes.settings import Recipe
from hmn.recipes.values import given_file
from hmn.runtime.console import note

MIN_ITERATIONS = 20
"""Iterations of a run whose minutes are used up by its experts."""


def in_minutes(recipe: Recipe, splits: Splits, shape: Shape, *, begun: Path | None) -> Recipe:
    """The recipe with as many iterations as fit into its minutes here, its experts' time and this timing's taken off.

    The timing works on networks and a container of its own: it leaves the run's random numbers alone.

    Args:
        recipe: with `minutes`.
        splits: its data.
        shape: its container.
        begun: recipe.toml of a run that is gone on with; where its minutes are these, so are its iterations.

    Raises:
        UserError: a setting is out of its range, or the container is over its budget.
    """
    assert recipe.minutes is not None
    config = recipe.condense
    recorded = given_file(begun) if begun is not None and begun.exists() else {}
    if recorded.get("minutes") == recipe.minutes:
        return replace(recipe, condense=replace(config, epochs=recorded["condense.epochs"]))
    note("timing some steps on this machine, about ten seconds ...")
    priced = estimate(splits, shape, recipe)
    iterations = priced.seconds_per_sweep * config.num_sweeps
    left = recipe.minutes * 60 - priced.timing_seconds - (priced.total_seconds - iterations)
    found = max(MIN_ITERATIONS, int(left / priced.seconds_per_sweep))
    note(f"{recipe.minutes:g} minutes of this machine come to {found:,} iterations.")
    return replace(recipe, condense=replace(config, epochs=max(1, found // config.inner_steps)))
