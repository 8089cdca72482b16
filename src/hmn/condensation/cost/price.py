"""What a condensation will cost here, by a timing of about ten seconds; and what so many minutes come to (the dial).

A step of the objective is timed at two sizes (fewer classes, or fewer steps of a student) on the run's own container
and network, and extended to the whole by its operations; so are the reconstruction before it, by images, and the
training of networks beside it. Peak memory is the largest of the phases' peaks, extended in the same way.
benchmarks/bench_plan.py compares predictions with runs.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from hmn.condensation.cost.operations import BACKWARD, Reckoned, net_operations, reckon, render_operations
from hmn.condensation.cost.trial import Timed, Trial, extended, held_bytes, timed_starts, timed_steps, timed_training
from hmn.condensation.objectives.base import ImagesSeen
from hmn.containers.shape import FLOAT_BYTES, Shape
from hmn.data.real import RealData, Splits
from hmn.recipes.settings import Recipe
from hmn.recipes.values import given_file
from hmn.runtime.console import note
from hmn.runtime.memory import begin_peak, peak_bytes, resident_bytes

BUDGET_SECONDS = 8.0
"""Seconds for the timing; building the container and a first, cold step come on top."""
TRAINING_SHARE = 0.25
"""Share of them for the training of networks."""
MIN_ITERATIONS = 20
"""Iterations of a run whose minutes are used up by its experts."""


class Estimate(NamedTuple):
    """Cost of a run on this machine, from a short timing."""

    seconds_per_sweep: float
    matching_seconds: float
    """Seconds of a sweep without those below: rendering, matching, and the container's step."""
    update_seconds: float
    """Seconds of a sweep in which networks are trained beside it."""
    start_seconds: float
    """Seconds of the reconstruction before the first sweep."""
    total_seconds: float
    peak_memory_bytes: int | None
    operations_per_sweep: int
    """Operations of convolutions and matrix products; a multiply-add is two."""
    total_operations: int
    timing_seconds: float
    """Seconds that this estimate took."""
    expert_seconds: float = 0.0
    """Seconds of networks that are trained before everything else: experts."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What the trials say of memory, in bytes; what is `above` is so over the resting process."""

    loaded: int
    """Peak of the process when its data had been read."""
    resting: int
    """Resident size with the whole state and nothing on the way."""
    absent: int
    """Pixels that a run would hold and this process does not."""
    parameters: int
    """Values of the container."""
    step: Callable[[int], float]
    """A step of the objective, in one of so many processes."""
    training: float
    """A batch of the networks' training."""
    fits: Mapping[int, float]
    """Steps of the reconstruction above, by their images."""
    start_batch: int
    """Images of a reconstruction step in the run; 0 where there is none."""
    rendered: int
    """Images of a step of the objective, all of which are sent back together."""

    def working(self, processes: int = 1) -> float:
        """Bytes above the resting process at the highest of the phases, for one of some processes' share of a run."""
        fitting = extended(self.fits, -(-self.start_batch // processes)) if self.start_batch else 0.0
        # A checkpoint copies the values and both of Adam's moments, and holds the file's bytes beside the copies.
        checkpoint = 2 * 3 * FLOAT_BYTES * self.parameters
        sent_back = extended(self.fits, -(-self.rendered // processes))
        return max(self.step(processes), sent_back, self.training / processes, fitting, checkpoint)

    def peak(self) -> int:
        """The peak of a run in one process."""
        return self.absent + max(self.loaded, self.resting + round(self.working()))

    def device(self, processes: int) -> int:
        """What one of several GPUs would hold: its classes' values, gradients and moments, and what it works on."""
        held = 4 * FLOAT_BYTES * self.parameters / processes
        return round(held + self.working(processes))


class Price(NamedTuple):
    """An estimate, and the memory model behind it, which also knows what a part of the classes would take."""

    estimate: Estimate
    memory: Memory | None

    def reckoned(self, *, gpus: int, tflops: float) -> Reckoned:
        """What it would take on so many GPUs of an assumed rate that share the classes. Raises UserError: no GPU, or no
        rate.
        """
        operations = self.estimate.operations_per_sweep, self.estimate.total_operations
        held = None if self.memory is None else self.memory.device(gpus)
        return reckon(*operations, gpus=gpus, tflops=tflops)._replace(memory_bytes_per_gpu=held)


def price(
    splits: Splits,
    shape: Shape,
    recipe: Recipe,
    *,
    budget_seconds: float | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Price:
    """`estimate` with its memory model, a budget and a clock.

    Args:
        splits: the data, or `hmn.condensation.cost.trial.blank_splits` in their place.
        shape: the container's sizes.
        recipe: every setting.
        budget_seconds: for the timing; None is BUDGET_SECONDS.
        clock: what seconds are read from; the processor time of this process (time.process_time), on one thread,
            does not see what else the machine does.
    """
    began, budget = time.perf_counter(), BUDGET_SECONDS if budget_seconds is None else budget_seconds
    train, config = splits.train, recipe.condense
    loaded = peak_bytes()  # reading the data may take more than anything after it
    network, num_classes = config.network, train.num_classes
    net = net_operations(network.name, width=network.width, num_classes=num_classes, image_shape=train.image_shape)
    # The trials.
    trial = Trial(splits, shape, recipe, clock=clock)
    objective, state = trial.objective, trial.state
    operations, training = objective.operations(state, net), objective.training(state)
    batch = min(config.start.batch, shape.num_images)
    starts = timed_starts(trial, batch)
    trial.begin_steps()
    steps = timed_steps(trial, net, (1 - TRAINING_SHARE) * budget)
    trained = timed_training(trial, training, TRAINING_SHARE * budget)
    # What they come to in a whole run.
    fits = config.start.steps_for(exact=shape.exact_start)
    start_seconds = extended({size: step.seconds for size, step in starts.items()}, batch) * fits
    matching = extended({step.operations: step.seconds for step in steps.values()}, operations)
    update, experts, once = (images * trained.seconds for images in (training.each, training.before, training.once))
    per_step = matching + update
    operations_per_step = operations + round(training.each * net.weight_gradient)
    others = round((training.before + training.once) * net.weight_gradient)
    rendering = fits * (1 + BACKWARD) * render_operations(shape, batch)
    memory = measured_memory(trial, steps, trained, training, starts, loaded)
    found = Estimate(
        seconds_per_sweep=per_step,
        matching_seconds=matching,
        update_seconds=update,
        start_seconds=start_seconds,
        total_seconds=start_seconds + experts + once + per_step * config.num_sweeps,
        peak_memory_bytes=None if memory is None else memory.peak(),
        operations_per_sweep=operations_per_step,
        total_operations=rendering + others + config.num_sweeps * operations_per_step,
        timing_seconds=time.perf_counter() - began,
        expert_seconds=experts,
    )
    return Price(found, memory)


def measured_memory(
    trial: Trial,
    steps: Mapping[object, Timed],
    trained: Timed,
    training: ImagesSeen,
    starts: Mapping[int, Timed],
    loaded: int | None,
) -> Memory | None:
    """The memory model, where the system tells what the trials held."""
    state, config = trial.state, trial.config
    held = held_bytes(trial, max(starts))
    begin_peak()
    resting = resident_bytes()
    if resting is None or loaded is None or None in [one.peak_bytes for one in (*steps.values(), *starts.values())]:
        return None

    # Every trial held something on top of what rests.
    def above(timed: Timed) -> float:
        return max(0.0, (timed.peak_bytes or 0) - resting)

    fits = {size: above(one) for size, one in starts.items()}
    sizes = {size: above(one) for size, one in steps.items()}
    held = per_image(fits) if held is None else held
    fitted = config.start.steps_for(exact=state.container.shape.exact_start) > 0
    return Memory(
        loaded=loaded,
        resting=resting,
        absent=absent_bytes(trial.real),
        parameters=sum(values.numel() for values in state.container.parameters()),
        step=lambda processes: trial.objective.step_bytes(state, sizes, held, processes),
        training=above(trained) if trained.peak_bytes else 0.0,
        fits=fits,
        start_batch=min(config.start.batch, len(state.container)) if fitted else 0,
        rendered=trial.objective.rendered(state),
    )


def per_image(steps: Mapping[int, float]) -> float:
    """What one more image adds to a step of the reconstruction: it is rendered, compared and sent back."""
    most = max(steps)
    return (extended(steps, 2 * most) - extended(steps, most)) / most


def absent_bytes(data: RealData) -> int:
    """Bytes of pixels that a run would hold and this process does not: stand-ins are views of one picture."""
    return max(0, data.pixels.numel() - data.pixels.untyped_storage().nbytes())


def in_minutes(recipe: Recipe, splits: Splits, shape: Shape, *, begun: Path | None) -> Recipe:
    """The recipe with as many iterations as fit into its minutes here, its experts' time and this timing's taken off.

    The timing works on networks and a container of its own: it leaves the run's random numbers alone. `begun` is
    recipe.toml of a run that is gone on with; where its minutes are these, so are its iterations.
    """
    assert recipe.minutes is not None
    config = recipe.condense
    recorded = given_file(begun) if begun is not None and begun.exists() else {}
    if recorded.get("minutes") == recipe.minutes:
        return replace(recipe, condense=replace(config, epochs=recorded["condense.epochs"]))
    note("timing some steps on this machine, about ten seconds ...")
    priced = price(splits, shape, recipe).estimate
    iterations = priced.seconds_per_sweep * config.num_sweeps
    left = recipe.minutes * 60 - priced.timing_seconds - (priced.total_seconds - iterations)
    found = max(MIN_ITERATIONS, int(left / priced.seconds_per_sweep))
    note(f"{recipe.minutes:g} minutes of this machine come to {found:,} iterations.")
    return replace(recipe, condense=replace(config, epochs=max(1, found // config.inner_steps)))
