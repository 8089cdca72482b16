"""A comparison of methods as one self-contained page of HTML."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from hmn.report.chart import strip
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

TEMPLATES = Path(__file__).parent / "templates"


def page(table: Mapping[str, Any]) -> str:
    """The page's text. It runs no script and fetches nothing."""
    environment = Environment(
        loader=PackageLoader("hmn.report", "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    names = [name for name in heads(table) if name != BUDGET]  # each budget has a table of its own
    columns = [{"name": name, "look": "" if name in TEXT_COLUMNS else "n"} for name in names]
    low, high = _scale(table)
    groups = [
        {"name": _budget(ipc, table), "id": f"ipc-{'all' if ipc is None else ipc}",
         "rows": [_row(row, table, low, high) for row in rows]}
        for ipc, rows in itertools.groupby(table["rows"], key=lambda row: row["ipc"])
    ]  # fmt: skip
    return environment.get_template("compare.html").render(
        title=title(table), protocol=protocol_words(table), columns=columns, groups=groups, notes=notes(table),
        facts=facts_words(table), accuracy=ACCURACY, low=f"{low:.0f}", high=f"{high:.0f}",
        style=(TEMPLATES / "page.css").read_text(encoding="utf-8"), date=datetime.now(UTC).strftime("%Y-%m-%d"),
    )  # fmt: skip


def _scale(table: Mapping[str, Any]) -> tuple[float, float]:
    """One scale for all dots of the page, in per cent."""
    values = [value for row in table["rows"] if row["accuracy_percent"] for value in row["accuracy_percent"]["values"]]
    if not values:
        return 0.0, 100.0
    return max(0.0, math.floor(min(values)) - 1.0), min(100.0, math.ceil(max(values)) + 1.0)


def _budget(ipc: int | None, table: Mapping[str, Any]) -> str:
    if ipc is None:
        return f"All {table['train_images']:,} training images"
    values = ipc * table["classes"] * math.prod(table["image_shape"])
    return f"{ipc:,} IPC: a budget of {values:,} floats, {4 * values:,} bytes"


def _row(row: dict[str, Any], table: Mapping[str, Any], low: float, high: float) -> dict[str, Any]:
    accuracy = row["accuracy_percent"]
    shown = [cell for name, cell in zip(heads(table), cells(row, table), strict=True) if name != BUDGET]
    return {
        "cells": shown, "failed": row["status"] == "failed",
        "strip": strip(accuracy["values"], low, high) if accuracy else "",
    }  # fmt: skip
