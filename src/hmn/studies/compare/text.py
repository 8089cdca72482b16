"""A comparison of methods as text: the columns of its table, Markdown, and the notes that belong to it."""

from collections.abc import Mapping, Sequence
from typing import Any

from hmn.recipes.published import Published, remark

COMPARISON_FORMAT = "hmn-comparison-1"
TEXT_COLUMNS = ("method", "container", "objective")
"""The others hold numbers."""
BUDGET, ACCURACY, SIZES = "IPC", "accuracy %", ("floats", "bytes", "images")
HEADS = ("method", BUDGET, ACCURACY, "published %", "LRS", "container", "objective", *SIZES)
"""Columns before those of --stored and of what condensing cost."""
REAL_KINDS = ("whole", "coreset", "codec")
"""Kinds of rows that are real images."""
SORTS = {"accuracy": "the higher accuracy first", "method": "in the order of --methods"}


def in_order(rows: Sequence[dict[str, Any]], sort: str) -> list[dict[str, Any]]:
    """Rows by budget, the whole training set last; within a budget by accuracy, failed ones last, or as they are."""

    def place(row: dict[str, Any]) -> tuple[float, float]:
        budget = float("inf") if row["ipc"] is None else row["ipc"]
        if sort == "method":
            return budget, 0.0
        return budget, float("inf") if row["accuracy_percent"] is None else -row["accuracy_percent"]["mean"]

    return sorted(rows, key=place)


def heads(table: Mapping[str, Any]) -> list[str]:
    """Names of the columns."""
    others = [f"{dtype} {what}" for dtype in table["stored"] for what in ("bytes", "%")]
    return [*HEADS, *others, "condensing", "processor", "peak memory"]


def cells(row: dict[str, Any], table: Mapping[str, Any]) -> list[str]:
    """A row's values in those columns."""
    made, beside = row["made"], row["published"]
    floats = _number(row["floats"])
    others = []
    for dtype in table["stored"]:
        other = row["stored"].get(dtype)
        others += ["", ""] if other is None else [_number(other["bytes"]), _mean_words(other["accuracy_percent"])]
    # In the order of `heads`.
    return [
        row["method"],
        "all" if row["ipc"] is None else str(row["ipc"]),
        _mean_words(row["accuracy_percent"]) or row["status"],
        "" if beside is None else str(Published(**beside)),
        _mean_words(row["label_robust_score"], digits=3),
        row["container"] or ("real" if row["kind"] in REAL_KINDS else ""),
        _objective_words(row),
        f"({floats})" if floats and row["kind"] == "codec" else floats,
        *(_number(row[name]) for name in ("bytes", "images")),
        *others,
        *(_time_words(made.get(name)) for name in ("condense_seconds", "processor_seconds")),
        _memory_words(made.get("peak_memory_bytes")),
    ]


def _objective_words(row: dict[str, Any]) -> str:
    """What was matched, and gradients by which distance."""
    return (row["objective"] or "") + (f" ({row['distance']})" if row["objective"] and row["distance"] else "")


def _mean_words(found: Mapping[str, Any] | None, digits: int = 1) -> str:
    """Mean and deviation; the number of networks is the same for all rows."""
    if found is None:
        return ""
    deviation = f" ± {found['std']:.{digits}f}" if len(found["values"]) > 1 else ""
    return f"{found['mean']:.{digits}f}{deviation}"


def _time_words(seconds: float | None) -> str:
    """A duration in the unit that compares best."""
    if seconds is None:
        return ""
    return f"{seconds / 60:,.1f} min" if seconds >= 60 else f"{seconds:.1f} s"


def _memory_words(num_bytes: int | None) -> str:
    """Memory in MB, powers of ten."""
    return "" if num_bytes is None else f"{num_bytes / 1e6:,.0f} MB"


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def title(table: Mapping[str, Any]) -> str:
    """What was compared, in a line."""
    budgets = dict.fromkeys(row["ipc"] for row in table["rows"] if row["ipc"] is not None)
    return f"{table['data']}: methods at {', '.join(map(str, budgets))} IPC, {table['tested_on']} accuracy"


