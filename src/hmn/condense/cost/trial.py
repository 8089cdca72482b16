"""Trials: single sweeps of a run cut down to some of its classes and images, with their seconds and peak memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from statistics import median
from typing import NamedTuple, final

import torch

from hmn.condense.cost.operations import Counts, NetOperations, matching_operations
from hmn.condense.loop import condense
from hmn.condense.run import new_state
from hmn.condense.start import reconstruction_step
from hmn.containers.shape import Shape
from hmn.data.real import RealData, Splits
from hmn.data.source import Normalisation
from hmn.recipes.settings import Recipe, StartConfig
from hmn.runtime.memory import begin_peak, peak_bytes

SMALLEST_IMAGES, SMALLEST_OPERATIONS = 16, 2e10
"""The smallest trial has at most so many images on either side, fewer where they take more operations; at least 2."""
MIN_ROUNDS, MAX_ROUNDS = 3, 9
START_VALUES = 2**24
"""A trial of the reconstruction renders at most this many pixel values."""


class Seen(NamedTuple):
    """The trials of one size together."""

    seconds: float
    """The median of theirs."""
    peak_bytes: int | None
    """The process's peak memory in one of them that began with nothing freed kept; None where nothing tells."""


class Sizes(NamedTuple):
    """What is timed, from the smallest on: no more than half of the run's classes, so never its own sweep."""

    small: Counts
    """One class with few images."""
    one: Counts
    """One class, with all of its images where that is cheap enough."""
    few: Counts
    """Several classes of that size."""
    update: Counts
    """The smallest, with some batches of the network's update."""


@final
class Trial:
    """A run's own state (the whole container, its optimizer, a network), of which parts of a sweep are run."""

    def __init__(self, splits: Splits, shape: Shape, recipe: Recipe, *, clock: Callable[[], float]) -> None:
        self.real, self.clock = splits.train, clock
        self.state = new_state(splits, shape, recipe)
        self.members = self.state.members
        self.smallest = min(len(members) for members in self.members)
        network = replace(recipe.condense.network, warm_up_batches=0)
        # One network for all trials, and no reconstruction before the first.
        self.config = replace(
            recipe.condense, start=StartConfig(kind="noise"), network=network, epochs=1, inner_steps=2**30
        )

    def sweep(self, counts: Counts) -> float:
        """Seconds of one sweep over the first `counts.classes` classes, with the network's update."""
        network = replace(
            self.config.network, update_batches=counts.update_batches, update_batch_size=counts.update_batch_size
        )
        # A recipe may ask for more real images than there are, and groups classes by what it asks for.
        real = counts.real_per_class if counts.real_per_class < self.smallest else self.config.real_per_class
        config = replace(
            self.config, real_per_class=real, generated_per_class=counts.generated_per_class, network=network
        )
        self.state.members = self.members[: counts.classes]
        began = self.clock()
        next(condense(self.state, self.real, config))
        return self.clock() - began

    def rendering(self, batch: int) -> float:
        """Seconds of rendering `batch` images and holding all that their way back needs, and their gradient."""
        index = torch.arange(min(batch, len(self.state.container)), device=self.state.container.labels.device)
        began = self.clock()
        images = self.state.container.images(index)
        torch.ones_like(images)
        return self.clock() - began

    def start_step(self, batch: int) -> float:
        """Seconds of one step of the reconstruction that renders `batch` images."""
        state = self.state
        began = self.clock()
        state.optimizer.zero_grad()
        float(reconstruction_step(state.container, self.real, state.targets, batch, state.generator, own=state.images))
        state.optimizer.step()
        return self.clock() - began


