"""The work of `hmn compare`: first everything that is trained on, then the trainings, then the table."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hmn.errors import UserError
from hmn.runtime.console import COMMAND, duration, note, print_json
from hmn.runtime.files import write_atomically
from hmn.studies.compare.cells import Cells, Wanted
from hmn.studies.compare.table import Trained, table_of, trained, training_name
from hmn.studies.folder import PLAN, begin, examine, run_names
from hmn.studies.pool import Outcome, SweepInterrupted, SweepRun
from hmn.studies.pool.loop import alone
from hmn.studies.training import make, train_cell
from hmn.studies.watch import watch
from hmn.studies.where import Where

if TYPE_CHECKING:
    from hmn.data.real import Splits
    from hmn.studies.pool.attempt import Task


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A comparison with everything settled."""

    out: Path
    wanted: Wanted
    cells: Cells
    splits: Splits
    where: Where
    sort: str

    @property
    def units(self) -> list[SweepRun]:
        """What makes images."""
        return [SweepRun(name=name, payload=payload) for name, payload in self.cells.units.items()]

    def trainings(self, made: Mapping[str, Outcome] | None = None) -> list[SweepRun]:
        """A training for each seed of each cell; with `made`, of those whose images are there."""
        return [
            SweepRun(name=training_name(cell, seed), payload=self.cells.training(cell, self.wanted, self.out, seed))
            for cell in self.cells.cells
            if made is None or cell.unit is None or made[cell.unit].status == "done"
            for seed in range(self.wanted.training.seeds)
        ]


def plan_of(comparison: Comparison, threads: Mapping[str, int]) -> dict[str, Any]:
    """What the folder keeps of a comparison. Its identity is what all rows share; rows may be added."""
    from hmn.data.real import fingerprint

    training = comparison.wanted.training
    protocol = {"net": training.net, "width": training.width, "config": asdict(training.config)}
    return {
        "command": list(COMMAND.get()),
        "identity": {
            "vary": {},
            "data": {part: fingerprint(getattr(comparison.splits, part)) for part in ("train", "test")},
            "tested_on": comparison.wanted.given.on, "runs": protocol,
        },
        "points": [{"run": run.name} for run in (*comparison.units, *comparison.trainings())],
        "cells": comparison.cells.settings(), "threads": dict(threads),
    }  # fmt: skip


def take_folder(comparison: Comparison, threads: Mapping[str, int], *, resume: bool, force: bool) -> dict[str, Any]:
    """Make the folder this comparison's, and return what it keeps; nothing is condensed or trained yet.

    Raises:
        UserError: it is in use, or another's, or holds a row of this name that was begun with other settings.
    """
    plan = json.loads(json.dumps(plan_of(comparison, threads)))
    there = examine(comparison.out, plan, resume=resume, force=force)
    if not resume or there is None:
        begin(comparison.out, plan)
        return plan
    for name, settings in plan["cells"].items():
        if name in there["cells"] and there["cells"][name] != settings:
            raise UserError(
                f"{comparison.out}: {name.partition(' ')[0]} was begun there with other settings: repeat the first "
                "command with --resume, give the method another label, or start anew with --force."
            )
    new = [{"run": name} for name in run_names(plan) if name not in {*run_names(there)}]
    merged = {**there, "points": [*there["points"], *new], "cells": {**there["cells"], **plan["cells"]}}
    with alone(comparison.out):
        write_atomically(comparison.out / PLAN, (json.dumps(merged, indent=2, ensure_ascii=False) + "\n").encode())
    return merged


def work(comparison: Comparison, *, resume: bool, force: bool, as_json: bool) -> int:
    """Do what is not done, write the table and print it; returns the exit code."""
    from hmn.cli.compare import print_comparison, write

    where, out = comparison.where, comparison.out
    phases = {"make": len(comparison.units), "train": len(comparison.trainings())}
    threads = {phase: where.threads_for(where.workers_for(max(1, count))) for phase, count in phases.items()}
    plan = take_folder(comparison, threads, resume=resume, force=force)
    if where.threads_per_run is None:
        threads = plan["threads"]  # another number of threads may round sums otherwise
    try:
        made = work_off("images", comparison.units, make, comparison, threads["make"])
        trainings = comparison.trainings(made)
        runs = work_off("trainings", trainings, train_cell, comparison, threads["train"])
    except SweepInterrupted:
        print(
            f"hmn: interrupted; what is done stays in {out}, and condensations have left their checkpoints there: "
            "run the same command with --resume to go on.",
            file=sys.stderr,
        )
        return 130
    seeds = comparison.wanted.training.seeds
    found = {cell.name: trained(cell, made, runs, seeds) for cell in comparison.cells.cells}
    table = with_facts(comparison, found, plan, threads)
    # First the screen: a disk that is full must not cost the result.
    if as_json:
        print_json({"out": str(out), **table})
    else:
        print_comparison(table)
    write(out, table)
    return 1 if any(one.reason is not None for one in found.values()) else 0


def work_off(
    what: str, runs: Sequence[SweepRun], task: Task, comparison: Comparison, threads: int
) -> dict[str, Outcome]:
    """One phase through the sweep's engine, with a line for each run that ends.

    Raises:
        SweepInterrupted: a signal came.
    """
    if not runs:
        return {}
    workers = comparison.where.workers_for(len(runs))
    note(f"{what}: {len(runs)} runs, {workers} at a time on {threads} threads each, into {comparison.out}")
    pool = comparison.where.pool(comparison.out, workers=workers, threads=threads)
    return watch(
        what, runs, task, comparison.out, backend=pool, threads=threads, ending=ending, stop_at_end=True,
        stopping="stopping: condensations write their checkpoints; Ctrl-C again ends all at once.",
    )  # fmt: skip


def ending(outcome: Outcome) -> str | None:
    """How a run ended, in the words of a line of progress; nothing of one that was stopped."""
    if outcome.status == "interrupted":
        return None
    if outcome.status == "failed":
        return f"failed: {outcome.reason}"
    accuracy = (outcome.value or {}).get("accuracy")
    return f"done in {duration(outcome.seconds)}" + ("" if accuracy is None else f": {accuracy:.1f} %")


def with_facts(
    comparison: Comparison, found: Mapping[str, Trained], plan: Mapping[str, Any], threads: Mapping[str, int]
) -> dict[str, Any]:
    """The table with what it was made with; the command is the one that began it."""
    from hmn.nets import native
    from hmn.runtime import facts

    table = table_of(
        comparison.wanted, comparison.cells, comparison.splits, found, comparison.out, sort=comparison.sort
    )  # fmt: skip
    table["facts"] = {
        "command": shlex.join(["hmn", *plan["command"]]), "commit": facts.commit(), "versions": facts.versions(),
        "hardware": facts.hardware(native.state()),
        "backend": comparison.where.backend, "threads_per_run": dict(threads),
    }  # fmt: skip
    return table
