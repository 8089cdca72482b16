"""The work of `hmn sweep`, a study of condensations, and its table: a row a run, and, where seeds were varied, a row
for each setting of everything else.

Times and machines are not in it, so that it does not tell a sweep that was broken and resumed from one that was not.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hmn.containers.artifact.place import read_run
from hmn.data.real import Splits
from hmn.recipes.values import recipe_to_toml
from hmn.runtime.files import json_object, write_atomically, write_json
from hmn.studies.folder import Study, fingerprints, plan_of
from hmn.studies.pool.attempt import Outcome, SweepRun
from hmn.studies.sweep.grid import Point, short_names, text
from hmn.studies.tasks import CONDENSED, Condensation, condense_and_evaluate
from hmn.studies.where import Where
from hmn.train.results import provenance, spread

Row = dict[str, Any]
RUN_COLUMNS = ("accuracy %", "std", "networks", "images", "floats", "run", "status")
GROUP_COLUMNS = ("accuracy %", "std", "n", "networks", "images", "floats", "failed")
MEASURED = ("accuracy_percent", "trained", "train_steps", "images", "floats", "bytes", "test_images")
"""What a row says of an evaluation."""
PART_WORDS = {
    "groups": "Mean and sample standard deviation over n condensations of different seeds; each counts with the mean "
    "of its networks.",
    "runs": "A row a run: mean and sample standard deviation over its networks.",
}
"""What the parts of a table are, in the order in which they are shown."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A sweep with everything settled."""

    out: Path
    runs: Sequence[SweepRun]
    points: Sequence[Point]
    grid: Mapping[str, Sequence[Any]]
    splits: Splits
    where: Where

    @property
    def tested_on(self) -> str:
        """The split that networks are tested on."""
        return str(self.runs[0].payload.given.data.on)

    def plan(self) -> dict[str, Any]:
        """What sweep.json holds; its identity is everything that decides the table."""
        identity = {"vary": self.grid, "data": fingerprints(self.splits), "tested_on": self.tested_on}
        settings = {}
        for run in self.runs:
            job: Condensation = run.payload
            evaluations = {name: vars(config) for name, config in job.evaluations.items()}
            how = {"dtype": job.dtype, "steps": job.given.steps, "evaluations": evaluations}
            settings[run.name] = {"recipe": recipe_to_toml(job.recipe), "shape": repr(job.chosen.shape), **how}
        return plan_of({**identity, "runs": settings}, map(vars, self.points))

    def run(self, *, resume: bool, force: bool) -> tuple[dict[str, Any], dict[str, Any]]:
        """Do what is not done, as `Study.open` and `Study.run`.

        Returns:
            the table, and the facts that another attempt at the same sweep would change.
        """
        study = Study(self.out, self.where, self.plan())
        study.open(resume=resume, force=force)
        outcomes = study.run("runs", self.runs, condense_and_evaluate)
        rows = [self._row(point, outcomes[point.run]) for point in self.points]
        about = {"data": self.splits.name, "tested_on": self.tested_on, "vary": dict(self.grid)}
        seconds = [self._seconds(point) for point in self.points]
        how = {"backend": self.where.backend, "workers": self.where.workers_for(len(self.runs))}
        facts = {**provenance(), **how, "threads_per_run": study.threads["runs"], "seconds": seconds}
        return {**about, "groups": groups_of(rows), "runs": rows}, facts

    def _row(self, point: Point, outcome: Outcome) -> dict[str, Any]:
        """What the table says of a point; a run that failed may have evaluated others."""
        report = json_object(self.out / point.run / point.evaluation)
        measured = {name: report.get(name) for name in MEASURED}
        if report:
            width = "" if report["width"] is None else f", width {report['width']}"
            steps = "" if " steps" in report["protocol"] else f", {report['train_steps']:,} steps"
            measured["trained"] = f"{report['net']}{width}, protocol {report['protocol']}{steps}"
        status = {"status": "done" if report else "failed", "reason": None if report else outcome.reason}
        return {**vars(point), **status, **measured}

    def _seconds(self, point: Point) -> dict[str, Any]:
        """Seconds of a point's parts, as far as it has them."""
        condensing = read_run(self.out / point.run / CONDENSED).get("condense_seconds")
        training = json_object(self.out / point.run / point.evaluation).get("train_seconds")
        place = {"run": point.run, "evaluation": point.evaluation}
        return {**place, "condense_seconds": condensing, "train_seconds": training}


