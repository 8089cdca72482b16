"""What a run of `hmn sweep` is: one condensation, and the trainings that measure it. Called in worker processes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hmn.condensation.job import Job
from hmn.containers.artifact.place import CHECKPOINT, CONTAINER, read_run
from hmn.containers.artifact.run_data import Split, read_splits
from hmn.containers.choose import Chosen
from hmn.data.options import DataOptions
from hmn.data.real import Splits
from hmn.errors import Interruption
from hmn.measure.candidates import target_of
from hmn.measure.evaluate import evaluation_report
from hmn.measure.training import choose_training
from hmn.recipes.settings import Dtype, EvaluateConfig, Recipe
from hmn.runtime.files import write_json
from hmn.runtime.launched import COMMAND
from hmn.studies.pool.attempt import Stopped

CONDENSED = "condensed"
"""Folder in a run's folder: what `hmn condense` would have written."""
MEASURED = ("accuracy_percent", "trained", "train_steps", "images", "floats", "bytes", "test_images")
"""What a row of the table says of an evaluation."""


@dataclass(frozen=True, kw_only=True)
class StudyData:
    """A data set, found again by every worker: its name or absolute path, how it is read, and what is tested on."""

    name: str
    options: DataOptions
    on: Split

    def splits(self) -> Splits:
        """The images; with on="validation" those to be tested on are kept from all training, condensing included."""
        return read_splits(self.name, self.options, self.on)


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What the command says of every run."""

    data: StudyData
    settings: Mapping[str, Any]
    """Settings from flags and the environment, by path; `ipc` among them where it is given."""
    checkpoint_seconds: float
    command: tuple[str, ...]
    """Arguments of the study, for the record."""
    recipe: str | None = None
    from_file: Mapping[str, Any] = field(default_factory=dict)
    images: int | None = None
    dtype: Dtype = "float32"
    steps: int | None = None


@dataclass(frozen=True, kw_only=True)
class Condensation:
    """Everything that one run needs; paths are absolute."""

    given: RunSettings
    chosen: Chosen
    recipe: Recipe
    dtype: Dtype
    evaluations: dict[str, EvaluateConfig]
    """By the name of the file that each writes into the run's folder."""


def condense_and_evaluate(run: Condensation, folder: Path) -> dict[str, Any]:
    """Condense into the folder, then train and test; returns the mean accuracies in per cent, one an evaluation.

    What is there already is not done again.

    Raises:
        UserError: as `hmn condense` and `hmn evaluate` do.
        Stopped: a signal came, and a checkpoint was written.
    """
    condense_into(run, folder)
    found, on = [], run.given.data.on
    for name, settings in run.evaluations.items():
        if not (folder / name).exists():
            target, _ = target_of(str(folder / CONDENSED), on=on)
            training = choose_training(target, vars(settings), run.given.steps)
            write_json(folder / name, evaluation_report([target], training, on))
        found.append(float(_read(folder / name)["accuracy_percent"]["mean"]))
    return {"accuracies": found}


def condense_into(run: Condensation, folder: Path) -> None:
    """One condensation into the run's folder, begun or gone on with; raises as `condense_and_evaluate`."""
    COMMAND.set(run.given.command)
    out, data = folder / CONDENSED, run.given.data
    what: dict[str, Any] = {"data": data.name, "options": data.options, "splits": data.splits()}
    held = data.on == "validation"
    job = Job(chosen=run.chosen, recipe=run.recipe, dtype=run.dtype, hold_out=held, **what)
    try:
        job.run(out, resume=is_begun(out), force=False, checkpoint_seconds=run.given.checkpoint_seconds)
    except Interruption:
        raise Stopped from None


def is_begun(out: Path) -> bool:
    """Whether a condensation left anything to go on with: one that was killed very early has not."""
    return any((out / name).exists() for name in (CHECKPOINT, CONTAINER))


def evaluation_row(folder: Path, name: str) -> dict[str, Any]:
    """What the table says of one evaluation: numbers alone, and nothing that a second attempt would change."""
    report = _read(folder / name)
    width = "" if report["width"] is None else f", width {report['width']}"
    steps = "" if " steps" in report["protocol"] else f", {report['train_steps']:,} steps"
    report["trained"] = f"{report['net']}{width}, protocol {report['protocol']}{steps}"
    return {name: report[name] for name in MEASURED}


def run_seconds(folder: Path, name: str) -> dict[str, Any]:
    """Seconds of one run's parts, as far as it has them."""
    condensing, training = read_run(folder / CONDENSED), _read(folder / name)
    return {"condense_seconds": condensing.get("condense_seconds"), "train_seconds": training.get("train_seconds")}


def _read(path: Path) -> dict[str, Any]:
    """A file of JSON, and nothing where there is none."""
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}
