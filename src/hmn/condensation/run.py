"""A run: one condensation in one folder, with checkpoints, signals, progress and its record."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from hmn.condensation.folder import History, TimeTaken, check_identity, clear, examine, forget_experts, identity_of
from hmn.condensation.loop import condensing
from hmn.condensation.state import CondenseRecord, CondenseState, check_alike, check_split
from hmn.containers.artifact.place import CHECKPOINT, CONTAINER, FACTS, HISTORY, OWN_FILES, RECIPE
from hmn.containers.artifact.save import save
from hmn.containers.container import Container, container_class
from hmn.containers.shape import Shape
from hmn.data.real import Splits
from hmn.errors import Interruption, UserError
from hmn.recipes.kinds import OBJECTIVES
from hmn.recipes.settings import Dtype, Recipe
from hmn.recipes.values import completed, objective_settings
from hmn.runtime.device import choose_device
from hmn.runtime.files import leftovers, write_atomically, write_json
from hmn.runtime.launched import ProcessLost, stop_signals
from hmn.runtime.memory import keep_freed_memory, peak_memory_bytes
from hmn.runtime.processes import agreed, any_process, is_first, on_first, place
from hmn.runtime.tensor_files import load_checkpoint, save_checkpoint
from hmn.train.results import made_with

CHECKPOINT_SECONDS, CHECKPOINT_REST = 30.0, 120
"""Between two checkpoints at least so long, and so many times as long as the last one took: large containers and slow
disks then cost less than a percent of a run."""


def new_state(splits: Splits, shape: Shape, recipe: Recipe, folder: Path | None = None) -> CondenseState:
    """A fresh container and everything around it, on the accelerator where there is one; `folder` is the run's."""
    keep_freed_memory()
    real, seed, make = splits.train, recipe.seed, container_class(shape.kind)
    generator, settings = torch.Generator().manual_seed(seed), objective_settings(recipe)
    container = make(shape, class_names=real.class_names, normalisation=real.normalisation, generator=generator)
    container = container.to(choose_device())
    return CondenseState(container, real, recipe.condense, seed=seed, settings=settings, folder=folder)