def choose_sizes(trial: Trial, whole: Counts, net: NetOperations, objective: str, round_seconds: float) -> Sizes:
    """Sizes whose trials, all four together, take about `round_seconds`; runs a few of them to find out."""

    def operations(counts: Counts) -> int:
        return matching_operations(counts, net, objective)

    pair = operations(replace(whole, classes=1, real_per_class=1, generated_per_class=1))
    few_images = max(2, min(SMALLEST_IMAGES, int(SMALLEST_OPERATIONS / pair)))
    small = replace(
        whole, classes=1, update_batches=0, real_per_class=min(whole.real_per_class, few_images),
        generated_per_class=min(whole.generated_per_class, few_images),
    )  # fmt: skip
    trial.sweep(small)  # builds the network, and compiles where that is done
    small_seconds = trial.sweep(small)
    per_operation = small_seconds / operations(small)
    one = replace(small, real_per_class=whole.real_per_class, generated_per_class=whole.generated_per_class)
    share = round_seconds / 2 / (per_operation * operations(one))
    if share < 1:
        one = replace(
            one, real_per_class=max(small.real_per_class, int(share * whole.real_per_class)),
            generated_per_class=max(small.generated_per_class, int(share * whole.generated_per_class)),
        )  # fmt: skip
    one_seconds = small_seconds if one == small else min(trial.sweep(one) for _ in range(2))
    classes = max(1, min(whole.classes // 2, int(round_seconds * 0.4 / one_seconds)))
    if not whole.update_batches:
        return Sizes(small, one, replace(one, classes=classes), small)
    one_batch = per_operation * net.weight_gradient * whole.update_batch_size
    batch_size = max(2, min(whole.update_batch_size, int(whole.update_batch_size * 0.3 * round_seconds / one_batch)))
    batches = max(1, min(whole.update_batches, int(0.3 * round_seconds / one_batch)))
    update = replace(small, update_batches=batches, update_batch_size=batch_size)
    return Sizes(small, one, replace(one, classes=classes), update)


def timed_rounds(trial: Trial, sizes: Sizes, seconds: float) -> dict[str, Seen]:
    """Each of the sizes in turn, again and again for about `seconds`, so that a busy moment falls on all of them.

    Where even one round is longer than half of that (large images), its own times serve, cold as they are.
    """
    began = trial.clock()
    work = {name: partial(trial.sweep, counts) for name, counts in sizes._asdict().items()}
    peaks, taken = {}, {}
    for name, one in work.items():  # the memory that is given back before these is kept from then on
        first, peaks[name] = peak_of(one)
        taken[name] = [first]
    timing = trial.clock()
    if timing - began < seconds / 2:
        for name, one in work.items():
            one()
            taken[name].clear()
        for done in range(1, MAX_ROUNDS + 1):
            for name, one in work.items():
                taken[name].append(one())
            now = trial.clock()
            if done >= MIN_ROUNDS and now - began + (now - timing) / (done + 1) > seconds:
                break
    return {name: Seen(median(taken[name]), peaks[name]) for name in work}


def timed_starts(trial: Trial, batch: int) -> dict[int, Seen]:
    """Reconstruction steps of two sizes, up to `batch` images; one size where that is small."""
    taken: dict[int, list[float]] = {}
    peaks = {}
    for size in _two_sizes(trial, batch):
        step = partial(trial.start_step, size)
        peaks[size] = peak_of(step)[1]
        taken[size] = [step() for _ in range(MIN_ROUNDS)]
    return {size: Seen(median(times), peaks[size]) for size, times in taken.items()}


def held_bytes(trial: Trial, batch: int) -> float | None:
    """What each rendered image holds until it is sent back; None where the system does not tell."""
    peaks = {size: peak_of(partial(trial.rendering, size))[1] for size in _two_sizes(trial, batch)}
    if len(peaks) < 2 or None in peaks.values():
        return None
    (low, small), (high, large) = sorted(peaks.items())
    assert small is not None and large is not None
    return max(0.0, (large - small) / (high - low))


def _two_sizes(trial: Trial, batch: int) -> list[int]:
    """A quarter of `batch` images and all of them, or fewer where they are large; one size where they are few."""
    most = max(2, min(batch, START_VALUES // trial.real.pixels[0].numel()))
    return sorted({max(2, most // 4), most})


def peak_of(work: Callable[[], float]) -> tuple[float, int | None]:
    """What `work` gives, and the process's peak memory meanwhile; before it, what was freed is given back."""
    begin_peak()
    found = work()
    return found, peak_bytes()


def extended(points: dict[int, float], size: int) -> float:
    """The value at `size` on the line through the two points; in proportion where there is one."""
    (low, small), (high, large) = min(points.items()), max(points.items())
    if low == high:
        return large * size / high
    slope = max(0.0, (large - small) / (high - low))
    return max(0.0, large + slope * (size - high))


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
