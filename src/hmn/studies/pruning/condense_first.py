"""Condensing over budget, profiling and pruning as one command that goes on where it broke off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hmn.condensation.job import settle
from hmn.containers.artifact.load import info
from hmn.containers.artifact.place import AUM
from hmn.data.options import DataOptions
from hmn.errors import UserError
from hmn.measure.candidates import target_of
from hmn.pruning.aum import EPOCHS, load_profile, save_profile
from hmn.pruning.folder import check_out
from hmn.pruning.profile import ProfileSettings
from hmn.runtime.console import note
from hmn.runtime.launched import launched
from hmn.studies.condensation import is_begun
from hmn.studies.pruning.carry_out import Beta, Pruned, PruneOrder, carry_out
from hmn.studies.pruning.trials import TRIALS
from hmn.studies.where import Where

OVER = "over-budget"
"""Folder of the container before pruning, in the folder of the result."""


def condense_and_prune(
    data: Any,
    *,
    out: Path,
    beta: Beta,
    resume: bool = False,
    force: bool = False,
    checkpoint_seconds: float | None = None,
    **asked: Any,
) -> Pruned:
    """Condense over budget into a folder in `out`, take the AUM there, and write the pruned container to `out`.

    Every stage that is done is kept when it is resumed. Networks that choose beta are trained by the recipe's
    evaluation settings.

    Args:
        data: as for `hmn.condense`.
        out: the folder to write.
        beta: a share, or "auto".
        resume: go on.
        force: begin anew.
        checkpoint_seconds: between two checkpoints of the condensation.
        asked: as for `hmn.condense`, over_budget among it.

    Raises:
        UserError: the folder is in use, or a stage refuses its settings.
        Interruption: a signal came; with `resume` it goes on.
    """
    if asked.get("over_budget") is None:
        raise UserError(f"--prune {beta}: prunes into the budget; give --over-budget too, such as 10%.")
    if launched().size > 1:
        raise UserError("--prune starts processes of its own: condense under torchrun, then run hmn prune.")
    if force and resume:
        raise UserError("--force begins anew and --resume goes on: give one of them.")
    run, beside = out / OVER, (OVER, TRIALS)
    job = settle(data, begun=None if force else run, **asked)
    check_out(out, beside=beside, sha256=None, resume=resume, force=force)

    # A stage that has left nothing is begun, whatever is asked of the whole.
    begun = is_begun(run)
    job.run(run, resume=resume and begun, force=force and begun, checkpoint_seconds=checkpoint_seconds)
    profile_once(run)
    order = PruneOrder(run=run, out=out, beta=beta, beside=beside, resume=not force, force=force, where=Where())
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
