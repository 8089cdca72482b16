"""Condensing over budget, profiling and pruning as one command that goes on where it broke off."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from hmn.condensation.job import Job, condensed
from hmn.containers.artifact.load import info
from hmn.containers.artifact.place import AUM
from hmn.data.options import DataOptions
from hmn.errors import UserError
from hmn.measure.candidates import target_of
from hmn.pruning.aum import EPOCHS, load_profile, save_profile
from hmn.pruning.folder import check_out
from hmn.pruning.profile import ProfileSettings
from hmn.runtime.console import note
from hmn.studies.condensation import is_begun
from hmn.studies.pruning.carry_out import Beta, Pruned, PruneOrder, carry_out
from hmn.studies.pruning.trials import TRIALS
from hmn.studies.where import Where

OVER = "over-budget"
"""Folder of the container before pruning, in the folder of the result."""


def condense_and_prune(
    job: Job, beta: Beta, *, resume: bool, force: bool, checkpoint_seconds: float | None
) -> Pruned | None:
    """Condense into a folder of the job's, take the AUM there, and write the pruned container to the job's folder.

    Every stage that is done is kept when it is resumed. Networks that choose beta are trained by the recipe's
    evaluation settings.

    Args:
        job: over its budget.
        beta: a share, or "auto".
        resume: go on.
        force: begin anew.
        checkpoint_seconds: between two checkpoints of the condensation.

    Returns:
        what came of it; None where a signal stopped the condensation, which has said so.

    Raises:
        UserError: the folder is in use, or a stage refuses its settings.
        Interruption: a signal came later.
    """
    out, beside = job.out, (OVER, TRIALS)
    check_out(out, beside=beside, sha256=None, resume=resume, force=force)
    over = replace(job, out=out / OVER)
    begun = is_begun(over.out)
    how: dict[str, Any] = {
        "resume": resume and begun,
        "force": force and begun,
        "checkpoint_seconds": checkpoint_seconds,
    }
    if not condensed(over, **how):
        return None
    profile_once(over.out)
    order = PruneOrder(run=over.out, out=out, beta=beta, beside=beside, resume=not force, force=force, where=Where())
    return carry_out(order)


def profile_once(run: Path) -> None:
    """Take the AUM of a container, unless it lies beside it already."""
    try:
        load_profile(run, sha256=info(run).checksum)
        return
    except UserError:  # absent, or of an earlier container
        note(f"{run}: taking the AUM of every image.")
    source, _ = target_of(str(run), data=None, subset=None, flags=DataOptions())
    net: dict[str, Any] = {"net": source.settings.net, "width": source.settings.width}
    settings = ProfileSettings(target=str(run), epochs=EPOCHS, seeds=1, margin="softmax", cutmix=0.0, **net)
    save_profile(settings.take(source), run / AUM)
