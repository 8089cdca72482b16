"""The work of `hmn sweep`: the place to work, progress on stderr, and the table at the end."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hmn.runtime.console import command_line, duration, note, print_json
from hmn.studies.condensation import MEASURED, condense_and_evaluate, row, times
from hmn.studies.folder import begin, examine
from hmn.studies.pool import Outcome, SweepInterrupted, SweepRun
from hmn.studies.sweep.grid import Point, plan_of
from hmn.studies.sweep.table import groups_of, write
from hmn.studies.watch import watch
from hmn.studies.where import Where

if TYPE_CHECKING:
    from hmn.data.real import Splits


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A sweep with everything settled."""

    out: Path
    runs: Sequence[SweepRun]
    points: Sequence[Point]
    grid: Mapping[str, Sequence[Any]]
    splits: Splits
    where: Where


def work(wanted: Sweep, *, resume: bool, force: bool, each: bool, as_json: bool) -> int:
    """Run what is not done, write the tables and print them; returns the exit code."""
    from hmn.cli.sweep import print_tables

    plan = plan_of(wanted.runs, wanted.points, wanted.grid, wanted.splits)
    there = examine(wanted.out, plan, resume=resume, force=force)
    workers = wanted.where.workers_for(len(wanted.runs))
    threads = wanted.where.threads_for(workers)
    if resume and there is not None and wanted.where.threads_per_run is None:
        threads = int(there["threads_per_run"])  # another number of threads may round sums otherwise
    pool = wanted.where.pool(wanted.out, workers=workers, threads=threads)
    try:
        if not resume:
            begin(wanted.out, {**plan, "threads_per_run": threads})
        note(f"{len(wanted.runs)} runs, {workers} at a time on {threads} threads each, into {wanted.out}")
        outcomes = watch(
            "runs", wanted.runs, condense_and_evaluate, wanted.out, backend=pool, threads=threads, ending=ending,
            stopping="stopping: runs write their checkpoints; Ctrl-C again ends them at once.", tell_earlier=True,
        )  # fmt: skip
    except SweepInterrupted as error:
        done = sum(outcome.status == "done" for outcome in error.outcomes.values())
        print(
            f"hmn: interrupted; {done} of {len(wanted.runs)} runs are done, and those that were on their way have left "
            f"their checkpoints in {wanted.out}: run the same command with --resume to go on.",
            file=sys.stderr,
        )
        return 130
    finally:
        pool.close()
    table, facts = gather(wanted, outcomes, {"workers": workers, "threads_per_run": threads})
    # First the screen: a disk that is full must not cost the result.
    if as_json:
        print_json({"out": str(wanted.out), **table})
    else:
        print_tables(table, each=each)
    write(wanted.out, table, facts)
    note(f"written: {wanted.out / 'table.json'}, with table.md and table.csv beside it")
    return 1 if any(outcome.status == "failed" for outcome in outcomes.values()) else 0


def ending(outcome: Outcome) -> str:
    """How a run ended, in the words of a line of progress."""
    if outcome.status == "done":
        accuracies = ", ".join(f"{mean:.1f} %" for mean in (outcome.value or {}).values())
        return f"done in {duration(outcome.seconds)}: {accuracies}"
    return f"failed: {outcome.reason}" if outcome.status == "failed" else "stopped"


def gather(
    wanted: Sweep, outcomes: Mapping[str, Outcome], settings: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The table, and the facts that another attempt at the same sweep would change."""
    from hmn.nets import native
    from hmn.runtime import facts

    nothing = dict.fromkeys(MEASURED)
    rows, seconds = [], []
    for point in wanted.points:
        folder, outcome = wanted.out / point.run, outcomes[point.run]
        there = (folder / point.evaluation).exists()
        rows.append({
            "values": point.values, "run": point.run, "evaluation": point.evaluation,
            "status": "done" if there else "failed", "reason": None if there else outcome.reason,
            **(row(folder, point.evaluation) if there else nothing),
        })  # fmt: skip
        seconds.append({"run": point.run, "evaluation": point.evaluation, **times(folder, point.evaluation)})
    table = {
        "data": wanted.splits.name, "tested_on": wanted.runs[0].payload.on, "vary": dict(wanted.grid),
        "groups": groups_of(rows), "runs": rows,
    }  # fmt: skip
    return table, {
        "command": command_line(), "backend": wanted.where.backend, **settings, "commit": facts.commit(),
        "versions": facts.versions(), "hardware": facts.hardware(native.state()), "seconds": seconds,
    }  # fmt: skip
