"""This process: its command and flags, what torchrun says of it before it joins the others, what stops it, how it ends.

Imports no torch: every start of hmn reads it.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, NoReturn

from hmn.errors import UserError

COMMAND: ContextVar[Sequence[str]] = ContextVar("COMMAND", default=())
"""Arguments of the command that runs, for the record."""
ENVIRONMENT = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun tells every process that it starts."""


class Place(NamedTuple):
    """Which of how many processes this one is."""

    rank: int
    size: int


ALONE = Place(0, 1)


class ProcessLost(ConnectionError):
    """Another process of the run has ended, or does not answer."""


def launched() -> Place:
    """What torchrun says of this process; the only one where nothing started it as one of several. Raises UserError:
    the variables are no numbers.
    """
    if any(name not in os.environ for name in ENVIRONMENT):
        return ALONE
    try:
        return Place(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    except ValueError:
        told = ", ".join(f"{name}={os.environ[name]!r}" for name in ENVIRONMENT[:2])
        raise UserError(f"{told}: expected whole numbers, as torchrun sets them; unset them to run alone.") from None


def check_alone(why: str, *, instead: str = "give the same command to hmn, without torchrun") -> None:
    """Refuse to be one of several processes. Raises UserError: torchrun started more than this one."""
    if launched().size > 1:
        raise UserError(f"{why}: {instead}.")


def check_flags(*, resume: bool, force: bool, checkpoint_seconds: float | None = None) -> None:
    """Refuse what no run and no study can be asked for, before anything is read. Raises UserError: as it says."""
    if force and resume:
        raise UserError("--force begins anew and --resume goes on: give one of them.")
    if checkpoint_seconds is not None and not checkpoint_seconds >= 0:
        raise UserError(f"--checkpoint-seconds {checkpoint_seconds}: expected 0 or more.")


def local_rank() -> int:
    """The number of this process among those of its machine."""
    text = os.environ.get("LOCAL_RANK", "")
    return int(text) if text.isdigit() and all(name in os.environ for name in ENVIRONMENT) else 0


def share_cores() -> None:
    """Let threads that wait for each other sleep soon, before torch loads the library that decides it.

    By default they spin for milliseconds. With one other busy process on two cores, 66 training steps on digits
    took 39 s that way and 3 s this way.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


@contextmanager
def handled(handler: Callable[[int], None]) -> Iterator[None]:
    """Inside, `handler` gets the number of every SIGINT and SIGTERM; nothing changes off the main thread."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before: dict[int, Any] = {number: signal.signal(number, lambda given, _: handler(given)) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """Inside, SIGINT and SIGTERM set the event; a second SIGINT is a KeyboardInterrupt at once."""
    stopped = threading.Event()

    def stop(number: int) -> None:
        if stopped.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stopped.set()

    with handled(stop):
        yield stopped


@contextmanager
def collected_signals() -> Iterator[list[int]]:
    """Inside, the numbers of SIGINT and SIGTERM are collected and otherwise ignored."""
    signals: list[int] = []
    with handled(signals.append):
        yield signals


def leave(code: int) -> NoReturn:
    """End this process, after a `ProcessLost`, without the tidying that Python and the backends do at their end.

    gloo's destructor sometimes finds a thread still reading from the process that is gone, and aborts (SIGABRT in
    5 of 50 tries), which hides the exit code.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
