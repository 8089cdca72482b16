"""The history of a run: its records by phase, and many of them put together for a line that can be drawn."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from hmn.containers.artifact.place import HISTORY
from hmn.errors import UserError

PHASE_AXES = {
    "experts": ("Training of experts", "Epoch of any of them", "Cross-entropy"),
    "start": ("Fitting to real images", "Reconstruction step", "Squared error per pixel"),
    "condense": ("Condensation", "Sweep over all classes", "Matching loss"),
}
MAX_POINTS = 200
"""Drawn per line: more records are put together, with the range that they span."""


def read_history(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Steps done and loss of every record of a run, by phase: "start" (reconstruction), "condense" (matching).

    Raises:
        UserError: there is no history, or it is damaged.
    """
    path = run / HISTORY
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}): expected a folder of a run.") from None
    # A line that is no record is damage: a figure of the others would not say so.
    found: dict[str, list[tuple[int, float]]] = {}
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            point = (int(record["done"]), float(record["loss"]))
            found.setdefault(str(record["phase"]), []).append(point)
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{path}: line {number} is no record of a run: the file is damaged.") from None
    if not found:
        raise UserError(f"{path}: holds no records: the run has only just begun.")
    return found


def binned(points: Sequence[tuple[int, float]], limit: int = MAX_POINTS) -> list[tuple[float, float, float, float]]:
    """Records put together, at most `limit` groups of neighbours: mean step; median, 5th and 95th percentile of losses.

    Args:
        points: step and loss, by step.
        limit: groups at most.
    """
    size = -(-len(points) // limit)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    steps = [statistics.fmean(step for step, _ in group) for group in groups]
    return [(step, *_percentiles([loss for _, loss in group])) for step, group in zip(steps, groups, strict=True)]


def _percentiles(values: list[float]) -> tuple[float, float, float]:
    """Median, 5th and 95th percentile, linear between neighbours."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    cuts = statistics.quantiles(values, n=20, method="inclusive")
    return statistics.median(values), cuts[0], cuts[-1]
