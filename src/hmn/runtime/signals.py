"""Signals that stop long work: asked for between two steps, and at once where they come again."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


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
