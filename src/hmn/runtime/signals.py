"""Signals that stop long work: asked for between two steps, and at once where they come again."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, final


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
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


@final
class _Signals:
    """How many signals have come."""

    def __init__(self) -> None:
        self.count = 0


@contextmanager
def _signals() -> Iterator[_Signals]:
    """Inside, SIGINT and SIGTERM are counted and otherwise ignored."""
    signals = _Signals()

    def count(number: int, frame: FrameType | None) -> None:
        signals.count += 1

    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield signals
        return
    before: dict[int, Any] = {number: signal.signal(number, count) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
