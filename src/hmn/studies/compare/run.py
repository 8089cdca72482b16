"""The work of `hmn compare`: first everything that is trained on, then the trainings, then the table."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hmn.data.real import Splits
from hmn.studies.compare.cells import Cells, ComparisonSettings
from hmn.studies.compare.table import table_of, trained, training_name
from hmn.studies.folder import Study, fingerprints, plan_of
from hmn.studies.pool.attempt import Outcome, SweepRun
from hmn.studies.training import make, train_on
from hmn.studies.where import Where
from hmn.train.results import provenance


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A comparison with everything settled."""

    out: Path
    settings: ComparisonSettings
    cells: Cells
    splits: Splits
    where: Where
    sort: str
    """accuracy or method: the order within a budget."""

    @property
    def units(self) -> list[SweepRun]:
        """What makes images."""
        return [SweepRun(name=name, payload=payload) for name, payload in self.cells.units.items()]

    def trainings(self, made: Mapping[str, Outcome] | None = None) -> list[SweepRun]:
        """A training for each seed of each cell; with `made`, of those whose images are there."""
        return [
            SweepRun(name=training_name(cell, seed), payload=self.cells.training(cell, self.settings, self.out, seed))
            for cell in self.cells.cells
            if made is None or cell.unit is None or made[cell.unit].status == "done"
            for seed in range(self.settings.training.seeds)
        ]

    def plan(self) -> dict[str, Any]:
        """What sweep.json holds. Its identity is what all rows share; rows may be added."""
        training = self.settings.training
        protocol = {"net": training.net, "width": training.width, "config": asdict(training.config)}
        identity = {"data": fingerprints(self.splits), "tested_on": self.settings.given.data.on, "runs": protocol}
        points = [{"run": run.name} for run in (*self.units, *self.trainings())]
        return plan_of(identity, points, self.cells.settings())

    def run(self, *, resume: bool, force: bool) -> dict[str, Any]:
        """Do what is not done, and return the table.

        Args:
            resume: go on with the comparison in the folder, and add what it lacks.
            force: remove the comparison in the folder.

        Raises:
            UserError: the folder is in use, or another's, or holds a row of this name begun with other settings.
            Interruption: a signal came.
        """
        study = Study(self.out, self.where, self.plan())
        study.open(resume=resume, force=force)
        made = study.run("sets of images", self.units, make)
        runs = study.run("trainings", self.trainings(made), train_on)
        seeds = self.settings.training.seeds
        found = {cell.name: trained(cell, made, runs, seeds) for cell in self.cells.cells}
        table = table_of(self.settings, self.cells, self.splits, found, self.out, sort=self.sort)
        # The command is the one that began it.
        facts = {**provenance(), "command": shlex.join(["hmn", *study.plan["command"]])}
        table["facts"] = {**facts, "backend": self.where.backend, "threads_per_run": study.threads}
        return table
