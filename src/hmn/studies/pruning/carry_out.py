"""A pruning carried out: beta searched where it is asked for, the folder written, the study made; after a condensation
over budget and its profile, too, as one command that goes on where it broke off.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from hmn.condensation.job import settle
from hmn.containers.artifact.load import info
from hmn.containers.artifact.place import AUM
from hmn.containers.artifact.run_data import Split
from hmn.data.options import DataOptions
from hmn.errors import UserError, check_at_least
from hmn.measure.candidates import target_of
from hmn.pruning.aum import EPOCHS, ProfileSettings, load_profile, save_profile
from hmn.pruning.folder import check_out, remove_artifact, write_pruned
from hmn.pruning.survivors import Method, Pruning
from hmn.pruning.target import PerClass, Target, read_target, surviving_counts
from hmn.runtime.console import OnProgress, note, reported_to
from hmn.runtime.launched import check_alone, check_flags
from hmn.runtime.memory import keep_freed_memory
from hmn.studies.pruning.beta import TRIALS, Trials, search_beta
from hmn.studies.pruning.study import PruningStudy
from hmn.studies.tasks import is_begun
from hmn.studies.where import Where

Beta = float | Literal["auto"] | None
OVER = "over-budget"
"""Folder of the container before pruning, in the folder of the result."""


@dataclass(frozen=True, kw_only=True)
class PruneOrder:
    """What a pruning goes by: the arguments of `prune`."""

    run: Path
    """The condensed folder."""
    out: Path | None
    to: int | None = None
    rate: float | None = None
    method: Method = "double-end"
    beta: Beta = None
    aum: Path | None = None
    seed: int = 0
    study: PruningStudy | None = None
    repeats: int = 3
    choose_on: Split = "validation"
    data: str | None = None
    options: DataOptions = field(default_factory=DataOptions)
    given: Mapping[str, Any] = field(default_factory=dict)
    """net, width and protocol, None where not given."""
    steps: int | None = None
    where: Where
    beside: tuple[str, ...] = (TRIALS,)
    """Folders that may stand in `out` before it is written."""
    resume: bool = False
    force: bool = False

    @property
    def searches(self) -> bool:
        """Whether beta of the folder to be written is searched for."""
        return self.out is not None and self.method == "double-end" and self.beta == "auto"

    @property
    def trials(self) -> Path:
        """Folder of the trainings."""
        if self.out is not None:
            return self.out / TRIALS
        assert self.study is not None
        return self.study.file.with_suffix(f".{TRIALS}")

    def check(self) -> None:
        """Refuse what makes no sense, before anything is read."""
        if self.out is None and self.study is None:
            raise UserError(
                "nothing to write: give --out, a folder for the pruned container, or --study, a .json file."
            )
        if self.out is None and (self.to is not None or self.rate is not None):
            raise UserError("--to and --rate are for the folder that --out names; a study takes --rates.")
        if self.method != "double-end" and self.beta is not None:
            raise UserError(f"--beta {self.beta}: is for --method double-end, and this is {self.method}.")
        if self.out is not None and self.method == "double-end" and self.beta is None:
            raise UserError("double-end pruning needs --beta: a share from 0 to 1, or auto to search for it.")
        self.where.check("pruning", resume=self.resume, force=self.force)
        check_at_least(1, repeats=self.repeats, steps=self.steps, width=self.given.get("width"))
        if not 0 <= self.seed < 2**63:
            raise UserError(f"--seed {self.seed}: expected 0 or more, below 2^63.")


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What came of a pruning."""

    order: PruneOrder
    record: Mapping[str, Any] | None
    """pruning.json of the folder."""
    report: Mapping[str, Any] | None
    """Report of the study."""

    def __fspath__(self) -> str:
        """The folder of the pruned container, so that this may stand for its path."""
        return str(self.order.out)


def prune(
    target: str | PathLike[str],
    out: str | PathLike[str] | None = None,
    *,
    to: int | None = None,
    rate: float | None = None,
    method: Method = "double-end",
    beta: Beta = None,
    aum: Path | None = None,
    seed: int = 0,
    study: PruningStudy | None = None,
    choose_on: Split = "validation",
    repeats: int = 3,
    data: str | None = None,
    options: DataOptions | None = None,
    net: str | None = None,
    width: int | None = None,
    protocol: str | None = None,
    steps: int | None = None,
    where: Where | None = None,
    resume: bool = False,
    force: bool = False,
    on_progress: OnProgress | None = None,
) -> Pruned:
    """Write a condensed folder with fewer images, chosen by their AUM; every class is pruned by itself.

    Surviving images keep their pixels to the bit. Without `to` and `rate` it is pruned into its budget.
    Source: HMN (arXiv:2310.07506), section 3.3.

    Args:
        target: a condensed folder, with its profile (`hmn profile`) but for method "random".
        out: the folder to write; None for a study alone.
        to: images a class to keep.
        rate: share of each class to remove, from 0 to below 1.
        method: "double-end", "hard", "easy" or "random".
        beta: for "double-end", the share of the images removed that are the hardest, from 0 to 1; or "auto": the best
            of 0, 0.1, ... 0.9 on the split `choose_on`, each trained `repeats` times.
        aum: profile to use; None for the target's own.
        seed: of random pruning's choice.
        study: what to compare and where to write it.
        choose_on: "validation" or "test", for "auto".
        repeats: trainings of each pruning.
        data: the data to test on; None for those that the target was made from.
        options: how to read them.
        net, width, protocol, steps: as for `hmn.evaluate`.
        where: where trainings run; None for this machine's cores.
        resume: keep trainings that are done.
        force: write over what is there.
        on_progress: called with an `hmn.Progress` now and then, in the place of progress on stderr.

    Raises:
        UserError: the target, its AUM or its data cannot be used, a folder is in use, or a training failed.
        Interruption: a signal came; with `resume` it goes on.
    """
    given = {"net": net, "width": width, "protocol": protocol}
    what: dict[str, Any] = {"to": to, "rate": rate, "method": method, "beta": beta, "aum": aum, "seed": seed}
    what |= {"study": study, "choose_on": choose_on, "repeats": repeats, "data": data, "steps": steps}
    what |= {"options": options or DataOptions(), "where": where or Where(), "resume": resume, "force": force}
    order = PruneOrder(run=Path(target), out=None if out is None else Path(out), given=given, **what)
    order.check()
    keep_freed_memory()
    with reported_to(on_progress):
        return carry_out(order)


