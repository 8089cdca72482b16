"""One attempt at a run, the same on every backend, and what is asked of a backend: a process pool, Ray, Slurm."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, final

from filelock import FileLock, Timeout

from hmn.errors import UserError
from hmn.runtime.memory import share_cores
from hmn.studies.pool.outcome import Outcome, Stopped, SweepRun, failed, read_outcome, write_outcome

Task = Callable[[Any, Path], Any]
"""A module's function: gets a run's payload and the run's folder, and returns plain values that JSON holds.

Called again after it was stopped or killed, it goes on from what it left in the folder.
"""
LOCK = ".lock"
LOCK_SECONDS = 120.0
"""How long an attempt waits for an earlier one that is still writing its checkpoint."""


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
                found = read_outcome(self.folder)
                if found is not None and found.status == "done":  # by the attempt that was waited for
                    return found
                outcome = self._work(began)
                if outcome.status != "interrupted":
                    write_outcome(self.folder, outcome)
                return outcome
        except Timeout:
            return failed(f"{self.folder}: another process has worked on it for more than {LOCK_SECONDS:.0f} s.")
        except OSError as error:
            return failed(f"{type(error).__name__}: {error}", seconds=time.monotonic() - began)

    def _work(self, began: float) -> Outcome:
        try:
            value = self.task(self.run.payload, self.folder)
        except (Stopped, KeyboardInterrupt):
            return Outcome(status="interrupted", seconds=_since(began))
        except UserError as error:
            return failed(str(error), seconds=_since(began))
        except Exception as error:
            words = str(error).strip().splitlines() or [""]
            reason = f"{type(error).__name__}: {words[0]}"
            return failed(reason, seconds=_since(began), trace=traceback.format_exc())
        return Outcome(status="done", value=value, seconds=_since(began))

    def checkpoint(self) -> Any:
        """What submitit queues again where a job's time is over or its node is taken: the same call."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _since(began: float) -> float:
    return round(time.monotonic() - began, 2)


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


class Backend(Protocol):
    """Where attempts are made."""

    @property
    def slots(self) -> int:
        """Attempts that it takes at a time."""

    def start(self, attempts: Sequence[Attempt]) -> list[Running]:
        """Hand attempts over, no more than there are free slots."""

    def close(self) -> None:
        """Let go of what it holds; every job is done."""
