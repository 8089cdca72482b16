"""The memory that a condensation will take: the peaks of trials, extended to a whole run's classes and images."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hmn.condense.cost.operations import Counts
from hmn.condense.cost.trial import Seen, Sizes, Trial, extended, held_bytes
from hmn.condense.loop import CLASSES_TOGETHER_VALUES
from hmn.data.real import RealData
from hmn.recipes.settings import CondenseConfig
from hmn.runtime.memory import begin_peak, resident_bytes

BYTES_PER_FLOAT = 4


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What the trials say of memory, in bytes; `above` and `steps` are peaks above the resting process."""

    whole: Counts
    sizes: Sizes
    loaded: int
    """Peak of the process when its data had been read."""
    resting: int
    """Resident size with the whole state and nothing on the way."""
    absent: int
    """Of pixels that a run would hold and this process does not."""
    parameters: int
    """Values of the container."""
    together: int
    """Classes that the objective takes in one group."""
    above: dict[str, float]
    """By trial."""
    steps: dict[int, float]
    """By images of a reconstruction step."""
    start_batch: int
    """Images of a reconstruction step in the run; 0 where there is none."""
    held: float
    """By a rendered image, from its rendering until it is sent back: while its class and the others are matched."""

    def working(self, processes: int = 1) -> float:
        """Bytes above the resting process at the highest of the phases, for one of some processes' share of a run."""
        classes = -(-self.whole.classes // processes)
        batch = self.whole.update_batch_size / processes
        update = self.above["update"] * batch / max(1, self.sizes.update.update_batch_size)
        fitting = extended(self.steps, -(-self.start_batch // processes)) if self.start_batch else 0.0
        # A checkpoint copies the values and both of Adam's moments, and holds the file's bytes beside the copies.
        checkpoint = 2 * 3 * BYTES_PER_FLOAT * self.parameters
        matching = matching_bytes(
            replace(self.whole, classes=classes), self.sizes, self.above, self.held, together=self.together
        )
        sent_back = extended(self.steps, classes * self.whole.generated_per_class)
        return max(matching, sent_back, update, fitting, checkpoint)

    def peak(self) -> int:
        """The peak of a run in one process."""
        return self.absent + max(self.loaded, self.resting + round(self.working()))

    def device(self, processes: int) -> int:
        """What one of several GPUs would hold: its classes' values, gradients and moments, and what it works on."""
        held = 4 * BYTES_PER_FLOAT * self.parameters / processes
        return round(held + self.working(processes))


def measured_memory(
    whole: Counts,
    sizes: Sizes,
    seen: dict[str, Seen],
    starts: dict[int, Seen],
    trial: Trial,
    config: CondenseConfig,
    loaded: int | None,
) -> Memory | None:
    """The memory model, where the system tells what the trials held."""
    held = held_bytes(trial, max(starts))
    begin_peak()
    resting = resident_bytes()
    peaks = {name: one.peak_bytes for name, one in seen.items()}
    fitting = {size: step.peak_bytes for size, step in starts.items()}
    if resting is None or loaded is None or None in (*peaks.values(), *fitting.values()):
        return None
    values = trial.real.pixels[0].numel()
    steps = {size: max(0.0, (value or 0) - resting) for size, value in fitting.items()}
    fits = config.start.steps_for(exact=trial.state.container.shape.exact_start) > 0
    return Memory(
        whole=whole, sizes=sizes, loaded=loaded, resting=resting, absent=absent_bytes(trial.real),
        parameters=sum(values.numel() for values in trial.state.container.parameters()),
        together=max(1, CLASSES_TOGETHER_VALUES // ((config.real_per_class + whole.generated_per_class) * values)),
        above={name: max(0.0, (value or 0) - resting) for name, value in peaks.items()},
        steps=steps,
        start_batch=min(config.start.batch, len(trial.state.container)) if fits else 0,
        held=per_image(steps) if held is None else held,
    )  # fmt: skip


def per_image(steps: dict[int, float]) -> float:
    """What one more image adds to a step of the reconstruction: it is rendered, compared and sent back."""
    most = max(steps)
    return (extended(steps, 2 * most) - extended(steps, most)) / most


def matching_bytes(whole: Counts, sizes: Sizes, above: dict[str, float], held: float, *, together: int) -> float:
    """Bytes above the resting process at the peak of a sweep's matching, from those of the trials.

    Rendered images and what each of them holds for its way back grow with all classes. What the objective holds grows
    with the classes of a group, and with a class's images where the trials had fewer.
    """
    peak = above["few"]
    rendered = sizes.few.generated_per_class * held
    if sizes.few.classes > 1:
        each = max(0.0, (above["few"] - above["one"]) / (sizes.few.classes - 1) - rendered)
    else:
        each = 0.0
    peak += each * max(0, min(whole.classes, together) - min(sizes.few.classes, together))
    peak += rendered * (whole.classes - sizes.few.classes)
    images = sizes.one.real_per_class + sizes.one.generated_per_class
    fewer = sizes.small.real_per_class + sizes.small.generated_per_class
    missing = whole.real_per_class + whole.generated_per_class - images
    if missing > 0:
        of_image = (above["one"] - above["small"]) / (images - fewer) if images > fewer else above["one"] / images
        peak += max(0.0, of_image) * missing
        peak += held * whole.classes * (whole.generated_per_class - sizes.one.generated_per_class)
    return peak


def absent_bytes(data: RealData) -> int:
    """Bytes of pixels that a run would hold and this process does not: stand-ins are views of one picture."""
    return max(0, data.pixels.numel() - data.pixels.untyped_storage().nbytes())
