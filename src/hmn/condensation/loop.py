"""The condensation loop: a generator over a state that can be saved between any two of its steps."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from hmn.condensation.objectives.base import Objective
from hmn.condensation.state import CondenseRecord, CondenseState
from hmn.containers.container import Container
from hmn.data.real import RealData
from hmn.recipes.settings import CondenseConfig
from hmn.runtime.processes import sum_gradients, sum_in_place

START_STRIDE = 10
"""Reconstruction steps between two records."""


def condensing(state: CondenseState) -> Iterator[CondenseRecord]:
    """Condense the state's real images into its container, yielding a record after every step of its objective.

    It owns no files: the caller prints, saves `state.state_dict()`, or stops between two records. Started with a
    restored state it goes on where that was saved. Several processes run this loop together, and their records are
    the same.
    """
    objective: Objective = state.objective
    config, total = state.config, state.config.num_sweeps
    if total:  # else the container is fitted to real images, and no more
        yield from objective.prepare(state)
    yield from _fit(state)
    while state.sweeps_done < total:
        if state.sweeps_done == 0:
            state.begin_matching()
        for group in state.optimizer.param_groups:
            group["lr"] = config.lr * lr_factor(config, state.sweeps_done)
        loss = objective.step(state)
        state.optimizer.step()
        objective.after_step(state)
        state.sweeps_done += 1
        yield CondenseRecord("condense", state.sweeps_done, total, float(loss))


def lr_factor(config: CondenseConfig, sweeps_done: int) -> float:
    """Learning rate over its start: times 0.1 at 60 and at 80 % of the epochs, or a cosine to zero, or 1."""
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * sweeps_done / config.num_sweeps))
    epoch = sweeps_done // config.inner_steps
    return 0.1 ** sum(epoch >= share * config.epochs for share in (0.6, 0.8))


def _fit(state: CondenseState) -> Iterator[CondenseRecord]:
    """Begin at a choice of real images, to which the container is fitted where it does not take them over."""
    start = state.config.start
    if start.kind != "noise" and not state.start_steps_done and not state.sweeps_done:
        state.take_targets()
    steps = start.steps_for(exact=state.container.shape.exact_start)
    while state.start_steps_done < steps:
        for group in state.optimizer.param_groups:
            group["lr"] = start.lr * 0.5 * (1 + math.cos(math.pi * state.start_steps_done / steps))
        error = fit_step(state, start.batch)
        state.start_steps_done += 1
        if state.start_steps_done % START_STRIDE == 0 or state.start_steps_done == steps:
            yield CondenseRecord("start", state.start_steps_done, steps, float(error))


def fit_step(state: CondenseState, batch: int) -> Tensor:
    """A step of the container towards its real targets, of which it renders `batch` images; the error per value."""
    state.optimizer.zero_grad()
    error = reconstruction_step(state.container, state.real, state.targets, batch, state.generator, own=state.images)
    sum_gradients(state.shared_parameters())
    state.optimizer.step()
    return error


def reconstruction_step(
    container: Container,
    real: RealData,
    targets: Tensor,
    batch: int,
    generator: torch.Generator,
    *,
    own: range | None = None,
) -> Tensor:
    """Squared error between rendered images and their real targets, backpropagated into the container.

    Renders `batch` images of all classes (all, where there are fewer), of several views of one the first. The loss is
    the sum over an image's values, averaged over images, in pixels of [0, 1].

    Args:
        container: the container, or one process's part of it.
        real: the training data.
        targets: int64 [n], for every image of all classes, an index into `real`.
        batch: images a step.
        generator: source of the choice.
        own: the images among the n that `container` holds, where it is a part.

    Returns:
        the mean squared error per value, over all processes, without a graph.
    """
    stored, own = len(targets) // container.copies, range(len(targets)) if own is None else own
    index = torch.arange(stored) if stored <= batch else torch.randperm(stored, generator=generator)[:batch]
    index = index * container.copies  # the first view of each: the others follow from it
    num_images, device = len(index), container.labels.device
    index = index[(index >= own.start) & (index < own.stop)]
    error = (container.images((index - own.start).to(device)) - real.images(targets[index]).to(device)).square()
    (error.flatten(1).sum(1).sum() / num_images).backward()
    return sum_in_place(error.detach().sum()) / (num_images * math.prod(real.image_shape))
