"""A comparison of methods as one self-contained page of HTML."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

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
    shown = [place for place, name in enumerate(heads(table)) if name != BUDGET]  # each budget has a table of its own
    groups = []
    for ipc, rows in itertools.groupby(table["rows"], key=lambda row: row["ipc"]):
        with_cells = [(row, [cells(row, table)[place] for place in shown]) for row in rows]
        groups.append({"name": _budget(ipc, table), "id": f"ipc-{'all' if ipc is None else ipc}", "rows": with_cells})
    words = {"title": title(table), "protocol": protocol_words(table), "notes": notes(table)}
    columns = [heads(table)[place] for place in shown]
    looks = {"columns": columns, "text_columns": TEXT_COLUMNS, "accuracy": ACCURACY, "scale": scale_of(table["rows"])}
    return rendered("compare.html", groups=groups, facts=facts_words(table), **words, **looks)


def _budget(ipc: int | None, table: Mapping[str, Any]) -> str:
    if ipc is None:
        return f"All {table['train_images']:,} training images"
    values = ipc * table["classes"] * math.prod(table["image_shape"])
    return f"{ipc:,} IPC: a budget of {values:,} floats, {4 * values:,} bytes"