def condense_run(
    splits: Splits,
    shape: Shape,
    recipe: Recipe,
    out: Path,
    *,
    resume: bool,
    force: bool,
    dtype: Dtype = "float32",
    on_progress: Callable[[CondenseRecord], None],
    checkpoint_seconds: float | None = None,
    record: Mapping[str, Any] | None = None,
    over_budget: bool = False,
) -> Path:
    """Condense `splits.train` into the folder `out`; returns it.

    Interrupted and resumed, a run ends with the same container, ledger and history, to the bit, as an unbroken one of
    as many processes. Everything that can be refused is refused before the folder is touched. Of several processes
    (hmn.runtime.processes) all call this, and the first alone uses the folder and `on_progress`.

    Args:
        splits, recipe: the data, and every setting.
        shape: the container's sizes; over their budget only with `over_budget`, to be pruned.
        out: folder, made where it is absent.
        resume, force, dtype, checkpoint_seconds: as for `hmn.condense`.
        on_progress: called after every record of the loop.
        record: more for run.json, such as where the data are found again.

    Raises:
        UserError: the container is over its budget, the run cannot be divided, the folder is in use and neither
            `resume` nor `force` is given, or it is another's, or there is nothing to resume, or the checkpoint is of
            other settings or other data, or the loss is no number any more.
        Interruption: SIGINT or SIGTERM came; a checkpoint is in the folder.
        ProcessLost: another process has ended; the last checkpoint is in the folder.
    """
    recipe = completed(recipe)

    def check() -> None:
        if not over_budget:
            shape.ledger().check()
        check_split(recipe.condense, splits.train)

    agreed(check)
    identity = identity_of(splits.train, shape, recipe, dtype)
    check_alike(identity)
    standing = on_first(lambda: examine(out, identity, resume=resume, force=force))
    if standing == "done":
        on_first(lambda: forget_experts(out))
        return out
    state = agreed(lambda: new_state(splits, shape, recipe, out))
    saved = on_first(lambda: _prepared(out, identity, resumed=standing == "go on"))
    spent, lines = TimeTaken(), 0
    if saved is not None:
        state.load_state_dict(saved["state"])
        spent, lines = TimeTaken.since(saved), saved["lines"]
    history = History(out / HISTORY, lines)
    last_good = _place(state)

    def check_finite() -> None:
        if any_process(not is_finite(state))[0]:
            raise diverged(last_good, recipe)

    def checkpoint() -> None:
        # A step after a finite loss may have led here: the checkpoint on the disk is then the last good one.
        check_finite()
        tree = {"identity": identity, "state": state.state_dict(), **spent.state_dict()}

        def write() -> None:
            history.flush()
            save_checkpoint(out / CHECKPOINT, {**tree, "lines": history.lines})

        on_first(write)

    def begin() -> None:
        (out / CONTAINER).unlink(missing_ok=True)
        write_atomically(out / RECIPE, identity["recipe"].encode())
        history.cut()

    def finish(whole: Container, processor_seconds: float) -> None:
        history.flush()
        facts = {**made_with(), "peak_memory_bytes": peak_memory_bytes(), "processes": place().size}
        facts |= {"condense_seconds": round(spent.seconds, 1), "processor_seconds": round(processor_seconds, 1)}
        write_json(out / FACTS, {**(record or {}), **facts, "identity": identity}, sort_keys=True)
        # The card tells what made the container, not when or how long: a resumed run has the same bytes.
        card = {"versions": facts["versions"]}
        save(whole.finalised(), out, recipe=recipe, data_name=splits.name, dtype=dtype, facts=card)
        (out / CHECKPOINT).unlink()
        forget_experts(out)

    with stop_signals() as stopped, _told_where(out):
        # The checkpoint comes first and the old container goes after it: killed in between, the folder is still ours.
        checkpoint()
        on_first(begin)
        last, pause = time.monotonic(), _pause(checkpoint_seconds)
        for step in condensing(state):
            if not math.isfinite(step.loss):
                raise diverged(last_good, recipe)
            # Whether a checkpoint or the next loss finds it out, the place is the same.
            last_good = _place(state)
            if is_first():
                history.add(step)
                on_progress(step)
            due = is_first() and time.monotonic() - last >= pause
            stop, due = any_process(stopped.is_set(), due)
            if stop or due:
                before = time.monotonic()
                checkpoint()
                last = time.monotonic()
                pause = _pause(checkpoint_seconds, last - before)
            if stop:
                text = f"interrupted; a checkpoint is in {out}: run the same command with --resume to go on."
                raise Interruption(text)
        check_finite()
        whole, processor_seconds = state.whole(), spent.processor_seconds()
        on_first(lambda: finish(whole, processor_seconds))
    return out


def _pause(asked: float | None, took: float = 0.0) -> float:
    """Seconds until the next checkpoint, after one that took so long."""
    return max(CHECKPOINT_SECONDS, CHECKPOINT_REST * took) if asked is None else asked


def _prepared(out: Path, identity: Mapping[str, str], *, resumed: bool) -> dict[str, Any] | None:
    """The folder made ready, and its checkpoint where that is gone on from."""
    if not resumed:
        clear(out)
        return None
    saved = load_checkpoint(out / CHECKPOINT)
    check_identity(out, saved["identity"], identity)
    for path in leftovers(out, OWN_FILES):
        path.unlink(missing_ok=True)
    return saved


@contextmanager
def _told_where(out: Path) -> Iterator[None]:
    """The loss of another process says how to go on."""
    try:
        yield
    except ProcessLost as error:
        how = f"Run the same command with --resume to go on from the last checkpoint in {out}."
        raise ProcessLost(f"{error} {how}") from error


def is_finite(state: CondenseState) -> bool:
    """Whether every value of the container is a number."""
    return all(bool(torch.isfinite(values).all()) for values in state.container.parameters())


def _place(state: CondenseState) -> str:
    """Where a run is, in words."""
    if state.sweeps_done:
        return f"after sweep {state.sweeps_done:,}"
    return f"after fitting step {state.start_steps_done:,}" if state.start_steps_done else "in the first step"


def diverged(when: str, recipe: Recipe) -> UserError:
    """What to say where values have grown beyond numbers."""
    name = recipe.condense.objective
    own = [f"--{name}.{rate.replace('_', '-')}" for rate in OBJECTIVES.load(name).rates]
    rates = ["--condense.lr", "--condense.start.lr", *own]
    return UserError(f"diverged {when}: choose a smaller learning rate ({', '.join(rates)}).")
