"""The loop of a sweep: hands runs to a backend, keeps their outcomes, and stops in good order."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from hmn.errors import UserError
from hmn.runtime.launched import collected_signals
from hmn.studies.pool.attempt import LOCK, OUTCOME, Attempt, Backend, Outcome, Running, SweepRun, Task, finished, judged

POLL_SECONDS = 0.1
SETTINGS_PREFIX = "HMN_"
"""Variables that go to every worker."""


class State(NamedTuple):
    """Where a sweep is."""

    done: int
    """Runs that have ended, failed ones and those of earlier attempts included."""
    total: int
    running: tuple[str, ...]
    ended: tuple[tuple[str, Outcome], ...] = ()
    """Runs that ended since the last call, with their outcomes."""
    stopping: bool = False
    """Whether a signal has come."""


class SweepInterrupted(Exception):
    """A signal stopped the sweep; every run that was on its way has saved its progress or was killed."""

    def __init__(self, outcomes: dict[str, Outcome]) -> None:
        super().__init__("the sweep was interrupted")
        self.outcomes = outcomes


def run_sweep(
    runs: Sequence[SweepRun],
    task: Task,
    out: Path,
    *,
    backend: Backend,
    threads: int,
    on_change: Callable[[State], None] = lambda state: None,
) -> dict[str, Outcome]:
    """Every run's outcome by name, in the order of `runs`; what an earlier sweep in `out` has done is not repeated.

    Each run works in its own folder `out/<name>`, and leaves outcome.json there. A run that fails stops no other.

    Args:
        runs: independent of each other.
        task: a function of a module, which the backend's processes can import.
        out: the sweep's folder, which all machines that work must see.
        backend: where runs work; closed at the end.
        threads: of each run.
        on_change: called about ten times a second.

    Raises:
        UserError: another sweep works in the folder, or two runs have one name.
        SweepInterrupted: SIGINT or SIGTERM came. A second signal kills what has not ended by then.
    """
    if len({run.name for run in runs}) < len(runs):
        raise UserError("two runs of a sweep have the same name: each needs a folder of its own.")
    out = out.resolve()
    try:
        with alone(out):
            outcomes = _work_off(runs, task, out, backend, threads, on_change)
    finally:
        backend.close()
    return {run.name: outcomes[run.name] for run in runs}


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Inside, no other sweep works in the folder, which is made where it is absent. Raises UserError: one does."""
    out.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(out / LOCK).acquire(timeout=0)
    except Timeout:
        raise UserError(f"{out}: another sweep works there; wait for its end, or choose another folder.") from None
    with lock:
        yield


def _work_off(
    runs: Sequence[SweepRun], task: Task, out: Path, backend: Backend, threads: int, on_change: Callable[[State], None]
) -> dict[str, Outcome]:
    environment = {name: value for name, value in os.environ.items() if name.startswith(SETTINGS_PREFIX)}
    how: dict[str, Any] = {"task": task, "threads": threads, "environment": environment}
    outcomes = {run.name: found for run in runs if (found := finished(out / run.name)) is not None}
    waiting = deque(run for run in runs if run.name not in outcomes)
    jobs: dict[str, Running] = {}
    on_change(State(len(outcomes), len(runs), ()))
    try:
        with collected_signals() as signals:
            while jobs or (waiting and not signals):
                batch = [waiting.popleft() for _ in range(min(len(waiting), backend.slots - len(jobs)))]
                if batch and not signals:
                    for run in batch:  # an earlier failure must not be taken for this attempt's
                        (out / run.name / OUTCOME).unlink(missing_ok=True)
                    attempts = [Attempt(run=run, folder=out / run.name, **how) for run in batch]
                    jobs.update(zip((run.name for run in batch), backend.start(attempts), strict=True))
                for job in jobs.values() if signals else ():
                    job.kill() if len(signals) > 1 else job.stop()
                over = [name for name, job in jobs.items() if job.done()]
                ended = tuple((name, judged(jobs.pop(name), out / name, bool(signals))) for name in over)
                outcomes.update(ended)
                on_change(State(_num_ended(outcomes), len(runs), tuple(jobs), ended, stopping=bool(signals)))
                if jobs or waiting:  # a signal that came by the end is told, not slept through
                    time.sleep(POLL_SECONDS)
    finally:  # where our own code failed, too, nothing goes on behind the caller's back
        for job in jobs.values():
            job.stop()
    if _num_ended(outcomes) < len(runs):
        raise SweepInterrupted(outcomes)
    return outcomes


def _num_ended(outcomes: Mapping[str, Outcome]) -> int:
    return sum(outcome.status != "interrupted" for outcome in outcomes.values())
