"""The memory that a condensation will take: the peaks of trials, extended to a whole run's classes and images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hmn.condensation.cost.trial import Timed, Trial, extended, held_bytes
from hmn.condensation.objectives.base import ImagesSeen
from hmn.containers.shape import FLOAT_BYTES
from hmn.data.real import RealData
from hmn.runtime.memory import begin_peak, resident_bytes


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
