"""Runs on this machine, each in a process of its own.

Not concurrent.futures.ProcessPoolExecutor: there a worker that is killed, as the system does where memory runs out,
breaks the whole pool and takes the other runs with it, and no public call reaches a worker with a signal. Here a
death is one run's, peak memory and threads are one run's, and `terminate` lets a run write its checkpoint.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, final

from hmn.studies.pool.attempt import Attempt, Backend, Outcome, Running, failed, read_outcome

LOG = "worker.log"
"""What a run's process prints."""
INTERRUPTED_CODE = 130
_REPEAT_SECONDS = 1.0


@final
class LocalPool(Backend):
    """At most `workers` processes at a time.

    With `preload` they are, on Linux, forks of a server that has imported these modules, and done nothing else: a run
    begins in milliseconds where importing torch takes seconds. Not for runs on an accelerator, whose drivers do not
    bear a fork. Otherwise every process imports for itself.
    """

    def __init__(self, workers: int, *, preload: Sequence[str] = ()) -> None:
        self.slots = workers
        # Fork without exec is not safe on macOS once system frameworks are loaded; Windows has none.
        forks = bool(preload) and sys.platform.startswith("linux")
        self._context: Any = multiprocessing.get_context("forkserver" if forks else "spawn")
        if forks:
            self._context.set_forkserver_preload(list(preload))

    def start(self, attempts: Sequence[Attempt]) -> list[Running]:
        """A process for each."""
        jobs: list[Running] = []
        for attempt in attempts:
            attempt.folder.mkdir(parents=True, exist_ok=True)
            process = self._context.Process(target=_work, args=(attempt,), name=attempt.run.name)
            process.start()
            jobs.append(_LocalJob(process, attempt.folder))
        return jobs


@final
class _LocalJob:
    def __init__(self, process: BaseProcess, folder: Path) -> None:
        self._process, self._folder = process, folder
        self._stopped_at = float("-inf")

    def done(self) -> bool:
        return self._process.exitcode is not None

    def outcome(self) -> Outcome:
        self._process.join()
        found = read_outcome(self._folder)
        if found is not None:
            return found
        code = self._process.exitcode or 0
        if code in (INTERRUPTED_CODE, -signal.SIGTERM):
            return Outcome(status="interrupted")
        if code == -signal.SIGKILL:
            return failed("its process was killed (SIGKILL), as the system does where memory runs out.")
        how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        return failed(f"its process {how}: see {self._folder / LOG}.")

    def stop(self) -> None:
        # Again every second: a signal that comes as a condensation ends is lost, and an evaluation would follow.
        if time.monotonic() - self._stopped_at >= _REPEAT_SECONDS:
            self._stopped_at = time.monotonic()
            self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


def _work(attempt: Attempt) -> None:
    """The whole life of a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer: it sends SIGTERM
    threading.Thread(target=_follow_parent, daemon=True).start()
    log = os.open(attempt.folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (1, 2):
        os.dup2(log, stream)
    outcome = attempt()
    sys.exit(INTERRUPTED_CODE if outcome.status == "interrupted" else 0)


def _follow_parent() -> None:
    """Once the sweep's own process is gone, even by SIGKILL: SIGTERM until this one has ended too.

    A condensation takes the first as an order to write its checkpoint; when it has, the next one ends the process.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    while True:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_REPEAT_SECONDS)
