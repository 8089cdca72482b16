"""A run: one condensation in one folder, with checkpoints, signals, progress and its record."""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, Literal, NamedTuple

from hmn.artifact import save
from hmn.check import check_recipe
from hmn.checkpoint import load_checkpoint, save_checkpoint
from hmn.condense import CondenseState, condense
from hmn.containers import Hmn
from hmn.data.real import Splits
from hmn.errors import UserError
from hmn.facts import commit, hardware, versions
from hmn.plan import HmnShape
from hmn.run_folder import (
    CHECKPOINT,
    CONTAINER,
    FACTS,
    HISTORY,
    OWN_FILES,
    RECIPE,
    History,
    check_identity,
    clear,
    examine,
    identity_of,
)
from hmn.runtime import choose_device, keep_freed_memory, leftovers, peak_memory_bytes, write_atomically
from hmn.settings import Recipe


class Progress(NamedTuple):
    """Where a run is; `seconds` is condensing time so far, earlier attempts included."""

    phase: str
    done: int
    total: int
    loss: float
    seconds: float


class Interrupted(Exception):
    """A signal stopped the run after a checkpoint was written to `out`."""

    def __init__(self, out: Path) -> None:
        super().__init__(f"interrupted; checkpoint in {out}")
        self.out = out


class Estimate(NamedTuple):
    """Cost of a run on this machine, from a short timing."""

    seconds_per_sweep: float
    start_seconds: float
    total_seconds: float
    peak_memory_bytes: int | None


def new_state(splits: Splits, shape: HmnShape, recipe: Recipe) -> CondenseState:
    """A fresh container and everything around it, on the accelerator where there is one.

    Raises:
        UserError: the container is over its budget.
    """
    import torch

    shape.ledger().check()
    keep_freed_memory()
    train = splits.train
    container = Hmn(
        shape, class_names=train.class_names, normalisation=train.normalisation,
        generator=torch.Generator().manual_seed(recipe.seed),
    ).to(choose_device())  # fmt: skip
    return CondenseState(container, train, recipe.condense, seed=recipe.seed)


def condense_run(
    splits: Splits,
    shape: HmnShape,
    recipe: Recipe,
    out: Path,
    *,
    resume: bool,
    force: bool,
    dtype: Literal["float32", "float16", "int8"] = "float32",
    command: str,
    on_progress: Callable[[Progress], None],
    checkpoint_seconds: float = 30.0,
    record: Mapping[str, Any] | None = None,
) -> Path:
    """Condense `splits.train` into the folder `out`; returns it.

    Interrupted and resumed, a run ends with the same container, ledger and history, to the bit, as an unbroken one.
    Everything that can be refused is refused before the folder is touched.

    Args:
        splits: the data.
        shape: the container's sizes.
        recipe: every setting.
        out: folder, made where it is absent.
        resume: go on from the folder's checkpoint.
        force: write over an earlier run's files.
        dtype: how values are stored.
        command: for the record.
        on_progress: called after every record of the loop.
        checkpoint_seconds: between two checkpoints.
        record: more for run.json, such as where the data are found again.

    Raises:
        UserError: a setting is out of its range, the folder is in use and neither `resume` nor `force` is given, or it
            is another's, or there is nothing to resume, or the checkpoint is of other settings or other data, or the
            loss is no number any more.
        Interrupted: SIGINT or SIGTERM came; a checkpoint is in the folder.
    """
    train = splits.train
    check_recipe(recipe, image_shape=train.image_shape, num_classes=train.num_classes)
    identity = identity_of(train, shape, recipe, dtype)
    standing = examine(out, identity, resume=resume, force=force)
    if standing == "done":
        return out
    state = new_state(splits, shape, recipe)
    seconds, lines = 0.0, 0
    if standing == "go on":
        saved = load_checkpoint(out / CHECKPOINT)
        check_identity(out, saved["identity"], identity)
        state.load_state_dict(saved["state"], recipe.condense, train)
        seconds, lines = saved["seconds"], saved["lines"]
        for path in leftovers(out, OWN_FILES):
            path.unlink(missing_ok=True)
    else:
        clear(out)
    history = History(out / HISTORY, lines)
    began = time.monotonic() - seconds

    def checkpoint() -> None:
        # A step after a finite loss may have led here: the checkpoint on the disk is then the last good one.
        if not is_finite(state):
            raise diverged("in the step before a checkpoint")
        history.flush()
        tree = {"identity": identity, "state": state.state_dict(), "seconds": time.monotonic() - began}
        save_checkpoint(out / CHECKPOINT, {**tree, "lines": history.lines})

    with _signals() as stopped:
        # The checkpoint comes first and the old container goes after it: killed in between, the folder is still ours.
        checkpoint()
        (out / CONTAINER).unlink(missing_ok=True)
        write_atomically(out / RECIPE, identity["recipe"].encode())
        history.cut()
        last = time.monotonic()
        for step in condense(state, train, recipe.condense):
            if not math.isfinite(step.loss):
                raise diverged(f"at {'sweep' if step.phase == 'condense' else 'fitting step'} {step.done:,}")
            history.add(step)
            on_progress(Progress(*step, seconds=time.monotonic() - began))
            if stopped.is_set():
                checkpoint()
                raise Interrupted(out)
            if time.monotonic() - last >= checkpoint_seconds:
                checkpoint()
                last = time.monotonic()
        if not is_finite(state):
            raise diverged("in the last step")
        history.flush()
        facts = {
            "command": command, "commit": commit(), "versions": versions(), "hardware": hardware(),
            "condense_seconds": round(time.monotonic() - began, 1), "peak_memory_bytes": peak_memory_bytes(),
        }  # fmt: skip
        content = json.dumps({**(record or {}), **facts, "identity": identity}, indent=2, sort_keys=True)
        write_atomically(out / FACTS, (content + "\n").encode())
        # The card tells what made the container, not when or how long: a resumed run has the same bytes.
        final = state.container.finalised()
        assert isinstance(final, Hmn)
        save(
            final, out, recipe=recipe, data_name=splits.name, dtype=dtype,
            facts={"versions": facts["versions"]},
        )  # fmt: skip
        (out / CHECKPOINT).unlink()
    return out


