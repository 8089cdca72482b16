"""Memory of this process as the system counts it: resident now, the peak since a moment, and what can be given back."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path

from hmn.runtime import peak_memory_bytes

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident_bytes() -> int | None:
    """What this process holds in memory now; None where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def begin_peak() -> bool:
    """Give freed memory back to the system and begin a new peak; False where only one peak a process is kept."""
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):  # musl gives back by itself
            ctypes.CDLL(None).malloc_trim(0)
    try:
        _CLEAR.write_text("5")
    except OSError:
        return False
    return True


def peak_bytes() -> int | None:
    """The largest resident size since `begin_peak`, or of the whole process where no peak could be begun."""
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except (OSError, IndexError, ValueError):
        pass
    return peak_memory_bytes()
