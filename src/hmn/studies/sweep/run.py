"""The work of `hmn sweep`: a study of condensations, and the table at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hmn.data.real import Splits
from hmn.recipes.values import recipe_to_toml
from hmn.studies.condensation import MEASURED, Condensation, condense_and_evaluate, evaluation_row, run_seconds
from hmn.studies.folder import Study, fingerprints, plan_of
from hmn.studies.pool import Outcome, SweepRun
from hmn.studies.sweep.grid import Point
from hmn.studies.sweep.table import groups_of
from hmn.studies.where import Where
from hmn.train.results import provenance


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
        settings = {run.name: _settings(run.payload) for run in self.runs}
        return plan_of({**identity, "runs": settings}, map(vars, self.points))

    def run(self, *, resume: bool, force: bool) -> tuple[dict[str, Any], dict[str, Any]]:
        """Do what is not done.

        Args:
            resume: go on with the sweep in the folder.
            force: remove the sweep in the folder.

        Returns:
            the table, and the facts that another attempt at the same sweep would change.

        Raises:
            UserError: the folder is in use, or holds another sweep.
            Interruption: a signal came.
        """
        study = Study(self.out, self.where, self.plan())
        study.open(resume=resume, force=force)
        outcomes = study.run("runs", self.runs, condense_and_evaluate)
        rows = [self._row(point, outcomes[point.run]) for point in self.points]
        about = {"data": self.splits.name, "tested_on": self.tested_on, "vary": dict(self.grid)}
        places = [{"run": point.run, "evaluation": point.evaluation} for point in self.points]
        seconds = [{**place, **run_seconds(self.out / place["run"], place["evaluation"])} for place in places]
        how = {"backend": self.where.backend, "workers": self.where.workers_for(len(self.runs))}
        facts = {**provenance(), **how, "threads_per_run": study.threads["runs"], "seconds": seconds}
        return {**about, "groups": groups_of(rows), "runs": rows}, facts

    def _row(self, point: Point, outcome: Outcome) -> dict[str, Any]:
        """What the table says of a point; a run that failed may have evaluated others."""
        folder = self.out / point.run
        there = (folder / point.evaluation).exists()
        measured = evaluation_row(folder, point.evaluation) if there else dict.fromkeys(MEASURED)
        status = {"status": "done" if there else "failed", "reason": None if there else outcome.reason}
        return {**vars(point), **status, **measured}


def _settings(run: Condensation) -> dict[str, Any]:
    """Everything that decides a run's result, in plain values."""
    evaluations = {name: vars(config) for name, config in run.evaluations.items()}
    how = {"dtype": run.dtype, "steps": run.given.steps, "evaluations": evaluations}
    return {"recipe": recipe_to_toml(run.recipe), "shape": repr(run.chosen.shape), **how}
