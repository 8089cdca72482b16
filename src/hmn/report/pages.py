"""Runs, and a comparison of methods, as self-contained pages of HTML: templates beside this file, filled in."""

import base64
import hashlib
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader

from hmn.containers.artifact.format import ArtifactInfo
from hmn.containers.shape import bytes_of
from hmn.report.chart import Line, line_chart, pruning_chart, scale_of, strip
from hmn.report.gallery import Sheet, script_data, sheets
from hmn.report.gather import RunFacts, assign, gather_run
from hmn.report.results import PHASE_AXES, binned, rows_of, span, spread_of
from hmn.runtime.files import write_output
from hmn.studies.compare import text

UNUSED_FLOATS = "unused"
_TEMPLATES = Path(__file__).parent / "templates"
_FILTERS: dict[str, Any] = {
    "number": "{:,}".format,
    "per_class": span,
    "pruning_chart": pruning_chart,
    "rows": rows_of,
    "scale": scale_of,
    "spread": spread_of,
    "strip": strip,
}


class Page(NamedTuple):
    """What was written."""

    num_bytes: int
    images: int
    shown: int
    notes: list[str]


def write_report(runs: Sequence[Path], out: Path, *, results: Sequence[Path] = (), title: str | None = None) -> Page:
    """Write a page about runs.

    Args:
        runs: folders of finished condensations.
        out: the file, replaced where it is there.
        results: evaluations and pruning studies that do not lie in the folders.
        title: of the page.

    Raises:
        UserError: a folder or a result cannot be read, results are of other containers, or the file cannot be written.
    """
    found = [gather_run(run) for run in runs]
    assign(found, results)
    notes: list[str] = []
    views, scripts, shown = [], [], 0
    for position, (run, (sprites, chosen)) in enumerate(zip(found, sheets(found), strict=True)):
        count = sum(map(len, chosen))
        shown += count
        notes += _notes(run, sprites, count)
        views.append(_view(run, f"run{position}", sprites, count))
        scripts.append(script_data(run, sprites, chosen))
    # Nothing is written before all of it is there. The page's policy lets run its own script and nothing else.
    script = "\n".join(_template_text(name) for name in ("prune.js", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    title = title or f"{', '.join(dict.fromkeys(run.info.data_name for run in found))}, condensed"
    values = {"title": title, "views": views, "data": {"runs": scripts}, "script": script, "digest": digest}
    content = rendered("page.html", **values).encode()
    write_output(out, content)
    return Page(len(content), sum(len(run.labels) for run in found), shown, notes)


def rendered(template: str, **values: Any) -> str:
    """A page's text from its template and the values in it, with the style of all pages and today's date."""
    loader = PackageLoader("hmn.report", _TEMPLATES.name)
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(_FILTERS)
    date = datetime.now(UTC).strftime("%Y-%m-%d")
    return environment.get_template(template).render(style=_template_text("page.css"), date=date, **values)


def _template_text(name: str) -> str:
    """A file of the templates as it is."""
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _notes(run: RunFacts, sprites: Sheet, shown: int) -> list[str]:
    notes = []
    if run.profile is None:
        notes.append(f"{run.path}: no AUM there, so its images cannot be sorted; write it with: hmn profile {run.path}")
    if shown < len(run.labels):
        notes.append(f"{run.path}: {shown:,} of {len(run.labels):,} images are shown.")
    if sprites.quality is not None:
        notes.append(f"{run.path}: its images are shown as WebP of quality {sprites.quality}, to keep the page small.")
    return notes + [f"{file}: does not say which container it is of; taken for {run.path}." for file in run.unkeyed]


def _view(run: RunFacts, name: str, sprites: Sheet, shown: int) -> dict[str, Any]:
    """What the template shows of a run beside what is read of it."""
    ledger = run.info.ledger
    floats = [(part.name, part.num_floats) for part in ledger.parts]
    if (left := ledger.budget - ledger.num_floats) > 0:
        floats.append((UNUSED_FLOATS, left))
    return {
        "id": name,
        "run": run,
        "load": json.dumps(str(run.path), ensure_ascii=False),
        "counts": run.labels.bincount(minlength=len(run.info.class_names)).tolist(),
        "bars": {"floats": _shares(floats), "bytes": _shares(byte_parts(run.info))},
        "charts": _history_charts(run),
        "shown": shown,
        "quality": sprites.quality,
        "made": _made(run),
    }


def byte_parts(stored: ArtifactInfo) -> list[tuple[str, int]]:
    """Where a file's bytes go: the parts of the container, the scales of small numbers, and the header."""
    parts = [(part.name, bytes_of(part.stored_floats, stored.dtype)) for part in stored.ledger.parts]
    scales = stored.value_bytes - sum(size for _, size in parts)
    header = stored.file_bytes - stored.value_bytes
    return [(name, size) for name, size in [*parts, ("scales", scales), ("header", header)] if size > 0]


def _shares(parts: list[tuple[str, int]]) -> list[dict[str, Any]]:
    total = sum(size for _, size in parts)
    looks = ["rest" if name == UNUSED_FLOATS else f"b{place}" for place, (name, _) in enumerate(parts)]
    named = zip(parts, looks, strict=True)
    return [{"name": name, "size": size, "share": 100 * size / total, "look": look} for (name, size), look in named]


def _history_charts(run: RunFacts) -> list[dict[str, Any]]:
    charts = []
    for phase, (title, x_label, y_label) in PHASE_AXES.items():
        points = run.history.get(phase, [])
        if len(points) > 1:
            first, last = (f"{points[at][1]:.4g}" for at in (0, -1))
            label = f"{title}: {y_label.lower()} over {len(points):,} records, from {first} to {last}"
            svg = line_chart([Line(title, binned(points))], title=label, x_label=x_label, y_label=y_label, log_y=True)
            charts.append({"title": title, "records": len(points), "last": last, "svg": svg})
    return charts


def _made(run: RunFacts) -> list[tuple[str, str]]:
    """Names and values of how a run was made."""
    facts = run.facts
    pairs: list[tuple[str, Any]] = [(name, facts.get(name)) for name in ("recipe", "command", "commit")]
    pairs.append(("condensed from", facts.get("condensed_from")))
    pairs.append(("condensing", f"{facts['condense_seconds']:,.0f} s" if "condense_seconds" in facts else None))
    pairs += [("processes", facts.get("processes")), ("container's SHA-256", run.info.checksum)]
    pairs += [pair for part in ("versions", "hardware") for pair in (facts.get(part) or {}).items()]
    if run.pruning is not None:
        source = run.pruning.get("from") or {}
        words = f"{run.pruning.get('method')}, beta {run.pruning.get('beta')}, from {source.get('folder')}"
        pairs.insert(0, ("pruned", words))
    return [(name, str(value)) for name, value in pairs if value is not None]


def comparison_page(table: Mapping[str, Any]) -> str:
    """The page of a comparison of methods. It runs no script and fetches nothing."""
    heads = text.heads(table)
    shown = [place for place, name in enumerate(heads) if name != text.BUDGET]  # each budget has a table of its own
    groups = []
    for ipc, rows in itertools.groupby(table["rows"], key=lambda row: row["ipc"]):
        with_cells = [(row, [text.cells(row, table)[place] for place in shown]) for row in rows]
        groups.append({"name": _budget(ipc, table), "id": f"ipc-{'all' if ipc is None else ipc}", "rows": with_cells})
    return rendered(
        "compare.html",
        title=text.title(table),
        protocol=text.protocol_words(table),
        groups=groups,
        columns=[heads[place] for place in shown],
        text_columns=text.TEXT_COLUMNS,
        accuracy=text.ACCURACY,
        scale=scale_of(table["rows"]),
        notes=text.notes(table),
        facts=text.facts_words(table),
    )


def _budget(ipc: int | None, table: Mapping[str, Any]) -> str:
    if ipc is None:
        return f"All {table['train_images']:,} training images"
    values = ipc * table["classes"] * math.prod(table["image_shape"])
    return f"{ipc:,} IPC: a budget of {values:,} floats, {4 * values:,} bytes"
