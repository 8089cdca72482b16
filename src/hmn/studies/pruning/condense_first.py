"""Condensing over budget, profiling and pruning as one command that goes on where it broke off."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hmn.cli.prune import tell
from hmn.condense.job import Job, condensed
from hmn.data.formats import DataOptions
from hmn.errors import UserError
from hmn.measure.candidates import target_of
from hmn.prune.profile import EPOCHS, Wanted, take, write
from hmn.runtime.console import note
from hmn.studies.condensation import is_begun
from hmn.studies.pool import SweepInterrupted
from hmn.studies.pruning.carry_out import Beta, Order, carry_out
from hmn.studies.pruning.trials import TRIALS
from hmn.studies.where import Where

OVER = "over-budget"
"""Folder of the container before pruning, in the folder of the result."""


def condense_and_prune(
    job: Job, beta: Beta, *, resume: bool, force: bool, checkpoint_seconds: float | None, as_json: bool
) -> int:
    """Condense into a folder of the job's, take the AUM there, and write the pruned container to the job's folder.

    Every stage that is done is kept when it is resumed. Networks that choose beta are trained by the recipe's
    evaluation settings.

    Args:
        job: over its budget.
        beta: a share, or "auto".
        resume: go on.
        force: begin anew.
        checkpoint_seconds: between two checkpoints of the condensation.
        as_json: print JSON.

    Returns:
        the exit code.

    Raises:
        UserError: the folder is in use, or a stage refuses its settings.
    """
    from hmn.prune.folder import check_out

    out = job.out
    check_out(out, beside=(OVER, TRIALS), sha256=None, resume=resume, force=force)
    over = replace(job, out=out / OVER)
    if not condensed(
        over, resume=resume and is_begun(over.out), force=force and is_begun(over.out),
        checkpoint_seconds=checkpoint_seconds,
    ):  # fmt: skip
        return 130
    profile_once(over.out)
    order = Order(
        run=over.out, out=out, beta=beta, beside=(OVER, TRIALS), resume=not force, force=force,
        where=Where(),
    )  # fmt: skip
    try:
        done = carry_out(order)
    except SweepInterrupted:
        return 130
    tell(done, as_json=as_json)
    return 0


def profile_once(run: Path) -> None:
    """Take the AUM of a container, unless it lies beside it already."""
    from hmn.containers.artifact.load import info
    from hmn.prune.aum import AUM_FILE, load_profile

    try:
        load_profile(run, sha256=info(run).checksum)
        return
    except UserError:  # absent, or of an earlier container
        note(f"{run}: taking the AUM of every image.")
    source, _ = target_of(str(run), data=None, subset=None, flags=DataOptions())
    wanted = Wanted(
        target=str(run), epochs=EPOCHS, seeds=1, margin="softmax", cutmix=0.0, net=source.settings.net,
        width=source.settings.width,
    )  # fmt: skip
    write(take(source, wanted), run / AUM_FILE)