def protocol_words(table: Mapping[str, Any]) -> str:
    """How every network was trained and tested."""
    how = table["protocol"]
    width = "" if how["width"] is None else f" of width {how['width']}"
    seeds = len(how["seeds"])
    name = "" if " steps" in how["name"] else f"protocol {how['name']}, "
    return (
        f"Every row: {seeds} {'network' if seeds == 1 else 'networks'} {how['net']}{width}, {name}"
        f"{how['train_steps']:,} optimizer steps of {how['batch_size']} images, {how['schedule']} from {how['lr']:g}, "
        f"tested after the last step on {table['test_images']:,} {table['tested_on']} images."
    )


def notes(table: Mapping[str, Any]) -> list[str]:
    """What the columns mean, where the published numbers are from, and what failed."""
    rows = table["rows"]
    found = [
        f"Rows by budget, then {SORTS[table['sorted_by']]}. Accuracy: mean ± 1 sample standard deviation, n = "
        f"{len(table['protocol']['seeds'])} networks of one set each.",
        "Two accounts: floats as the field counts them (real images: a float a value; files of a codec: bytes / 4, in "
        "brackets), and bytes as stored (containers float32, real images a byte a value, files of a codec without the "
        "headers that all share).",
        "Condensing: wall time, time of all cores together, and peak memory, as far as a run recorded them. Real "
        "images are chosen, not condensed: what that takes is in table.json, next to nothing where a choice was kept.",
        "LRS: DD-Ranking's label-robust score (arXiv:2505.13300), (e^a - 1/e) / (e - 1/e) with a = (IOR - HLR) / 2, "
        "HLR = whole less method, IOR = method less random at the same floats, of accuracies in [0, 1], seed by seed. "
        "DD-Ranking itself searches learning rates and takes the best of several tests; here every row has the one "
        "protocol.",
    ]
    if table["stored"]:
        found.append(
            f"{' and '.join(table['stored'])}: the container after the round trip through that format; for a codec, as "
            "many images as the budget's floats have bytes in it."
        )
    # Every source of published numbers once, then what is to be said of single rows.
    beside = {remark(Published(**row["published"])): row["method"] for row in rows if row["published"]}
    if beside:
        sources = "; ".join(f"{method}: {words}" for words, method in beside.items())
        found.append(f"Published: at full length with each paper's own settings, not this protocol. {sources}.")
    found += [f"{_row_name(row)}: {row['detail']}." for row in rows if row["detail"]]
    for row in rows:
        if row["status"] == "failed":
            found.append(f"{_row_name(row)} failed: {row['reason']}")
            continue
        forms = [(dtype, other["reason"]) for dtype, other in row["stored"].items() if other["reason"]]
        found += [f"{_row_name(row)} as {dtype} failed: {reason}" for dtype, reason in forms]
    return found


def _row_name(row: dict[str, Any]) -> str:
    return row["method"] if row["ipc"] is None else f"{row['method']} at {row['ipc']} IPC"


def facts_words(table: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How the table came about, as names and values."""
    facts = table["facts"]
    made_by = [(name, facts[name]) for name in ("command", "commit")]
    shown = (*made_by, *facts["versions"].items(), *facts["hardware"].items())
    return [(name, str(value)) for name, value in shown if value is not None]


def markdown(table: Mapping[str, Any]) -> str:
    """The table as GitHub's Markdown."""
    columns = heads(table)
    rule = ["---" if column in TEXT_COLUMNS else "---:" for column in columns]
    lines = [f"# {_escaped(title(table))}", "", _escaped(protocol_words(table)), "", _line(columns), _line(rule)]
    lines += [_line(cells(row, table)) for row in table["rows"]]
    lines += ["", *(f"- {_escaped(note)}" for note in notes(table)), ""]
    lines += [f"- {name}: `{value.replace('`', '')}`" for name, value in facts_words(table)]
    return "\n".join(lines) + "\n"


def _line(values: Sequence[str]) -> str:
    return "| " + " | ".join(map(_escaped, values)) + " |"


def _escaped(text: str) -> str:
    """Text that Markdown takes for nothing else; labels and paths are people's own."""
    for sign in "\\`*_<>|[]":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())