def is_finite(state: CondenseState) -> bool:
    """Whether every value of the container is a number."""
    import torch

    return all(bool(torch.isfinite(values).all()) for values in state.container.parameters())


def diverged(when: str) -> UserError:
    """What to say where values have grown beyond numbers."""
    return UserError(f"diverged {when}: choose a smaller learning rate (--condense.lr, --condense.start.lr).")


@contextmanager
def _signals() -> Iterator[threading.Event]:
    """Inside, SIGINT and SIGTERM set the event; a second SIGINT is a KeyboardInterrupt at once."""
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        if stopped.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stopped.set()

    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield stopped
        return
    before: dict[int, Any] = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def estimate(splits: Splits, shape: HmnShape, recipe: Recipe) -> Estimate:
    """Time a few steps of the run on this machine and multiply; takes some seconds.

    The peak memory is this process's, after those steps.

    Raises:
        UserError: a setting is out of its range, or the container is over its budget.
    """
    train = splits.train
    check_recipe(recipe, image_shape=train.image_shape, num_classes=train.num_classes)
    config = recipe.condense
    start_steps = config.start.steps if config.start.kind == "real" else 0
    few = replace(config, start=replace(config.start, steps=min(20, start_steps)), inner_steps=3, epochs=1)
    warm_up = config.network.warm_up_batches
    few = replace(few, network=replace(few.network, warm_up_batches=0))
    state = new_state(splits, shape, recipe)
    times: dict[str, list[float]] = {"start": [], "condense": []}
    last = time.perf_counter()
    for record in condense(state, train, few):
        now = time.perf_counter()
        times[record.phase].append(now - last)
        last = now
    start_seconds = min(times["start"], default=0.0) * start_steps / 10
    per_sweep = min(times["condense"])
    # A warm-up batch is one batch of the update between two sweeps, whose share of a sweep is not timed apart.
    batches = config.num_sweeps * config.network.update_batches
    warm_share = warm_up * config.epochs / batches if batches else 0.0
    total = start_seconds + per_sweep * config.num_sweeps * (1 + warm_share)
    return Estimate(per_sweep, start_seconds, total, peak_memory_bytes())
