"""A comparison of methods as one self-contained page of HTML."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

from hmn.report.chart import strip
from hmn.report.html import rendered
from hmn.report.results import scale_of
from hmn.studies.compare.text import (
    ACCURACY,
    BUDGET,
    TEXT_COLUMNS,
    cells,
    facts_words,
    heads,
    notes,
    protocol_words,
    title,
)


def comparison_page(table: Mapping[str, Any]) -> str:
    """The page's text. It runs no script and fetches nothing."""
    names = [name for name in heads(table) if name != BUDGET]  # each budget has a table of its own
    scale = scale_of([row["accuracy_percent"] for row in table["rows"] if row["accuracy_percent"]])
    groups = [
        {
            "name": _budget(ipc, table),
            "id": f"ipc-{'all' if ipc is None else ipc}",
            "rows": [_row(row, table, scale) for row in rows],
        }
        for ipc, rows in itertools.groupby(table["rows"], key=lambda row: row["ipc"])
    ]
    low, high = (f"{end:.0f}" for end in scale)
    return rendered(
        "compare.html",
        title=title(table),
        protocol=protocol_words(table),
        columns=[{"name": name, "look": "" if name in TEXT_COLUMNS else "n"} for name in names],
        groups=groups,
        notes=notes(table),
        facts=facts_words(table),
        accuracy=ACCURACY,
        low=low,
        high=high,
    )


def _budget(ipc: int | None, table: Mapping[str, Any]) -> str:
    if ipc is None:
        return f"All {table['train_images']:,} training images"
    values = ipc * table["classes"] * math.prod(table["image_shape"])
    return f"{ipc:,} IPC: a budget of {values:,} floats, {4 * values:,} bytes"


def _row(row: dict[str, Any], table: Mapping[str, Any], scale: tuple[float, float]) -> dict[str, Any]:
    accuracy = row["accuracy_percent"]
    shown = [cell for name, cell in zip(heads(table), cells(row, table), strict=True) if name != BUDGET]
    dots = strip(accuracy["values"], *scale) if accuracy else ""
    return {"cells": shown, "failed": row["status"] == "failed", "strip": dots}
