"""Runs as one self-contained page of HTML."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hmn.errors import UserError
from hmn.report.chart import Line, line_chart
from hmn.report.gallery import script_data, sheets
from hmn.report.gather import RunFacts, assign, byte_parts, gather_run
from hmn.report.history import PHASE_AXES, binned
from hmn.report.html import rendered, template_text
from hmn.report.sprites import Sheet
from hmn.runtime.files import write_atomically

UNUSED_FLOATS = "unused"


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
        shown += sum(map(len, chosen))
        notes += _notes(run, sprites, sum(map(len, chosen)))
        views.append(_view(run, position, sprites, sum(map(len, chosen))))
        scripts.append(script_data(run, sprites, chosen))
    # Nothing is written before all of it is there.
    content = _render(views, scripts, title or _title(found)).encode()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, content)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}.") from None
    return Page(len(content), sum(len(run.labels) for run in found), shown, notes)


def _render(views: list[dict[str, Any]], scripts: list[dict[str, Any]], title: str) -> str:
    """The page's text. Its policy lets run the page's own script and nothing else, and fetch nothing."""
    script = "\n".join(template_text(name) for name in ("prune.js", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    data = {"runs": scripts}
    return rendered("page.html", title=title, views=views, data=data, script=script, digest=digest)


def _title(runs: Sequence[RunFacts]) -> str:
    names = dict.fromkeys(run.info.data_name for run in runs)
    return f"{', '.join(names)}, condensed"


def _notes(run: RunFacts, sprites: Sheet, shown: int) -> list[str]:
    notes = []
    if run.profile is None:
        notes.append(f"{run.path}: no AUM there, so its images cannot be sorted; write it with: hmn profile {run.path}")
    if shown < len(run.labels):
        notes.append(f"{run.path}: {shown:,} of {len(run.labels):,} images are shown.")
    if sprites.quality is not None:
        notes.append(f"{run.path}: its images are shown as WebP of quality {sprites.quality}, to keep the page small.")
    notes += [f"{file}: does not say which container it is of; taken for {run.path}." for file in run.unkeyed]
    return notes


def _view(run: RunFacts, position: int, sprites: Sheet, shown: int) -> dict[str, Any]:
    """What the template shows of a run beside what is read of it."""
    ledger = run.info.ledger
    left = ledger.budget - ledger.num_floats
    floats = [(part.name, part.num_floats) for part in ledger.parts] + ([(UNUSED_FLOATS, left)] if left > 0 else [])
    return {
        "id": f"run{position}",
        "run": run,
        "load": json.dumps(str(run.path), ensure_ascii=False),
        "counts": run.labels.bincount(minlength=len(run.info.class_names)).tolist(),
        "bars": {"floats": _shares(floats), "bytes": _shares(byte_parts(run.info))},
        "charts": _history_charts(run),
        "shown": shown,
        "quality": sprites.quality,
        "made": _made(run),
    }


def _shares(parts: list[tuple[str, int]]) -> list[dict[str, Any]]:
    total = sum(size for _, size in parts)
    looks = ["rest" if name == UNUSED_FLOATS else f"b{place}" for place, (name, _) in enumerate(parts)]
    return [
        {"name": name, "size": size, "share": 100 * size / total, "look": look}
        for (name, size), look in zip(parts, looks, strict=True)
    ]


def _history_charts(run: RunFacts) -> list[dict[str, Any]]:
    charts = []
    for phase, (title, x_label, y_label) in PHASE_AXES.items():
        points = run.history.get(phase, [])
        if len(points) > 1:
            line = Line(title, binned(points))
            first, last = (f"{points[at][1]:.4g}" for at in (0, -1))
            label = f"{title}: {y_label.lower()} over {len(points):,} records, from {first} to {last}"
            svg = line_chart([line], title=label, x_label=x_label, y_label=y_label, log_y=True)
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
