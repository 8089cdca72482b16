"""The engine of every study: many runs into one folder, told on stderr, broken off and gone on with.

The folder keeps what the study consists of (sweep.json), so that resuming goes on with the same, and only with it.
"""

import json
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hmn.data.real import Splits
from hmn.errors import Interruption, UserError
from hmn.runtime.console import ProgressView, duration, note
from hmn.runtime.files import leftovers, write_json
from hmn.runtime.launched import COMMAND
from hmn.studies.pool.attempt import Outcome, SweepRun, Task, finished
from hmn.studies.pool.loop import State, SweepInterrupted, alone, run_sweep
from hmn.studies.where import LOGS, Where

PLAN, FORMAT = "sweep.json", "hmn-sweep-2"
TABLES = ("table.json", "table.md", "table.csv", "groups.csv", "facts.json", "table.html")
PARTS = {"vary": "grid", "data": "data", "tested_on": "--on", "runs": "settings"}
"""Parts of a study's identity, in the words of a message."""
MOST_NAMES = 3
"""Running runs that the line of progress names; of more it says that there are some."""
_RUN = re.compile(r"\d{3,}(-[A-Za-z0-9.-]+)?")


def plan_of(
    identity: Mapping[str, Any], points: Iterable[Mapping[str, Any]], rows: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What sweep.json holds, as JSON gives it back.

    `identity` is all that decides whether another study is the same, by the names of `PARTS`. `points` are what is
    measured, in the folders that "run" names. `rows` are settings by name, which may be added to, but never change.
    """
    content = {"identity": identity, "points": [*points], "rows": rows or {}, "threads": {}}
    plan: dict[str, Any] = json.loads(json.dumps({"format": FORMAT, "command": list(COMMAND.get()), **content}))
    return plan


def fingerprints(splits: Splits) -> dict[str, str]:
    """The data, for an identity."""
    return {part: getattr(splits, part).fingerprint() for part in ("train", "test")}


def run_names(plan: Mapping[str, Any]) -> list[str]:
    """Folders of a plan's runs, each once."""
    return list(dict.fromkeys(str(point["run"]) for point in plan["points"]))


class Study:
    """A folder of runs under one plan (`plan_of`). What is done there is not done again; rows may be added to it."""

    def __init__(self, out: Path, where: Where, plan: Mapping[str, Any]) -> None:
        self.out, self.where, self.plan = out, where, dict(plan)
        self.threads: dict[str, int] = {}
        """Threads of each run, by the kind of runs."""
        self._begins = False

    def open(self, *, resume: bool, force: bool) -> None:
        """See whether the study may go on with the one in its folder, or remove it; nothing changes before `run`.
        Raises UserError: the folder is in use, or another's, or there is nothing to resume, or another study is there.
        """
        if self.out.exists() and not self.out.is_dir():
            raise UserError(f"--out {self.out}: a file is there; name a folder.")
        # What is there decides what may be done: go on, begin anew, or nothing.
        there = _read_plan(self.out)
        self._begins = not resume
        if resume:
            if there is None:
                raise UserError(f"{self.out}: no sweep to resume there; run without --resume to begin.")
            _check_same(self.out, there, self.plan)
            self.plan = {**_with(there, self.plan["points"]), "rows": {**there["rows"], **self.plan["rows"]}}
        elif there is not None and not force:
            names = run_names(there)
            done = sum(finished(self.out / name) is not None for name in names)
            raise UserError(
                f"{self.out} holds a sweep ({done} of {len(names)} runs done): add --resume to go on with it, "
                "or --force to remove it and begin anew."
            )
        elif there is None and self.out.exists() and {*self.out.iterdir()} - {*leftovers(self.out, (PLAN,))}:
            raise UserError(f"{self.out} holds other files: choose another folder.")

    def run(self, what: str, runs: Sequence[SweepRun], task: Task, *, quiet: bool = False) -> dict[str, Outcome]:
        """The outcome of every run by name, in the order of `runs`, which are called `what`.

        With `quiet`, only those that failed are told as they end: they are many, and short.

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
            there = _read_plan(self.out)
            if self._begins and there is not None:
                _remove(self.out, there)
            self._begins = False
            self.plan = _with(self.plan, ({"run": run.name} for run in runs))
            if self.plan != there:
                write_json(self.out / PLAN, self.plan)


def _read_plan(out: Path) -> dict[str, Any] | None:
    """The plan of the study in a folder; None where there is none. Raises UserError: another version, or damaged."""
    try:
        found: dict[str, Any] = json.loads((out / PLAN).read_text(encoding="utf-8"))
        if found["format"] != FORMAT or not isinstance(found["identity"], dict):
            raise ValueError
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{out / PLAN}: not a sweep of this version of hmn; choose another folder.") from None
    return found


def _with(plan: Mapping[str, Any], points: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The plan with those of the points whose runs it lacks."""
    known = {*run_names(plan)}
    return {**plan, "points": [*plan["points"], *(point for point in points if point["run"] not in known)]}


def _remove(out: Path, plan: Mapping[str, Any]) -> None:
    """Remove a study's folders and files, and nothing that is not its own."""
    for name in run_names(plan):
        if _RUN.fullmatch(name) and not (out / name).is_symlink():
            shutil.rmtree(out / name, ignore_errors=True)
    for name in TABLES:
        (out / name).unlink(missing_ok=True)
    shutil.rmtree(out / LOGS, ignore_errors=True)


def _check_same(out: Path, there: Mapping[str, Any], plan: Mapping[str, Any]) -> None:
    before, now = there["identity"], plan["identity"]
    for part, words in PARTS.items():
        if before.get(part) != now.get(part):
            was = f" ({part} was {_value_words(before.get(part))})" if part in ("vary", "tested_on") else ""
            raise UserError(
                f"{out} was begun with another {words}{was}: repeat the first command with --resume, "
                "choose another folder, or start anew with --force."
            )
    for name, settings in plan["rows"].items():
        if there["rows"].get(name, settings) != settings:
            raise UserError(
                f"{out}: {name.partition(' ')[0]} was begun there with other settings: repeat the first "
                "command with --resume, give the method another label, or start anew with --force."
            )


def _value_words(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(f"{name}={','.join(map(str, values))}" for name, values in value.items())


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
