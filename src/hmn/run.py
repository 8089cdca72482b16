"""A run: one condensation in one folder, with checkpoints, signals, progress and its record."""

from __future__ import annotations

import json
import signal
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, Literal, NamedTuple

from hmn.artifact import save
from hmn.checkpoint import load_checkpoint, save_checkpoint
from hmn.condense import CondenseRecord, CondenseState, condense
from hmn.containers import Hmn
from hmn.data.real import RealData, Splits
from hmn.errors import UserError
from hmn.facts import commit, hardware, versions
from hmn.plan import HmnShape
from hmn.recipe import recipe_to_toml
from hmn.runtime import choose_device, keep_freed_memory, peak_memory_bytes, write_atomically
from hmn.settings import Recipe

CHECKPOINT, HISTORY, FACTS = "checkpoint.safetensors", "history.jsonl", "run.json"


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
    peak_memory_bytes: int


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
) -> Path:
    """Condense `splits.train` into the folder `out`; returns it.

    Interrupted and resumed, a run ends with the same container, ledger and history, to the bit, as an unbroken one.

    Raises:
        UserError: the folder is in use and neither `resume` nor `force` is given, or there is nothing to resume,
            or the checkpoint is of other settings or other data.
        Interrupted: SIGINT or SIGTERM came; a checkpoint is in the folder.
    """
    identity = {"recipe": recipe_to_toml(recipe), "shape": repr(shape), "data": fingerprint(splits.train)}
    if _prepare(out, identity, resume=resume, force=force) == "done":
        return out
    state = new_state(splits, shape, recipe)
    seconds, lines = 0.0, 0
    if (out / CHECKPOINT).exists():
        saved = load_checkpoint(out / CHECKPOINT)
        _check_identity(out, saved["identity"], identity)
        state.load_state_dict(saved["state"], recipe.condense, splits.train)
        seconds, lines = saved["seconds"], saved["lines"]
    history = _History(out / HISTORY, lines)
    began = time.monotonic() - seconds

    def checkpoint() -> None:
        history.flush()
        tree = {"identity": identity, "state": state.state_dict(), "seconds": time.monotonic() - began}
        save_checkpoint(out / CHECKPOINT, {**tree, "lines": history.lines})

    with _signals() as stopped:
        checkpoint()
        last = time.monotonic()
        for record in condense(state, splits.train, recipe.condense):
            history.add(record)
            on_progress(Progress(*record, seconds=time.monotonic() - began))
            if stopped.is_set():
                checkpoint()
                raise Interrupted(out)
            if time.monotonic() - last >= checkpoint_seconds:
                checkpoint()
                last = time.monotonic()
        history.flush()
        facts = {
            "command": command, "commit": commit(), "versions": versions(), "hardware": hardware(),
            "condense_seconds": round(time.monotonic() - began, 1), "peak_memory_bytes": peak_memory_bytes(),
        }  # fmt: skip
        write_atomically(out / FACTS, (json.dumps(facts, indent=2, sort_keys=True) + "\n").encode())
        # The card tells what made the container, not when or how long: a resumed run has the same bytes.
        final = state.container.finalised()
        assert isinstance(final, Hmn)
        save(
            final, out, recipe=recipe, data_name=splits.name, dtype=dtype,
            facts={"versions": facts["versions"]},
        )  # fmt: skip
        (out / CHECKPOINT).unlink()
    return out


def fingerprint(data: RealData) -> str:
    """A checksum of pixels and labels, to know the same data again."""
    total = zlib.crc32(data.pixels.contiguous().numpy().data, zlib.crc32(data.labels.numpy().tobytes()))
    return f"{len(data)} images, crc32 {total:08x}"


def _prepare(out: Path, identity: dict[str, str], *, resume: bool, force: bool) -> Literal["run", "done"]:
    """Make the folder ready, or say why it is not."""
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: a file is there; name a folder.")
    running, finished = (out / CHECKPOINT).exists(), (out / "container.safetensors").exists()
    if resume:
        if not running and not finished:
            raise UserError(f"{out}: nothing to resume there; run without --resume to begin.")
        if running:
            return "run"
        written = (out / "recipe.toml").read_text() if (out / "recipe.toml").exists() else ""
        _check_identity(out, {**identity, "recipe": written}, identity)
        return "done"
    if (running or finished) and not force:
        what = "an unfinished run" if running else "a finished run"
        raise UserError(f"{out} holds {what}: add --resume to go on with it, or --force to write over it.")
    if out.exists() and any(out.iterdir()) and not force:
        raise UserError(f"{out} is not empty: choose another folder, or add --force to write into it.")
    out.mkdir(parents=True, exist_ok=True)
    for name in (
        CHECKPOINT,
        HISTORY,
        FACTS,
        "container.safetensors",
        "ledger.json",
        "preview.png",
        "README.md",
    ):
        (out / name).unlink(missing_ok=True)
    write_atomically(out / "recipe.toml", identity["recipe"].encode())
    return "run"


def _check_identity(out: Path, saved: dict[str, str], wanted: dict[str, str]) -> None:
    names = {"recipe": "settings", "shape": "container sizes", "data": "data"}
    for key, name in names.items():
        if saved[key] != wanted[key]:
            raise UserError(
                f"{out} was begun with other {name} than this command gives: "
                "repeat the first command with --resume, or start anew with --force."
            )


class _History:
    """history.jsonl: a line a record, written before the checkpoint that counts them."""

    def __init__(self, path: Path, lines: int) -> None:
        self.path, self.lines = path, lines
        self.waiting: list[str] = []
        kept = path.read_text().splitlines(keepends=True)[:lines] if path.exists() and lines else []
        write_atomically(path, "".join(kept).encode())

    def add(self, record: CondenseRecord) -> None:
        self.waiting.append(json.dumps(record._asdict()) + "\n")

    def flush(self) -> None:
        with self.path.open("a") as file:
            file.writelines(self.waiting)
        self.lines += len(self.waiting)
        self.waiting.clear()


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
    """
    config = recipe.condense
    start_steps = config.start.steps if config.start.kind == "real" else 0
    few = replace(config, start=replace(config.start, steps=min(20, start_steps)), inner_steps=3, epochs=1)
    warm_up = config.network.warm_up_batches
    few = replace(few, network=replace(few.network, warm_up_batches=0))
    state = new_state(splits, shape, recipe)
    times: dict[str, list[float]] = {"start": [], "condense": []}
    last = time.perf_counter()
    for record in condense(state, splits.train, few):
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
