"""The table of a sweep: a row a run, and, where seeds were varied, a row for each setting of everything else.

Times and machines are not in it, so that it does not tell a sweep that was broken and resumed from one that was not.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hmn.runtime.files import write_atomically
from hmn.train.results import spread

Row = dict[str, Any]
RUN_COLUMNS = ("accuracy %", "std", "networks", "images", "floats", "run", "status")
GROUP_COLUMNS = ("accuracy %", "std", "n", "networks", "images", "floats", "failed")


def groups_of(rows: Sequence[Row], *, over: str = "seed") -> list[Row]:
    """Rows put together whose values differ in one setting alone; none where that was not varied.

    The accuracy is the mean of the runs' means, std their sample standard deviation and n their number, so that n
    counts condensations; `networks` counts trainings.
    """
    if not any(over in row["values"] for row in rows):
        return []
    found: dict[str, list[Row]] = {}
    for row in rows:
        rest = {name: value for name, value in row["values"].items() if name != over}
        found.setdefault(json.dumps(rest), []).append(row)
    return [_group(members, over) for members in found.values()]


def _group(members: Sequence[Row], over: str) -> Row:
    done = [row for row in members if row["accuracy_percent"] is not None]
    means = [row["accuracy_percent"]["mean"] for row in done]
    return {
        "values": {name: value for name, value in members[0]["values"].items() if name != over},
        "n": len(done),
        "failed": len(members) - len(done),
        "networks": sum(len(row["accuracy_percent"]["values"]) for row in done),
        "images": done[0]["images"] if done else None,
        "floats": done[0]["floats"] if done else None,
        "accuracy_percent": spread(means) if means else None,
    }


def run_cells(row: Row, paths: Sequence[str]) -> list[str]:
    """A run's row in the columns of its values and `RUN_COLUMNS`."""
    count = len(row["accuracy_percent"]["values"]) if row["accuracy_percent"] else 0
    accuracy, sizes = _accuracy(row["accuracy_percent"], count), _sizes(row)
    return [*_values(row, paths), *accuracy, str(count), *sizes, row["run"], row["status"]]


def group_cells(row: Row, paths: Sequence[str]) -> list[str]:
    """A group's row in the columns of its values and `GROUP_COLUMNS`."""
    accuracy, sizes = _accuracy(row["accuracy_percent"], row["n"]), _sizes(row)
    return [*_values(row, paths), *accuracy, str(row["n"]), str(row["networks"]), *sizes, str(row["failed"])]


def _sizes(row: Row) -> list[str]:
    return ["" if row[name] is None else str(row[name]) for name in ("images", "floats")]


def _values(row: Row, paths: Sequence[str]) -> list[str]:
    return [text(row["values"][path]) for path in paths]


def _accuracy(accuracy: Mapping[str, Any] | None, count: int) -> tuple[str, str]:
    if accuracy is None:
        return "", ""
    return f"{accuracy['mean']:.2f}", f"{accuracy['std']:.2f}" if count > 1 else "-"


def parts_of(table: Mapping[str, Any]) -> dict[str, tuple[list[str], list[list[str]]]]:
    """Head and rows of the table's parts, as text: "groups", where there are some, and "runs"."""
    names = short_names(table["vary"])
    paths = list(names)
    parts = {}
    if table["groups"]:
        kept = [path for path in paths if path in table["groups"][0]["values"]]
        rows = [group_cells(row, kept) for row in table["groups"]]
        parts["groups"] = ([*(names[path] for path in kept), *GROUP_COLUMNS], rows)
    rows = [run_cells(row, paths) for row in table["runs"]]
    parts["runs"] = ([*(names[path] for path in paths), *RUN_COLUMNS], rows)
    return parts


def failures(table: Mapping[str, Any]) -> list[str]:
    """A line for every run that failed."""
    reasons = {row["run"]: row["reason"] for row in table["runs"] if row["status"] == "failed"}
    return [f"{run} failed: {reason}" for run, reason in reasons.items()]


def sweep_title(table: Mapping[str, Any]) -> str:
    """What the numbers are, in a line."""
    nets = ", ".join(dict.fromkeys(row["trained"] for row in table["runs"] if row["trained"]))
    return f"{table['data']}: {table['tested_on']} accuracy" + (f" of {nets}" if nets else "")


def sweep_markdown(table: Mapping[str, Any]) -> str:
    """The table as Markdown."""
    words = {
        "groups": "Mean and sample standard deviation over n condensations of different seeds; each counts with the "
        "mean of its networks.",
        "runs": "A row a run: mean and sample standard deviation over its networks.",
    }
    lines = [f"# {sweep_title(table)}", ""]
    for name, (head, rows) in parts_of(table).items():
        lines += [words[name], "", _line(head), _line(["---"] * len(head)), *map(_line, rows), ""]
    lines += [f"- {line}" for line in failures(table)]
    return "\n".join(lines).rstrip() + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def write_sweep(out: Path, table: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """table.json, table.md, table.csv and, where there are groups, groups.csv; times and machine into facts.json."""
    files = {"table.json": _json(table), "table.md": sweep_markdown(table), "facts.json": _json(facts)}
    for name, (head, rows) in parts_of(table).items():
        sheet = io.StringIO()
        csv.writer(sheet, lineterminator="\n").writerows([head, *rows])
        files["table.csv" if name == "runs" else "groups.csv"] = sheet.getvalue()
    for name, content in files.items():
        write_atomically(out / name, content.encode())


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


MAX_NAME = 48
"""Characters of a run's folder that tell its values."""


def product(vary: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of the values, the last setting changing fastest."""
    return [dict(zip(vary, values, strict=True)) for values in itertools.product(*vary.values())]


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """Each setting's last words, as few as tell it from the others: lr, network.lr."""
    paths = list(paths)
    found = {}
    for path in paths:
        parts = path.split(".")
        for count in range(1, len(parts) + 1):
            ending = ".".join(parts[-count:])
            if sum(f".{other}".endswith(f".{ending}") for other in paths) == 1:
                break
        found[path] = ending
    return found


def folder_name(index: int, values: Mapping[str, Any], names: Mapping[str, str], *, digits: int) -> str:
    """A run's folder: its number, then as much of its values as is short; sweep.json has all of them."""
    words = "-".join(f"{names[path]}-{text(value)}" for path, value in values.items())
    words = re.sub(r"[^A-Za-z0-9.]+", "-", words)[:MAX_NAME].strip("-.")
    return f"{index:0{digits}d}" + (f"-{words}" if words else "")


def text(value: Any) -> str:
    """A value as it is given on the command line."""
    return "none" if value is None else str(value)