def groups_of(rows: Sequence[Row], *, over: str = "seed") -> list[Row]:
    """Rows put together whose values differ in one setting alone; none where that was not varied.

    The accuracy is the mean of the runs' means, std their sample standard deviation and n their number, so that n
    counts condensations; `networks` counts trainings.
    """
    if not any(over in row["values"] for row in rows):
        return []
    found: dict[str, tuple[dict[str, Any], list[Row]]] = {}
    for row in rows:
        rest = {name: value for name, value in row["values"].items() if name != over}
        found.setdefault(json.dumps(rest), (rest, []))[1].append(row)
    return [_group(rest, members) for rest, members in found.values()]


def _group(values: Mapping[str, Any], members: Sequence[Row]) -> Row:
    done = [row for row in members if row["accuracy_percent"] is not None]
    means = [row["accuracy_percent"]["mean"] for row in done]
    networks = sum(len(row["accuracy_percent"]["values"]) for row in done)
    sizes = {name: done[0][name] if done else None for name in ("images", "floats")}
    counts = {"n": len(done), "failed": len(members) - len(done), "networks": networks}
    return {"values": values, **counts, **sizes, "accuracy_percent": spread(means) if means else None}


def parts_of(table: Mapping[str, Any]) -> dict[str, tuple[list[str], list[list[str]]]]:
    """Head and rows of the table's parts, as text: "groups", where there are some, and "runs"."""
    names = short_names(table["vary"])
    parts = {}
    for part, columns in (("groups", GROUP_COLUMNS), ("runs", RUN_COLUMNS)):
        if rows := table[part]:
            paths = [path for path in names if path in rows[0]["values"]]
            head = [*(names[path] for path in paths), *columns]
            parts[part] = (head, [_cells(row, paths, columns) for row in rows])
    return parts


def _cells(row: Row, paths: Sequence[str], columns: Sequence[str]) -> list[str]:
    """A row's varied values, then what the columns are called after; of a single run or network no deviation."""
    accuracy, known = row["accuracy_percent"], {"networks": 0, **row, "accuracy %": None, "std": None}
    if accuracy is not None:
        known["networks"] = row.get("networks", len(accuracy["values"]))
        known["accuracy %"] = f"{accuracy['mean']:.2f}"
        known["std"] = f"{accuracy['std']:.2f}" if len(accuracy["values"]) > 1 else "-"
    values = [text(row["values"][path]) for path in paths]
    return values + ["" if known[column] is None else str(known[column]) for column in columns]


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
    lines = [f"# {sweep_title(table)}", ""]
    for part, (head, rows) in parts_of(table).items():
        lines += [PART_WORDS[part], "", *map(_line, (head, ["---"] * len(head), *rows)), ""]
    lines += [f"- {line}" for line in failures(table)]
    return "\n".join(lines).rstrip() + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def write_sweep(out: Path, table: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """table.json, table.md, table.csv and, where there are groups, groups.csv; times and machine into facts.json."""
    write_json(out / "table.json", table)
    write_atomically(out / "table.md", sweep_markdown(table).encode())
    write_json(out / "facts.json", facts)
    for part, (head, rows) in parts_of(table).items():
        sheet = io.StringIO()
        csv.writer(sheet, lineterminator="\n").writerows([head, *rows])
        write_atomically(out / ("table.csv" if part == "runs" else "groups.csv"), sheet.getvalue().encode())
