"""glibc's own memory settings, which the product changes, for what it is compared with."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # of malloc.h
_ADAPTED = 32 * 2**20  # glibc raises its mmap threshold up to this as large blocks are freed, and trims at twice that


def default_memory() -> None:
    """glibc's own settings as they stand once its thresholds have adapted to large blocks (nothing off Linux)."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in ((_MMAP_MAX, 65536), (_MMAP_THRESHOLD, _ADAPTED), (_TRIM_THRESHOLD, 2 * _ADAPTED)):
            mallopt(option, value)
