"""Reading results and histories: every file is checked before use. What a figure or a page says of their numbers."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hmn.containers.artifact.place import HISTORY
from hmn.errors import UserError
from hmn.pruning.survivors import METHODS
from hmn.studies.compare.text import COMPARISON_FORMAT
from hmn.train.results import deviation

EVALUATION, STUDY, TIMING, COMPARISON = "evaluation", "pruning-study", "generation-time", "comparison"
"""Kinds of results: studies and timings say theirs, a comparison has its format, an evaluation its accuracy."""
MADE_BY = {
    EVALUATION: "hmn evaluate --out",
    STUDY: "hmn prune --study",
    TIMING: "benchmarks/bench_generate.py --out",
    COMPARISON: "hmn compare (table.json)",
}
PHASE_AXES = {
    "experts": ("Training of experts", "Epoch of any of them", "Cross-entropy"),
    "start": ("Fitting to real images", "Reconstruction step", "Squared error per pixel"),
    "condense": ("Condensation", "Sweep over all classes", "Matching loss"),
}
MAX_POINTS = 200
"""Drawn per line: more records are put together, with the range that they span."""


class Spread(NamedTuple):
    """A mean in per cent with its sample standard deviation and the number of values."""

    mean: float
    std: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.1f}{f' ± {self.std:.1f}' if self.n > 1 else ''} (n = {self.n})"

    def band(self, x: float) -> tuple[float, float, float, float]:
        """A point of a line at x, with the ends of the band of one deviation around it."""
        return x, self.mean, self.mean - self.std, self.mean + self.std


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises UserError: no such file, or it holds something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a JSON file that can be read ({error}).") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: holds a {type(found).__name__}, expected the JSON object of a result.")
    return found


def kind_of(result: Mapping[str, Any]) -> str | None:
    """One of the kinds above, or None for anything else."""
    kind = result.get("kind")
    if result.get("format") == COMPARISON_FORMAT:
        return COMPARISON
    if kind in (STUDY, TIMING):
        return str(kind)
    return EVALUATION if kind is None and "accuracy_percent" in result and "method" in result else None


def read_result(path: Path, kind: str) -> dict[str, Any]:
    """A result of a kind. Raises UserError: it cannot be read, or is another kind of file, or damaged."""
    found = read_json(path)
    if kind_of(found) != kind:
        raise UserError(f"{path}: not a result of this kind; expected a file of `{MADE_BY[kind]}`.")
    # Each kind is asked for what figures and pages take from it.
    try:
        if kind == EVALUATION:
            for row in rows_of(found):
                spread_of(row["accuracy_percent"]), str(row["method"]), int(row["train_steps"])
            str(found["data"]), int(found["ipc"])
        elif kind == COMPARISON:
            for row in found["rows"]:
                str(row["method"]), str(row["kind"]), row["ipc"]
                for one in (row, *row["stored"].values()):
                    if one["accuracy_percent"] is not None:
                        int(one["bytes"]), int(one["images"]), spread_of(one["accuracy_percent"])
        else:
            for row in found["rows"]:
                spread_of(row) if kind == STUDY else [float(value) for value in row["seconds"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        damage = f"damaged, or of another version: {type(error).__name__} {error}"
        raise UserError(f"{path}: {damage}; write it anew with `{MADE_BY[kind]}`.") from None
    return found


def rows_of(evaluation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What was trained on in an evaluation: the target, then what it was compared with."""
    return [evaluation, *evaluation.get("against", [])]


def spread_of(accuracy: Mapping[str, Any]) -> Spread:
    """Mean, deviation and number of the values under "values", which decide. Raises ValueError: there are none, or one
    is no number.
    """
    values = [float(value) for value in accuracy["values"]]
    if not values or not all(math.isfinite(value) for value in values):
        raise ValueError(f"accuracies {values}")
    return Spread(statistics.fmean(values), deviation(values), len(values))


def study_lines(study: Mapping[str, Any]) -> dict[str, list[tuple[float, Spread]]]:
    """By method of a pruning study that has any: rates in per cent, rising, and accuracies; unpruned images at 0."""
    found = [(row["method"], 100 * row["rate"], spread_of(row)) for row in study["rows"]]
    unpruned = [(0.0, spread) for method, _, spread in found if method == "unpruned"]
    lines: dict[str, list[tuple[float, Spread]]] = {}
    for name in METHODS:
        if points := sorted((rate, spread) for method, rate, spread in found if method == name):
            lines[name] = [*(unpruned if points[0][0] > 0 else []), *points]
    return lines


def span(counts: int | Sequence[int]) -> str:
    """Counts in words: one number, or the range of several."""
    low, high = (counts, counts) if isinstance(counts, int) else (min(counts), max(counts))
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def same_n(spreads: Sequence[Spread]) -> str:
    """How often everything in a figure was measured: "n = 3", or "n = 1 to 3"."""
    return f"n = {span([spread.n for spread in spreads])}"


def means_words(spreads: Sequence[Spread]) -> str:
    """What points and bars mean: "mean ± 1 sd, n = 3 trainings", or no sd where nothing was measured twice."""
    spread = " ± 1 sd" if any(item.n > 1 for item in spreads) else ""
    return f"mean{spread}, {same_n(spreads)} trainings"


def read_history(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Steps done and loss of every record of a run, by phase: "start" (reconstruction), "condense" (matching). Raises
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
