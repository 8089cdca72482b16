"""What a condensation will cost here: a model of its time and memory, fitted by a timing of about ten seconds.

A sweep's time is taken as something fixed, so much a class, so much an image rendered and so much a batch of the
network's update. The numbers come from trials on the run's own container and network with at most half of its classes,
and where one class is too much, with fewer images, whose time is then scaled by operations. Peak memory is the largest
of the phases' peaks, extended in the same way. benchmarks/bench_plan.py compares predictions with runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from hmn.condense.check import check_recipe
from hmn.condense.cost.footprint import Memory, absent_bytes, measured_memory
from hmn.condense.cost.operations import (
    BACKWARD,
    Counts,
    NetOperations,
    counts_of,
    matching_operations,
    net_operations,
    render_operations,
    run_operations,
    sweep_operations,
)
from hmn.condense.cost.price_loops import loop_cost
from hmn.condense.cost.trial import Seen, Sizes, Trial, choose_sizes, extended, timed_rounds, timed_starts
from hmn.containers.shape import Shape
from hmn.data.real import Splits
from hmn.recipes.settings import OWN_LOOPS, CondenseConfig, Recipe
from hmn.runtime.memory import peak_bytes

BUDGET_SECONDS = 8.0
"""For the timing; building the container and a first, cold sweep come on top."""
ROUNDS = 4
"""Rounds of trials that fit into that."""


class Estimate(NamedTuple):
    """Cost of a run on this machine, from a short timing."""

    seconds_per_sweep: float
    matching_seconds: float
    """Of a sweep: rendering, matching, and the container's step."""
    update_seconds: float
    """Of a sweep: training the network on real data."""
    start_seconds: float
    """Reconstruction before the first sweep."""
    total_seconds: float
    peak_memory_bytes: int | None
    operations_per_sweep: int
    """Of convolutions and matrix products; a multiply-add is two."""
    total_operations: int
    timing_seconds: float
    """What this estimate took."""
    expert_seconds: float = 0.0
    """Experts before everything else, with the objective trajectory."""


class Price(NamedTuple):
    """An estimate, and the memory model behind it, which also knows what a part of the classes would take."""

    estimate: Estimate
    memory: Memory | None


def estimate(splits: Splits, shape: Shape, recipe: Recipe) -> Estimate:
    """Predict the time, peak memory and operations of a run on this machine, in about ten seconds.

    Raises:
        UserError: a setting is out of its range, or the container is over its budget.
    """
    return price(splits, shape, recipe).estimate


def price(
    splits: Splits,
    shape: Shape,
    recipe: Recipe,
    *,
    budget_seconds: float = BUDGET_SECONDS,
    clock: Callable[[], float] = time.perf_counter,
) -> Price:
    """`estimate` with its memory model, a budget and a clock.

    Args:
        splits: the data, or `hmn.condense.cost.trial.blank_splits` in their place.
        shape: the container's sizes.
        recipe: every setting.
        budget_seconds: for the timing.
        clock: what seconds are read from; the processor time of this process (time.process_time), on one thread,
            does not see what else the machine does.

    Raises:
        UserError: a setting is out of its range, or the container is over its budget.
    """
    began = time.perf_counter()
    train, config = splits.train, recipe.condense
    check_recipe(recipe, image_shape=train.image_shape, num_classes=train.num_classes)
    loaded = peak_bytes()  # reading the data may take more than anything after it
    smallest = int(train.labels.bincount(minlength=train.num_classes).min())
    whole = counts_of(config, shape, images_per_class=smallest)
    network = config.network
    net = net_operations(
        network.name, width=network.width, num_classes=train.num_classes, image_shape=train.image_shape
    )
    trial = Trial(splits, shape, recipe, clock=clock)
    start_batch = min(config.start.batch, shape.num_images)
    starts = timed_starts(trial, start_batch)
    if config.objective in OWN_LOOPS:
        return Price(own_estimate(trial, shape, recipe, net, starts, loaded, budget_seconds, began), None)
    # Batches before a network's first sweep are timed too where there are none after it.
    timed = replace(whole, update_batches=max(whole.update_batches, min(1, network.warm_up_batches)))
    sizes = choose_sizes(trial, timed, net, config.objective, budget_seconds / ROUNDS)
    seen = timed_rounds(trial, sizes, budget_seconds)
    matching = matching_seconds(whole, sizes, seen, starts, net, config)
    batch = batch_seconds(whole, sizes, seen)
    fitting = extended({size: step.seconds for size, step in starts.items()}, start_batch)
    start_seconds = fitting * config.start.steps_for(exact=shape.exact_start)
    per_sweep = matching + batch * network.update_batches
    memory = measured_memory(whole, sizes, seen, starts, trial, config, loaded)
    warm_up = batch * network.warm_up_batches * config.epochs
    estimate = Estimate(
        seconds_per_sweep=per_sweep,
        matching_seconds=matching,
        update_seconds=batch * network.update_batches,
        start_seconds=start_seconds,
        total_seconds=start_seconds + per_sweep * config.num_sweeps + warm_up,
        peak_memory_bytes=None if memory is None else memory.peak(),
        operations_per_sweep=sweep_operations(whole, net, shape, config.objective).total,
        total_operations=run_operations(config, whole, net, shape),
        timing_seconds=time.perf_counter() - began,
    )
    return Price(estimate, memory)


