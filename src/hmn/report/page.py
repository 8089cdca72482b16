"""Runs as one self-contained page of HTML."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hmn.errors import UserError
from hmn.prune.survivors import METHODS
from hmn.report.chart import Line, line_chart, strip
from hmn.report.gallery import script_data, sheets
from hmn.report.gather import RunFacts, assign, byte_parts, gather
from hmn.report.history import PHASES, binned
from hmn.report.html import rendered, template_text
from hmn.report.results import per_class, rows_of, scale_of, spread_of
from hmn.report.sprites import Sheet
from hmn.runtime.files import write_atomically

UNUSED = "unused"


class Page(NamedTuple):
    """What was written."""

    num_bytes: int
    images: int
    shown: int
    notes: list[str]


def write_page(runs: Sequence[Path], out: Path, *, results: Sequence[Path] = (), title: str | None = None) -> Page:
    """Write a page about runs.

    Args:
        runs: folders of finished condensations.
        out: the file, replaced where it is there.
        results: evaluations and pruning studies that do not lie in the folders.
        title: of the page.

    Raises:
        UserError: a folder or a result cannot be read, results are of other containers, or the file cannot be written.
    """
    found = [gather(run) for run in runs]
    assign(found, results)
    notes: list[str] = []
    models, scripts, shown = [], [], 0
    for position, (run, (sprites, chosen)) in enumerate(zip(found, sheets(found), strict=True)):
        shown += sum(map(len, chosen))
        notes += _notes(run, sprites, sum(map(len, chosen)))
        models.append(_model(run, position, sprites, sum(map(len, chosen))))
        scripts.append(script_data(run, sprites, chosen))
    content = render(models, scripts, title or _title(found)).encode()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, content)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}.") from None
    return Page(len(content), sum(len(run.labels) for run in found), shown, notes)


def render(models: list[dict[str, Any]], scripts: list[dict[str, Any]], title: str) -> str:
    """The page's text. Its policy lets run the page's own script and nothing else, and fetch nothing."""
    script = "\n".join(template_text(name) for name in ("prune.js", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    data = {"runs": scripts}
    return rendered("page.html", title=title, runs=models, data=data, script=script, digest=digest)


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


def _model(run: RunFacts, position: int, sprites: Sheet, shown: int) -> dict[str, Any]:
    """What the template shows of a run."""
    stored, facts = run.info, run.facts
    ledger = stored.ledger
    left = ledger.budget - ledger.num_floats
    floats = [(part.name, part.num_floats) for part in ledger.parts]
    floats += [(UNUSED, left)] if left > 0 else []
    channels, height, width = run.pixels.shape[1:]
    return {
        "id": f"run{position}",
        "folder": str(run.path),
        "load": json.dumps(str(run.path), ensure_ascii=False),
        "data": stored.data_name,
        "classes": len(stored.class_names),
        "images": len(run.labels),
        "per_class": per_class(run.labels.bincount(minlength=len(stored.class_names)).tolist()),
        "shape": f"{height} x {width}, {'grey' if channels == 1 else 'colour'}",
        "dtype": stored.dtype,
        "num_floats": ledger.num_floats,
        "budget": ledger.budget,
        "left": left,
        "num_bytes": stored.file_bytes,
        "bars": [
            {"name": "floats", "unit": "floats", "parts": _shares(floats)},
            {"name": "bytes", "unit": "bytes", "parts": _shares(byte_parts(stored))},
        ],
        "charts": _history_charts(run),
        "seconds": facts.get("condense_seconds"),
        "profile": run.profile,
        "cannot_prune": run.cannot_prune,
        "shown": shown,
        "quality": sprites.quality,
        "evaluations": [_evaluation(file, content) for file, content in run.evaluations],
        "studies": [_study(file, content) for file, content in run.studies],
        "unkeyed": run.unkeyed,
        "recipe": run.recipe,
        "made": _made(run),
    }


def _shares(parts: list[tuple[str, int]]) -> list[dict[str, Any]]:
    total = sum(size for _, size in parts)
    looks = ["rest" if name == UNUSED else f"b{place}" for place, (name, _) in enumerate(parts)]
    return [
        {"name": name, "size": size, "share": 100 * size / total, "look": look}
        for (name, size), look in zip(parts, looks, strict=True)
    ]


def _history_charts(run: RunFacts) -> list[dict[str, Any]]:
    charts = []
    for phase, (title, x_label, y_label) in PHASES.items():
        points = run.history.get(phase, [])
        if len(points) > 1:
            line = Line(title, binned(points))
            first, last = (f"{points[at][1]:.4g}" for at in (0, -1))
            label = f"{title}: {y_label.lower()} over {len(points):,} records, from {first} to {last}"
            svg = line_chart([line], title=label, x_label=x_label, y_label=y_label, log_y=True)
            charts.append({"title": title, "records": len(points), "last": last, "svg": svg})
    return charts


def _evaluation(file: str, content: Mapping[str, Any]) -> dict[str, Any]:
    rows = rows_of(content)
    scale = scale_of([row["accuracy_percent"] for row in rows])
    low, high = (f"{end:.0f}" for end in scale)
    width = "" if content.get("width") is None else f", width {content['width']}"
    steps = "" if " steps" in content["protocol"] else f", {content['train_steps']:,} steps"
    what = f"{content['tested_on']} accuracy of {content['net']}{width}; protocol {content['protocol']}{steps}"
    shown = []
    for row in rows:
        accuracy = row["accuracy_percent"]
        numbers = {name: row[name] for name in ("method", "images", "floats", "bytes")}
        dots = strip(accuracy["values"], *scale)
        shown.append({**numbers, "detail": row.get("detail", ""), "accuracy": str(spread_of(accuracy)), "strip": dots})
    return {"file": file, "low": low, "high": high, "what": f"{what}; {content['test_images']:,} images", "rows": shown}


def _study(file: str, content: Mapping[str, Any]) -> dict[str, Any]:
    lines = []
    unpruned = [(0.0, spread_of(row)) for row in content["rows"] if row["method"] == "unpruned"]
    for method in METHODS:
        found = [(100 * row["rate"], spread_of(row)) for row in content["rows"] if row["method"] == method]
        points = sorted([*(unpruned if found and min(found)[0] > 0 else []), *found])
        if points:
            lines.append(Line(method, [(x, s.mean, s.mean - s.std, s.mean + s.std) for x, s in points]))
    rows = [
        {
            "method": row["method"],
            "rate": f"{100 * row['rate']:.1f} %",
            "kept": per_class(row["images_per_class"]),
            "beta": "" if row["beta"] is None else f"{row['beta']:g}",
            "accuracy": str(spread_of(row)),
            "in_budget": row["in_budget"],
        }
        for row in content["rows"]
    ]
    title = "Test accuracy against pruning rate; the numbers are in the table below"
    x_label, y_label = "Pruning rate (% of images removed)", "Test accuracy (%)"
    chart = line_chart(lines, title=title, x_label=x_label, y_label=y_label) if lines else None
    names, sentences = [line.name for line in lines], [found["sentence"] for found in content.get("beta_search") or []]
    return {"file": file, "chart": chart, "names": names, "rows": rows, "sentences": sentences}


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
