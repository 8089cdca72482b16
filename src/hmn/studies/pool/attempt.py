"""A run of a study, an attempt at it, which leaves a record in the run's folder, and what is asked of a backend."""

import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, final

from filelock import FileLock, Timeout

from hmn.errors import UserError
from hmn.runtime.files import json_object, write_json
from hmn.runtime.launched import share_cores

Task = Callable[[Any, Path], Any]
"""A module's function: gets a run's payload and the run's folder, and returns plain values that JSON holds.

Called again after it was stopped or killed, it goes on from what it left in the folder.
"""
OUTCOME = "outcome.json"
"""File in a run's folder: how its last attempt ended, by which resuming goes."""
LOCK = ".lock"
LOCK_SECONDS = 120.0
"""How long an attempt waits for an earlier one that is still writing its checkpoint."""


class Stopped(Exception):
    """A task raises it when a signal stopped it after its progress was saved: the run is neither done nor failed."""


@final
@dataclass(frozen=True, kw_only=True)
class SweepRun:
    """One of many independent runs."""

    name: str
    """Name of its folder below the sweep's."""
    payload: Any
    """What the task is called with; it travels by pickle to the process, or the machine, that works on it."""


@final
@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How an attempt at a run ended."""

    status: Literal["done", "failed", "interrupted"]
    value: Any = None
    """What the task returned, where it is done: plain values that JSON holds."""
    reason: str | None = None
    """Why it failed, in one line."""
    seconds: float = 0.0
    """Wall time of this attempt."""
    trace: str | None = None
    """Where our own code failed, rather than the settings."""


def failed(reason: str, *, trace: str | None = None) -> Outcome:
    """An attempt that ended badly, its reason put on one line."""
    return Outcome(status="failed", reason=" ".join(reason.split()), trace=trace)


def gist(error: BaseException) -> str:
    """The first line of what an error says; nothing where it says nothing."""
    return next(iter(str(error).strip().splitlines()), "")


def read_outcome(folder: Path) -> Outcome | None:
    """What the run's folder says of its last attempt; None where it says nothing that can be read."""
    try:
        return Outcome(**json_object(folder / OUTCOME))
    except TypeError:
        return None


def finished(folder: Path) -> Outcome | None:
    """The outcome of a run that is done, and None of any other."""
    found = read_outcome(folder)
    return found if found is not None and found.status == "done" else None


@final
@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A call of the task for one run, which leaves its outcome in the run's folder and returns it."""

    run: SweepRun
    task: Task
    folder: Path
    """Folder of the run; absolute, and the same on every machine that may work on it."""
    threads: int
    environment: Mapping[str, str]
    """Variables that the process is to have, wherever it runs."""

    def __call__(self) -> Outcome:
        """Do it. Only an order to end the process (SystemExit) goes through."""
        os.environ.update(self.environment)
        use_threads(self.threads)
        began = time.monotonic()
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            # The lock goes with its process, however that ends: no two attempts write into one folder.
            with FileLock(self.folder / LOCK, timeout=LOCK_SECONDS):
                if (found := finished(self.folder)) is not None:  # by the attempt that was waited for
                    return found
                outcome = replace(self._work(), seconds=round(time.monotonic() - began, 2))
                if outcome.status != "interrupted":
                    write_json(self.folder / OUTCOME, asdict(outcome))
                return outcome
        except Timeout:
            return failed(f"{self.folder}: another process has worked on it for more than {LOCK_SECONDS:.0f} s.")
        except OSError as error:
            return replace(failed(f"{type(error).__name__}: {error}"), seconds=time.monotonic() - began)

    def _work(self) -> Outcome:
        try:
            return Outcome(status="done", value=self.task(self.run.payload, self.folder))
        except (Stopped, KeyboardInterrupt):
            return Outcome(status="interrupted")
        except UserError as error:
            return failed(str(error))
        except Exception as error:
            return failed(f"{type(error).__name__}: {gist(error)}", trace=traceback.format_exc())

    def checkpoint(self) -> Any:
        """What submitit queues again where a job's time is over or its node is taken: the same call."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def use_threads(threads: int) -> None:
    """So many threads for this process, whether it has torch already or imports it later."""
    share_cores()
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


class Running(Protocol):
    """An attempt that was handed over."""

    def done(self) -> bool:
        """Whether it has ended, in whatever way; does not wait."""

    def outcome(self) -> Outcome:
        """How it ended; asked once it is done."""

    def stop(self) -> None:
        """Ask it to save its progress and end. Asked again and again until it is done."""

    def kill(self) -> None:
        """End it at once."""


def judged(job: Running, folder: Path, stopping: bool) -> Outcome:
    """How a run ended; the folder of one that was killed says so too."""
    outcome = job.outcome()
    if outcome.status == "done":
        return outcome
    if stopping:  # what it has not said itself, being stopped or killed explains
        return read_outcome(folder) or Outcome(status="interrupted")
    if outcome.status == "interrupted":
        outcome = failed("stopped by a signal from elsewhere: --resume goes on from its checkpoint.")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / OUTCOME, asdict(outcome))
    return outcome


class Backend:
    """Where attempts are made."""

    slots: int
    """Attempts that it takes at a time."""

    def start(self, attempts: Sequence[Attempt]) -> list[Running]:
        """Hand attempts over, no more than there are free slots."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of what it holds, most of them nothing; every job is done."""