def own_estimate(
    trial: Trial,
    shape: Shape,
    recipe: Recipe,
    net: NetOperations,
    starts: dict[int, Seen],
    loaded: int | None,
    budget_seconds: float,
    began: float,
) -> Estimate:
    """The estimate where the objective has a loop of its own: its iterations are in the place of sweeps."""
    config = recipe.condense
    cost = loop_cost(trial, shape, recipe, net, budget_seconds)
    batch = min(config.start.batch, shape.num_images)
    steps = config.start.steps_for(exact=shape.exact_start)
    fitting = {size: step.seconds for size, step in starts.items()}
    peaks = {size: float(step.peak_bytes or 0) for size, step in starts.items()}
    known = cost.peak_bytes is not None and loaded is not None and all(peaks.values())
    highest = max(loaded or 0, cost.peak_bytes or 0, round(extended(peaks, batch)) if steps else 0)
    start_seconds = extended(fitting, batch) * steps
    experts = cost.expert_seconds if config.num_sweeps else 0.0
    rendering = steps * (1 + BACKWARD) * render_operations(shape, batch)
    return Estimate(
        seconds_per_sweep=cost.seconds_per_iteration,
        matching_seconds=cost.seconds_per_iteration,
        update_seconds=0.0,
        start_seconds=start_seconds,
        total_seconds=start_seconds + experts + cost.seconds_per_iteration * config.num_sweeps,
        peak_memory_bytes=absent_bytes(trial.real) + highest if known else None,
        operations_per_sweep=cost.operations_per_iteration,
        total_operations=rendering + config.num_sweeps * cost.operations_per_iteration
        + (cost.expert_operations if config.num_sweeps else 0),
        timing_seconds=time.perf_counter() - began,
        expert_seconds=experts,
    )  # fmt: skip


def matching_seconds(
    whole: Counts,
    sizes: Sizes,
    seen: dict[str, Seen],
    starts: dict[int, Seen],
    net: NetOperations,
    config: CondenseConfig,
) -> float:
    """Seconds of rendering, matching and the container's step for the whole sweep, from those of the trials."""
    steps = {size: step.seconds for size, step in starts.items()}
    per_image = (extended(steps, 2 * max(steps)) - extended(steps, max(steps))) / max(steps)

    def rendered(counts: Counts) -> int:
        """Images rendered in a sweep: all of them again for every step of the container."""
        return counts.generated * (counts.classes if config.step_per == "class" else 1)

    def own(name: str, counts: Counts) -> float:
        """Seconds without rendering."""
        return max(0.0, seen[name].seconds - per_image * rendered(counts))

    small, one, few = own("small", sizes.small), own("one", sizes.one), own("few", sizes.few)
    if sizes.few.classes > 1:  # never more than in proportion: nothing fixed is negative
        each = min(max(0.0, few - one) / (sizes.few.classes - 1), few / sizes.few.classes)
    else:
        each = min(one, few)
    fixed = max(0.0, few - each * sizes.few.classes)
    operations = {
        name: matching_operations(counts, net, config.objective)
        for name, counts in (("small", sizes.small), ("one", sizes.one), ("whole", whole))
    }
    missing = operations["whole"] / whole.classes - operations["one"]
    if missing > 0:
        more = operations["one"] - operations["small"]
        per_operation = (one - small) / more if more > 0 and one > small else one / operations["one"]
        each += per_operation * missing
    return fixed + each * whole.classes + per_image * rendered(whole)


def batch_seconds(whole: Counts, sizes: Sizes, seen: dict[str, Seen]) -> float:
    """Seconds of one batch of the network's update; in proportion to its images where the trial's was smaller."""
    if not sizes.update.update_batches:
        return 0.0
    each = max(0.0, seen["update"].seconds - seen["small"].seconds) / sizes.update.update_batches
    return each * whole.update_batch_size / sizes.update.update_batch_size
