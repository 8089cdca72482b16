"""The engine of every study: many runs into one folder, told on stderr, broken off and gone on with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hmn.errors import Interruption
from hmn.runtime.console import ProgressView, duration, note
from hmn.studies.folder import examine_study, merged, read_plan, remove_study, run_names, write_plan
from hmn.studies.pool import Outcome, State, SweepInterrupted, SweepRun, run_sweep
from hmn.studies.pool.attempt import Task
from hmn.studies.pool.loop import alone
from hmn.studies.where import Where

MOST_NAMES = 3
"""Running runs that the line of progress names; of more it says that there are some."""


class Study:
    """A folder of runs under one plan. What is done there is not done again; rows may be added to it."""

    def __init__(self, out: Path, where: Where, plan: Mapping[str, Any]) -> None:
        """Args:
        out: folder of the study.
        where: its runs work.
        plan: what it consists of (`hmn.studies.folder.plan_of`).
        """
        self.out, self.where, self.plan = out, where, dict(plan)
        self.threads: dict[str, int] = {}
        """Threads of each run, by the kind of runs."""
        self._begins = False

    def open(self, *, resume: bool, force: bool) -> None:
        """See whether the study may work in its folder, where nothing changes before the first `run`.

        Args:
            resume: go on with the study that is there.
            force: remove the study that is there.

        Raises:
            UserError: the folder is in use, or another's, or there is nothing to resume, or another study is there.
        """
        there = examine_study(self.out, self.plan, resume=resume, force=force)
        self._begins = not resume
        if resume and there is not None:
            self.plan = merged(there, self.plan)

    def run(self, what: str, runs: Sequence[SweepRun], task: Task, *, quiet: bool = False) -> dict[str, Outcome]:
        """The outcome of every run by name, in the order of `runs`.

        Args:
            what: the runs are called.
            runs: independent of each other.
            task: what a run is: a function of a module.
            quiet: of runs that end tell only those that failed: they are many, and short.

        Raises:
            UserError: the backend cannot be reached, or another study works in the folder.
            Interruption: a signal came; the same call goes on where it broke off.
        """
        if not runs:
            return {}
        workers = self.where.workers_for(len(runs))
        threads = self.where.threads_for(workers)
        kept = self.plan["threads"].setdefault(what, threads)
        if self.where.threads_per_run is None:
            threads = int(kept)  # another number of threads may round sums otherwise
        self.threads[what] = threads
        pool = self.where.pool(self.out, workers=workers, threads=threads)
        try:
            self._record(runs)
            note(f"{len(runs)} {what}, {workers} at a time on {threads} threads each, into {self.out}")
            with ProgressView() as view:
                watch = _Watch(what, view, quiet=quiet)
                outcomes = run_sweep(runs, task, self.out, backend=pool, threads=threads, on_change=watch)
            if watch.signalled:  # as the last run ended: of what comes next
                raise SweepInterrupted(outcomes)
        except SweepInterrupted as error:
            done = sum(outcome.status == "done" for outcome in error.outcomes.values())
            raise Interruption(
                f"interrupted; {done} of {len(runs)} {what} are done, and {self.out} keeps them and every checkpoint: "
                "run the same command with --resume to go on."
            ) from None
        finally:
            pool.close()
        return outcomes

    def _record(self, runs: Sequence[SweepRun]) -> None:
        """Make the folder this study's, and enter the runs into its plan, by which a later --force removes them."""
        with alone(self.out):
            there = read_plan(self.out)
            if self._begins and there is not None:
                remove_study(self.out, there)
            self._begins = False
            known = {*run_names(self.plan)}
            self.plan["points"] += [{"run": run.name} for run in runs if run.name not in known]
            if self.plan != there:
                write_plan(self.out, self.plan)


class _Watch:
    """How a study goes, told on stderr: a line for each run that ends, and the time left."""

    def __init__(self, what: str, view: ProgressView, *, quiet: bool) -> None:
        self.what, self.view, self.quiet = what, view, quiet
        self.begun = self.signalled = False

    def __call__(self, state: State) -> None:
        if state.done and not self.begun:
            note(f"{state.done} of {state.total} {self.what} are done already.")
        self.begun = True
        if state.stopping and not self.signalled:
            self.signalled = True
            note("stopping: runs write their checkpoints; Ctrl-C again ends them at once.")
        for name, outcome in state.ended:
            if outcome.status == "failed" or not self.quiet:
                note(f"{name} {_ending(outcome)}")
        names = ", ".join(state.running[:MOST_NAMES]) + (", ..." if len(state.running) > MOST_NAMES else "")
        self.view.show(self.what, state.done, state.total, f"running {names}" if names and not self.quiet else "")


def _ending(outcome: Outcome) -> str:
    """How a run ended, in the words of a line of progress."""
    if outcome.status != "done":
        return f"failed: {outcome.reason}" if outcome.status == "failed" else "stopped"
    accuracies = ", ".join(f"{accuracy:.1f} %" for accuracy in outcome.value.get("accuracies", ()))
    return f"done in {duration(outcome.seconds)}" + (f": {accuracies}" if accuracies else "")
