"""A condensation with everything settled, run with its progress shown, and what its record says of the data."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hmn.containers.artifact.place import WHAT_FROM
from hmn.containers.choose import Chosen
from hmn.containers.over_budget import OverBudget
from hmn.data.options import DataOptions
from hmn.recipes.settings import Dtype, Recipe
from hmn.runtime.console import ProgressView, command_line, note
from hmn.runtime.processes import is_first

if TYPE_CHECKING:
    from hmn.condensation.run import Progress
    from hmn.data.real import Splits


PHASES = {"experts": "experts' epochs", "start": "fitting", "condense": "matching"}


@dataclass(frozen=True, kw_only=True)
class Job:
    """A condensation with everything settled."""

    data: str
    data_flags: DataOptions
    splits: Splits
    chosen: Chosen
    recipe: Recipe
    out: Path
    dtype: Dtype
    over_budget: OverBudget | None = None
    hold_out: bool = False
    """Whether `splits` lacks the validation tenth of the training images."""


def told_about_skipped(splits: Splits) -> None:
    """Say how many bad images were left out."""
    if splits.skipped:
        note(f"{splits.skipped:,} bad {'image was' if splits.skipped == 1 else 'images were'} skipped.")


def condensed(job: Job, *, resume: bool, force: bool, checkpoint_seconds: float | None) -> bool:
    """Condense into the job's folder, with progress on stderr; False where a signal stopped it at a checkpoint."""
    from hmn.condensation.run import Interrupted, condense_run

    shape = job.chosen.shape
    if is_first():
        note(
            f"{job.splits.name}: {len(job.splits.train):,} images -> {shape.images_each()} per class in "
            f"{shape.ledger().num_floats:,} of {shape.budget:,} floats; recipe {job.recipe.name}: "
            f"{job.recipe.cost}"
        )
        if job.over_budget is not None:
            note(f"{job.over_budget}.")
    with ProgressView(quiet=not is_first()) as view:

        def show(progress: Progress) -> None:
            view.show(
                PHASES.get(progress.phase, progress.phase),
                progress.done,
                progress.total,
                f"loss {progress.loss:.4g}",
            )

        try:
            condense_run(
                job.splits,
                shape,
                job.recipe,
                job.out,
                resume=resume,
                force=force,
                dtype=job.dtype,
                command=command_line(),
                on_progress=show,
                checkpoint_seconds=checkpoint_seconds,
                record=record_data(job),
                over_budget=job.over_budget is not None,
            )
        except Interrupted:
            interrupted = True
        else:
            interrupted = False
    if interrupted and is_first():
        print(
            f"hmn: interrupted; a checkpoint is in {job.out}: run the same command with --resume to go on.",
            file=sys.stderr,
        )
    return not interrupted


def record_data(job: Job) -> dict[str, Any]:
    """What the run's record says of the data, so that `hmn evaluate` finds them again from any folder."""
    from hmn.data.named import NAMES

    path = Path(job.data).expanduser()
    data = job.data if job.data in NAMES or not path.exists() else str(path.resolve())
    return {
        "data": data,
        "data_flags": job.data_flags.recorded(),
        "recipe": job.recipe.name,
        "ipc": job.recipe.ipc,
        "condensed_from": WHAT_FROM["validation" if job.hold_out else "test"],
        "over_budget": None if job.over_budget is None else asdict(job.over_budget),
    }
