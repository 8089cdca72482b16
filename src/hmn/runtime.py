"""What a run needs from the machine: files that are whole or absent, memory that is kept, signals that are heard."""

from __future__ import annotations

import ctypes
import os
import re
import secrets
import signal
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

_TEMPORARY = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.tmp")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash, finds either the old content or all of the new.

    Raises:
        OSError: the folder is absent, read-only or full; the old file is untouched.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        # Not tempfile: its files are private to the user, these follow the umask as any other output does.
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        # A full disk names no file, and opening names the temporary one.
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def leftovers(folder: Path, names: Collection[str]) -> list[Path]:
    """Temporary files of `write_atomically` for files of these names, left by a process that was killed."""
    found = (_TEMPORARY.fullmatch(path.name) for path in folder.iterdir())
    return sorted(folder / match[0] for match in found if match and match["name"] in names)


def keep_freed_memory() -> bool:
    """Ask glibc to keep freed memory in the process; True where that took effect.

    Large activations are otherwise mapped and unmapped at every step, at the price of a page fault for each 4 KiB:
    generating 2,780 images took 0.044 s in place of 0.098 s (docs/log.md).
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has no mallopt
        return False
    mmap_max, trim_threshold = -4, -1  # M_MMAP_MAX, M_TRIM_THRESHOLD of malloc.h
    return bool(mallopt(mmap_max, 0)) and bool(mallopt(trim_threshold, 2**31 - 1))


def share_cores() -> None:
    """Let threads that wait for each other sleep soon, before torch loads the library that decides it.

    By default they spin for milliseconds. With one other busy process on two cores, 66 training steps on digits
    took 39 s that way and 3 s this way.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def peak_memory_bytes() -> int | None:
    """The largest resident size of this process so far; None on Windows, which does not tell it this way."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


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
