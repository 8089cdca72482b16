"""Trials: parts of a run on its own container and network, with their seconds and the process's peak memory."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any, NamedTuple, final

import torch

from hmn.condensation.cost.operations import NetOperations
from hmn.condensation.loop import fit_step
from hmn.condensation.objectives.base import ImagesSeen, Objective
from hmn.condensation.run import new_state
from hmn.containers.shape import Shape
from hmn.data.real import RealData, Splits
from hmn.data.source import Normalisation
from hmn.recipes.settings import Recipe
from hmn.runtime.memory import begin_peak, peak_bytes

MIN_ROUNDS, MAX_ROUNDS = 3, 9
START_VALUES = 2**24
"""Pixel values that a trial of the reconstruction renders at most."""


class Timed(NamedTuple):
    """The trials of one size together."""

    seconds: float
    """The median of theirs."""
    peak_bytes: int | None
    """The process's peak memory in one of them that began with nothing freed kept; None where nothing tells."""
    operations: int = 0


@final
class Trial:
    """A run's own state, of which parts are run."""

    def __init__(self, splits: Splits, shape: Shape, recipe: Recipe, *, clock: Callable[[], float]) -> None:
        self.clock, self.state = clock, new_state(splits, shape, recipe)
        self.objective: Objective = self.state.objective
        self.real, self.config = self.state.real, self.state.config

    def begin_steps(self) -> None:
        """Make ready for steps of the objective: one network serves all of them, and the first builds it."""
        network = replace(self.config.network, warm_up_batches=0)
        self.state.config = replace(self.config, network=network, epochs=1, inner_steps=2**30)
        self.state.begin_matching()

    def step(self, size: Any) -> float:
        """Seconds of a step of the objective of one of its sizes."""
        began = self.clock()
        with self.objective.reduced(self.state, size):
            float(self.objective.step(self.state))
        self.state.optimizer.step()
        self.state.sweeps_done = 1
        return self.clock() - began

    def start_step(self, batch: int) -> float:
        """Seconds of one step of the reconstruction that renders `batch` images."""
        began = self.clock()
        float(fit_step(self.state, batch))
        return self.clock() - began

    def render(self, batch: int) -> None:
        """Render `batch` images and hold all that their way back needs, and their gradient."""
        index = torch.arange(min(batch, len(self.state.container)), device=self.state.device)
        images = self.state.container.images(index)
        torch.ones_like(images)

    def two_sizes(self, batch: int) -> list[int]:
        """A quarter of `batch` images and all of them, or fewer where they are large; one size where they are few."""
        most = max(2, min(batch, START_VALUES // self.real.pixels[0].numel()))
        return sorted({max(2, most // 4), most})


def timed_steps(trial: Trial, net: NetOperations, seconds: float) -> dict[Any, Timed]:
    """Steps of two successive sizes, as large as `seconds` allow for some rounds of both, with their operations."""
    sizes, number = trial.objective.sizes(trial.state), 0
    trial.step(sizes[0])  # builds the network, and compiles where that is done
    taken = trial.step(sizes[0])
    while number + 1 < len(sizes) and 2 * taken * 1.5 * (MIN_ROUNDS + 2) < seconds:
        number += 1
        taken = trial.step(sizes[number])
    chosen = sizes[max(0, number - 1) : number + 1]
    found = in_rounds({size: partial(trial.step, size) for size in chosen}, seconds, trial.clock)
    for size in chosen:
        with trial.objective.reduced(trial.state, size):
            found[size] = found[size]._replace(operations=trial.objective.operations(trial.state, net))
    return found


def in_rounds(work: dict[Any, Callable[[], float]], seconds: float, clock: Callable[[], float]) -> dict[Any, Timed]:
    """Each of the works in turn, again and again for about `seconds`, so that a busy moment falls on all of them.

    Where even one round is longer than half of that (large images), its own times serve, cold as they are.
    """
    began = clock()
    peaks, taken = {}, {}
    for size, one in work.items():  # the memory that is given back before these is kept from then on
        first, peaks[size] = peak_of(one)
        taken[size] = [first]
    timing = clock()
    if timing - began < seconds / 2:
        for size, one in work.items():
            one()
            taken[size].clear()
        for done in range(1, MAX_ROUNDS + 1):
            for size, one in work.items():
                taken[size].append(one())
            now = clock()
            if done >= MIN_ROUNDS and now - began + (now - timing) / (done + 1) > seconds:
                break
    return {size: Timed(median(taken[size]), peaks[size]) for size in work}


def timed_training(trial: Trial, training: ImagesSeen, seconds: float) -> Timed:
    """Seconds that an image of the networks' training takes, and the peak memory of a batch."""
    in_all = training.before + training.each + training.once
    if not in_all:
        return Timed(0.0, None)

    def each(images: int) -> float:
        began = trial.clock()
        trained = trial.objective.train_some(trial.state, images)
        return (trial.clock() - began) / trained

    each(2)
    images = min(int(seconds / each(2)), int(in_all))
    return Timed(*peak_of(lambda: each(max(2, images))))


def timed_starts(trial: Trial, batch: int) -> dict[int, Timed]:
    """Reconstruction steps of two sizes, up to `batch` images; one size where that is small."""
    found = {}
    for size in trial.two_sizes(batch):
        step = partial(trial.start_step, size)
        peak = peak_of(step)[1]
        found[size] = Timed(median(step() for _ in range(MIN_ROUNDS)), peak)
    return found


def held_bytes(trial: Trial, batch: int) -> float | None:
    """What each rendered image holds until it is sent back; None where the system does not tell."""
    peaks = {size: peak_of(partial(trial.render, size))[1] for size in trial.two_sizes(batch)}
    if len(peaks) < 2 or None in peaks.values():
        return None
    (low, small), (high, large) = sorted(peaks.items())
    assert small is not None and large is not None
    return max(0.0, (large - small) / (high - low))


def peak_of(work: Callable[[], Any]) -> tuple[Any, int | None]:
    """What `work` gives, and the process's peak memory meanwhile; before it, what was freed is given back."""
    begin_peak()
    found = work()
    return found, peak_bytes()


def extended(points: Mapping[int, float], size: int) -> float:
    """The value at `size` on the line through two points, or in proportion where that is less or there is one point."""
    (low, small), (high, large) = min(points.items()), max(points.items())
    proportional = large * size / high
    if low == high:
        return proportional
    slope = max(0.0, (large - small) / (high - low))
    found = max(0.0, large + slope * (size - high))
    return min(found, proportional) if size > high else found  # nothing fixed is negative


def blank_splits(name: str, *, image_shape: tuple[int, int, int], num_classes: int, images_per_class: int) -> Splits:
    """Images in the place of data that are not here: all are views of one noise picture and take no memory.

    What a sweep takes does not depend on what the images show.
    """
    channels = image_shape[0]
    picture = torch.randint(256, (1, *image_shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = RealData(
        picture.expand(num_classes * images_per_class, -1, -1, -1),
        torch.arange(num_classes).repeat_interleave(images_per_class),
        tuple(str(label) for label in range(num_classes)),
        Normalisation((0.5,) * channels, (0.25,) * channels),
        name,
    )
    return Splits(train=data, test=data, name=name, skipped=0)
