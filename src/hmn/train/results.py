"""What is said of every result: its spread over repeats, and what it was taken with."""

import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from hmn.nets import native
from hmn.runtime import facts
from hmn.runtime.console import command_line


def deviation(values: Sequence[float]) -> float:
    """Sample standard deviation; 0 for a single value."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean, sample standard deviation and the values, one a repeat, as results write them."""
    mean, std = round(statistics.fmean(values), 4), round(deviation(values), 4)
    return {"mean": mean, "std": std, "values": [round(value, 4) for value in values]}


def made_with() -> dict[str, Any]:
    """What something was made with: command, commit, versions, machine."""
    hardware = facts.hardware(native.state())
    return {"command": command_line(), "commit": facts.commit(), "versions": facts.versions(), "hardware": hardware}


def provenance() -> dict[str, Any]:
    """What a result was taken with, and the date (UTC)."""
    return {**made_with(), "date": datetime.now(UTC).isoformat(timespec="seconds")}
