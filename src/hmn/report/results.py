"""Reading what runs left: evaluations, pruning studies, timings and histories. Every file is checked before use."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hmn.errors import UserError
from hmn.studies.compare.text import COMPARISON_FORMAT
from hmn.train.results import deviation

STUDY, TIMING, COMPARISON = "pruning-study", "generation-time", "comparison"
"""Kinds of results besides evaluations: the first two say theirs, a comparison has its format."""


class Spread(NamedTuple):
    """A mean in per cent with its sample standard deviation and the number of values."""

    mean: float
    std: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.1f}{f' ± {self.std:.1f}' if self.n > 1 else ''} (n = {self.n})"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        UserError: no such file, or it holds something else.
    """
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
    """pruning-study, generation-time, comparison, evaluation, or None for anything else."""
    kind = result.get("kind")
    if result.get("format") == COMPARISON_FORMAT:
        return COMPARISON
    if kind in (STUDY, TIMING):
        return str(kind)
    return "evaluation" if kind is None and "accuracy_percent" in result and "method" in result else None


def read_result(path: Path, kind: str) -> dict[str, Any]:
    """A result of a kind: evaluation, pruning-study, generation-time or comparison.

    Raises:
        UserError: it cannot be read, or is another kind of file, or damaged.
    """
    made_by = {
        "evaluation": "hmn evaluate --out",
        STUDY: "hmn prune --study",
        TIMING: "benchmarks/bench_generate.py --out",
        COMPARISON: "hmn compare (table.json)",
    }
    found = read_json(path)
    if kind_of(found) != kind:
        raise UserError(f"{path}: not a result of this kind; expected a file of `{made_by[kind]}`.")
    # Each kind is asked for what figures and pages take from it.
    try:
        if kind == "evaluation":
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
        raise UserError(
            f"{path}: damaged, or of another version: {type(error).__name__} {error}; write it anew with "
            f"`{made_by[kind]}`."
        ) from None
    return found


def rows_of(evaluation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What was trained on in an evaluation: the target, then what it was compared with."""
    return [evaluation, *evaluation.get("against", [])]


def spread_of(accuracy: Mapping[str, Any]) -> Spread:
    """Mean, deviation and number of the values under "values", which decide.

    Raises:
        ValueError: there are none, or one is no number.
    """
    values = [float(value) for value in accuracy["values"]]
    if not values or not all(math.isfinite(value) for value in values):
        raise ValueError(f"accuracies {values}")
    return Spread(statistics.fmean(values), deviation(values), len(values))


def scale_of(rows: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """One scale for the accuracies of rows, in per cent: 0 to 100 where there are none."""
    values = [value for row in rows if row["accuracy_percent"] for value in row["accuracy_percent"]["values"]]
    if not values:
        return 0.0, 100.0
    return max(0.0, math.floor(min(values)) - 1.0), min(100.0, math.ceil(max(values)) + 1.0)


def per_class(counts: int | Sequence[int]) -> str:
    """Images per class in words: one number, or the range of several."""
    if isinstance(counts, int):
        return f"{counts:,}"
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def same_n(spreads: Sequence[Spread]) -> str:
    """How often everything in a figure was measured: "n = 3", or "n = 1 to 3"."""
    counts = sorted({spread.n for spread in spreads})
    return f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}"


def means_words(spreads: Sequence[Spread], unit: str = "") -> str:
    """What points and bars mean: "mean ± 1 sd, n = 3", or no sd where nothing was measured twice."""
    spread = " ± 1 sd" if any(item.n > 1 for item in spreads) else ""
    return f"mean{spread}, {same_n(spreads)}{f' {unit}' if unit else ''}"