def carry_out(order: PruneOrder) -> Pruned:
    """Do what is ordered, as `prune`; trainings that are done already are not repeated."""
    out, study, trials = order.out, order.study, None
    ways = {*(study.methods if study is not None else ()), *([order.method] if out is not None else ())}
    target = read_target(order.run, aum=order.aum, needs_aum=bool(ways - {"random"}))
    counts = None if out is None else surviving_counts(target, to=order.to, rate=order.rate)
    _check_places(order, target)
    if study is not None or order.searches:
        how: dict[str, Any] = {"data": order.data, "flags": order.options, "given": order.given, "steps": order.steps}
        trials = Trials(target, order.trials, order.where, **how)

    # Nothing was changed so far. With `force` an earlier pruning goes; the trials have a plan of their own.
    if order.force and out is not None:
        remove_artifact(out)
    if trials is not None:
        trials.open(resume=order.resume, force=order.force)
    record = None if counts is None else _write_folder(order, target, counts, trials)
    report = None
    if study is not None and trials is not None:
        report = study.run(target, trials)
        note(f"written: {study.file}")
    return Pruned(order=order, record=record, report=report)


def _check_places(order: PruneOrder, target: Target) -> None:
    """Refuse places that hold something else."""
    if order.out is not None:
        if order.out.resolve() == order.run.resolve():
            raise UserError(f"--out {order.out}: is the folder to be pruned, which stays as it is; name another.")
        check_out(order.out, beside=order.beside, sha256=target.stored.checksum, resume=order.resume, force=order.force)
    file = None if order.study is None else order.study.file
    if file is not None and file.exists() and not (order.resume or order.force):
        raise UserError(f"--study {file}: is already there: add --resume to go on with it, or --force to replace it.")


def _write_folder(order: PruneOrder, target: Target, counts: PerClass, trials: Trials | None) -> dict[str, Any]:
    """Choose the survivors and write the pruned artifact; returns its record."""
    assert order.out is not None
    search = None
    beta = order.beta if isinstance(order.beta, float) else None
    if order.searches and trials is not None:
        search = search_beta(target, trials, [counts], repeats=order.repeats, on=order.choose_on)[0]
        beta = float(search["best"])
    pruning = Pruning(method=order.method, counts=counts, beta=beta)
    aum = None if target.profile is None else target.profile.aum
    kept = pruning.kept(aum, target.labels, seed=order.seed, copies=target.copies)
    seed = order.seed if order.method == "random" else None
    how = {"method": order.method, "beta": beta, "seed": seed, "chosen_by": search}
    return write_pruned(order.run, order.out, kept=kept, how=how, recipe=target.recipe, profile=target.profile)


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
    check_alone("--prune starts processes of its own", instead="condense under torchrun, then run hmn prune")
    check_flags(resume=resume, force=force, checkpoint_seconds=checkpoint_seconds)
    run, beside = out / OVER, (OVER, TRIALS)
    job = settle(data, begun=None if force else run, **asked)
    check_out(out, beside=beside, sha256=None, resume=resume, force=force)

    # A stage that has left nothing is begun, whatever is asked of the whole.
    begun = is_begun(run)
    job.run(run, resume=resume and begun, force=force and begun, checkpoint_seconds=checkpoint_seconds)
    _profile_once(run)
    order = PruneOrder(run=run, out=out, beta=beta, beside=beside, resume=not force, force=force, where=Where())
    return carry_out(order)


def _profile_once(run: Path) -> None:
    """Take the AUM of a container, unless it lies beside it already."""
    try:
        load_profile(run, sha256=info(run).checksum)
        return
    except UserError:  # absent, or of an earlier container
        note(f"{run}: taking the AUM of every image.")
    source, _ = target_of(str(run))
    net: dict[str, Any] = {"net": source.settings.net, "width": source.settings.width}
    settings = ProfileSettings(target=str(run), epochs=EPOCHS, seeds=1, margin="softmax", cutmix=0.0, **net)
    save_profile(settings.take(source), run / AUM)
