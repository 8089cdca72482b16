"""What a run of `hmn sweep` is: one condensation, and the trainings that measure it. Called in worker processes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hmn.condense.job import Job, record_data
from hmn.containers.artifact.place import CHECKPOINT_FILE, CONTAINER_FILE, RUN_FILE
from hmn.containers.choose import Chosen
from hmn.data.formats import DataOptions
from hmn.measure.candidates import read_splits, target_of
from hmn.measure.training import choose_training, evaluation_report
from hmn.recipes.settings import Dtype, EvaluateConfig, Recipe
from hmn.runtime.console import COMMAND, ProgressView, command_line
from hmn.runtime.files import write_atomically
from hmn.studies.pool.outcome import Stopped

CONDENSED = "condensed"
"""In a run's folder: what `hmn condense` would have written."""


@dataclass(frozen=True, kw_only=True)
class Condensation:
    """Everything that one run needs; paths are absolute."""

    data: str
    data_flags: DataOptions
    on: Literal["test", "validation"]
    chosen: Chosen
    recipe: Recipe
    dtype: Dtype
    checkpoint_seconds: float
    evaluations: dict[str, EvaluateConfig]
    """By the name of the file that each writes into the run's folder."""
    steps: int | None
    command: tuple[str, ...]
    """Arguments of the sweep, for the record."""


def condense_and_evaluate(wanted: Condensation, folder: Path) -> dict[str, float]:
    """Condense into the folder, then train and test; what is there already is not done again.

    Returns:
        The mean accuracy in per cent by the file of its evaluation.

    Raises:
        UserError: as `hmn condense` and `hmn evaluate` do.
        Stopped: a signal came, and a checkpoint was written.
    """
    COMMAND.set(wanted.command)
    condense(wanted, folder / CONDENSED)
    found = {}
    for name, settings in wanted.evaluations.items():
        if not (folder / name).exists():
            report = evaluate(wanted, settings, folder / CONDENSED)
            text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False)
            write_atomically(folder / name, (text + "\n").encode())
        found[name] = float(json.loads((folder / name).read_text(encoding="utf-8"))["accuracy_percent"]["mean"])
    return found


def condense(wanted: Condensation, out: Path) -> None:
    """One condensation, begun or gone on with."""
    from hmn.condense.run import Interrupted, Progress, condense_run

    # With --on validation the images to be tested on are kept from the condensation as well.
    splits = read_splits(wanted.data, wanted.data_flags, wanted.on)
    job = Job(
        data=wanted.data, data_flags=wanted.data_flags, splits=splits, chosen=wanted.chosen, recipe=wanted.recipe,
        out=out, dtype=wanted.dtype, hold_out=wanted.on == "validation",
    )  # fmt: skip
    with ProgressView() as view:

        def show(progress: Progress) -> None:
            view.show(progress.phase, progress.done, progress.total, f"loss {progress.loss:.4g}")

        try:
            condense_run(
                splits, wanted.chosen.shape, wanted.recipe, out, resume=is_begun(out), force=False, dtype=wanted.dtype,
                command=command_line(), on_progress=show, checkpoint_seconds=wanted.checkpoint_seconds,
                record=record_data(job),
            )  # fmt: skip
        except Interrupted:
            raise Stopped from None


def is_begun(out: Path) -> bool:
    """Whether a condensation left anything to go on with: one that was killed very early has not."""
    return any((out / name).exists() for name in (CHECKPOINT_FILE, CONTAINER_FILE))


def evaluate(wanted: Condensation, settings: EvaluateConfig, condensed: Path) -> dict[str, Any]:
    """What `hmn evaluate` reports of the condensed folder."""
    target, _ = target_of(str(condensed), data=None, subset=None, flags=DataOptions(), on=wanted.on)
    training = choose_training(target, vars(settings), wanted.steps)
    return evaluation_report([target], training, wanted.on)


MEASURED = ("accuracy_percent", "trained", "train_steps", "images", "floats", "bytes", "test_images")
"""What a row of the table says of an evaluation."""


def row(folder: Path, name: str) -> dict[str, Any]:
    """What the table says of one evaluation: numbers alone, and nothing that a second attempt would change."""
    report = json.loads((folder / name).read_text(encoding="utf-8"))
    width = "" if report["width"] is None else f", width {report['width']}"
    steps = "" if " steps" in report["protocol"] else f", {report['train_steps']:,} steps"
    return {
        "accuracy_percent": report["accuracy_percent"],
        "trained": f"{report['net']}{width}, protocol {report['protocol']}{steps}",
        "train_steps": report["train_steps"],
        "images": report["images"], "floats": report["floats"], "bytes": report["bytes"],
        "test_images": report["test_images"],
    }  # fmt: skip


def times(folder: Path, name: str) -> dict[str, Any]:
    """Seconds of one run's parts, as far as it has them."""

    def read(path: Path, key: str) -> Any:
        return json.loads(path.read_text(encoding="utf-8")).get(key) if path.exists() else None

    return {
        "condense_seconds": read(folder / CONDENSED / RUN_FILE, "condense_seconds"),
        "train_seconds": read(folder / name, "train_seconds"),
    }
