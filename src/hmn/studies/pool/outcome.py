"""A run of a sweep, and what became of it: the record in the run's folder that resuming goes by."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, final

from hmn.runtime.files import write_atomically

OUTCOME = "outcome.json"
"""File in a run's folder: how its last attempt ended."""
Status = Literal["done", "failed", "interrupted"]


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

    status: Status
    value: Any = None
    """What the task returned, where it is done: plain values that JSON holds."""
    reason: str | None = None
    """Why it failed, in one line."""
    seconds: float = 0.0
    """Wall time of this attempt."""
    trace: str | None = None
    """Where our own code failed, rather than the settings."""


def failed(reason: str, *, seconds: float = 0.0, trace: str | None = None) -> Outcome:
    """An attempt that ended badly, its reason put on one line."""
    return Outcome(status="failed", reason=" ".join(reason.split()), seconds=seconds, trace=trace)


def read_outcome(folder: Path) -> Outcome | None:
    """What the run's folder says of its last attempt; None where it says nothing that can be read."""
    try:
        return Outcome(**json.loads((folder / OUTCOME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_outcome(folder: Path, outcome: Outcome) -> None:
    """Keep how an attempt ended, whole or not at all."""
    text = json.dumps(asdict(outcome), indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(folder / OUTCOME, (text + "\n").encode())
