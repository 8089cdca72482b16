"""What an iteration of the loops of their own costs: trajectory matching and unrolled training, timed with few steps.

A student's steps are alike, and an iteration is what it takes besides them and so much an image that it shows them.
Experts are batches that are alike, and so are networks that stray.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import NamedTuple

import torch

from hmn.condense.cost.operations import BACKWARD, NetOperations, render_operations
from hmn.condense.cost.trial import MIN_ROUNDS, Trial, extended, peak_of
from hmn.condense.objectives.experts import epochs_of, expert_training, new_expert, new_student
from hmn.condense.objectives.strayed import images_seen
from hmn.condense.objectives.trajectory import TrajectoryState, condense_trajectory
from hmn.condense.objectives.unrolled import condense_unrolled
from hmn.containers.shape import Shape
from hmn.recipes.settings import Recipe, TrajectoryConfig, UnrolledConfig
from hmn.train import train
from hmn.train.loop import total_steps

BYTES_PER_FLOAT = 4


class LoopCost(NamedTuple):
    """Of a run with a loop of its own."""

    seconds_per_iteration: float
    expert_seconds: float
    """Of all experts together; 0 where there are none."""
    operations_per_iteration: int
    expert_operations: int
    peak_bytes: int | None
    """Of an iteration; None where the system does not tell."""


def loop_cost(trial: Trial, shape: Shape, recipe: Recipe, net: NetOperations, budget_seconds: float) -> LoopCost:
    """Time a few iterations with fewer steps than the run's, and some batches of an expert.

    Args:
        trial: the run's own state; at least three of its iterations run, of one or two steps each.
        shape: the container's sizes.
        recipe: with an objective in OWN_LOOPS.
        net: operations of the network.
        budget_seconds: for the timing, where an iteration is not longer.
    """
    steps = _own(recipe).student_steps
    peak = peak_of(lambda: _iterate(trial, recipe, 1))[1]
    # Steps of which one is differentiated are timed together.
    every = recipe.trajectory.differentiate_every if recipe.condense.objective == "trajectory" else 1
    seconds = timed_line(lambda few: _iterate(trial, recipe, few * every), -(-steps // every), budget_seconds * 0.7)
    shown = {few: images_shown(shape, recipe, few * every) for few in seconds}
    weights = sum(values.numel() for values in new_student(trial.real, recipe.condense, seed=0).parameters())
    is_trajectory = recipe.condense.objective == "trajectory"
    expert_seconds = _expert_seconds(trial, recipe, budget_seconds * 0.3) if is_trajectory else 0.0
    expert_images = _expert_images(trial, recipe) if is_trajectory else 0
    strayed_images = _strayed_images(shape, recipe, expert_images)
    student = extended({shown[few]: time for few, time in seconds.items()}, images_shown(shape, recipe, steps))
    return LoopCost(
        seconds_per_iteration=student + strayed_images * expert_seconds / max(expert_images, 1),
        expert_seconds=expert_seconds,
        operations_per_iteration=iteration_operations(trial, shape, recipe, net)
        + round(strayed_images * net.weight_gradient),
        expert_operations=expert_images * net.weight_gradient,
        # The weights before every step are kept until they are gone back through.
        peak_bytes=None if peak is None else peak + (steps - 1) * weights * BYTES_PER_FLOAT,
    )


def images_shown(shape: Shape, recipe: Recipe, steps: int) -> int:
    """Images in all batches of a student of so many steps."""
    if recipe.condense.objective == "unrolled":
        return steps * sum(min(recipe.unrolled.student_per_class, count) for count in shape.images_per_class)
    stored, batch = shape.num_images, recipe.trajectory.student_batch
    passes, rest = divmod(steps, -(-stored // batch))
    return passes * stored + min(rest * batch, stored)


def iteration_operations(trial: Trial, shape: Shape, recipe: Recipe, net: NetOperations) -> int:
    """Operations of an iteration: a student there and back, what its end is judged by, and rendering.

    An image in a step is a weight gradient on the way there; on the way back that gradient once more and its own
    derivative by weights and image, which convolves as often as both together. Differentiated step by step it is what
    gradient matching does with an image, on the way back for the steps alone that are differentiated.
    """
    image = 12 * net.forward - 4 * net.first
    if recipe.condense.objective == "trajectory" and recipe.trajectory.derivative == "direct":
        image = net.weight_gradient + 2 * net.image_gradient // recipe.trajectory.differentiate_every
    student = images_shown(shape, recipe, _own(recipe).student_steps) * image
    judged = 0
    if recipe.condense.objective == "unrolled":
        real = sum(min(recipe.condense.real_per_class, len(members)) for members in trial.members)
        judged = real * net.weight_gradient
    return student + judged + (1 + BACKWARD) * render_operations(shape, shape.num_images)


def _strayed_images(shape: Shape, recipe: Recipe, expert_images: int) -> float:
    """Images in all batches of networks that stray, by iteration."""
    own, iterations = recipe.trajectory, recipe.condense.num_sweeps
    if recipe.condense.objective != "trajectory" or not own.strayed or not iterations:
        return 0.0
    networks = (iterations - 1) // own.strayed_every
    epoch = expert_images // (own.experts * epochs_of(own))
    return networks / iterations * images_seen(own, shape.num_images, epoch)


def timed_line(run: Callable[[int], float], most: int, budget_seconds: float) -> dict[int, float]:
    """Median seconds of runs of size 1 and of a larger size, up to `most`, that the budget allows.

    Args:
        run: does work of a size and gives its seconds.
        most: the largest size.
        budget_seconds: for all of it, but that each size runs at least once after one that warms up.
    """
    run(1)
    one = run(1)
    sizes = {1, min(most, max(2, int(budget_seconds / MIN_ROUNDS / max(one, 1e-6)) - 1))}
    taken: dict[int, list[float]] = {size: [] for size in sorted(sizes)}
    spent = 2 * one
    for _ in range(MIN_ROUNDS):
        for size, times in taken.items():
            times.append(run(size))
            spent += times[-1]
        if spent > budget_seconds:
            break
    return {size: median(times) for size, times in taken.items()}


def _own(recipe: Recipe) -> TrajectoryConfig | UnrolledConfig:
    return recipe.trajectory if recipe.condense.objective == "trajectory" else recipe.unrolled


def _iterate(trial: Trial, recipe: Recipe, steps: int) -> float:
    """Seconds of an iteration with a student of so many steps."""
    real, config = trial.real, trial.config
    if recipe.condense.objective == "unrolled":
        records = condense_unrolled(trial.state, real, config, replace(recipe.unrolled, student_steps=steps))
    else:
        # Any two networks are as far to go for a stopwatch.
        ways = [[new_expert(real, config, seed=seed).weights for seed in (0, 1)]]
        own = replace(recipe.trajectory, student_steps=steps, max_start_epoch=1, expert_epochs=1, averaged=1, strayed=0)
        records = condense_trajectory(TrajectoryState(trial.state, own), real, config, own, ways)
    began = trial.clock()
    next(records)
    return trial.clock() - began


def _expert_images(trial: Trial, recipe: Recipe) -> int:
    """Images in all batches of all experts."""
    own, count = recipe.trajectory, len(trial.real)
    training = expert_training(recipe.condense, own)
    whole, rest = divmod(total_steps(training, count), total_steps(replace(training, steps=None), count))
    return own.experts * epochs_of(own) * (whole * count + min(rest * own.expert_batch, count))


def _expert_seconds(trial: Trial, recipe: Recipe, budget_seconds: float) -> float:
    """Seconds of all experts, from some batches of one."""
    net = new_student(trial.real, recipe.condense, seed=0)
    device = trial.state.container.labels.device

    def batches(count: int) -> float:
        training = replace(expert_training(recipe.condense, recipe.trajectory), steps=count)
        began = trial.clock()
        for _ in train(net, trial.real, training, generator=torch.Generator().manual_seed(0), device=device):
            pass
        return trial.clock() - began

    epoch = total_steps(expert_training(recipe.condense, recipe.trajectory), len(trial.real))
    seconds = timed_line(batches, epoch, budget_seconds)
    return extended(seconds, epoch) * epochs_of(recipe.trajectory) * recipe.trajectory.experts
