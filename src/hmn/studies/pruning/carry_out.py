"""A pruning carried out: beta searched where it is asked for, the folder written, the study made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hmn.data.options import DataOptions
from hmn.errors import UserError
from hmn.measure.candidates import Split
from hmn.prune.folder import check_out, remove_artifact, write_pruned
from hmn.prune.survivors import Method, Pruning
from hmn.prune.target import Counts, Target, read_target, surviving_counts
from hmn.runtime.console import command_line, note
from hmn.studies.pruning.beta import search_beta
from hmn.studies.pruning.study import PruningStudy
from hmn.studies.pruning.trials import TRIALS, Trials
from hmn.studies.where import Where

Beta = float | Literal["auto"] | None


@dataclass(frozen=True, kw_only=True)
class PruneOrder:
    """Everything that a pruning goes by."""

    run: Path
    """The condensed folder."""
    out: Path | None
    """Folder of the pruned one; None for a study alone."""
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
    data_flags: DataOptions = field(default_factory=DataOptions)
    given: Mapping[str, Any] = field(default_factory=dict)
    """net, width and protocol, None where not given."""
    steps: int | None = None
    where: Where
    beside: tuple[str, ...] = (TRIALS,)
    """Folders that may stand in `out` before it is written."""
    resume: bool = False
    force: bool = False

    @property
    def trains(self) -> bool:
        """Whether networks are trained."""
        return self.study is not None or self.searches

    @property
    def searches(self) -> bool:
        """Whether beta of the folder to be written is searched for."""
        return self.out is not None and self.method == "double-end" and self.beta == "auto"

    @property
    def needs_aum(self) -> bool:
        """Whether it takes the images' AUM."""
        studied = self.study is not None and {*self.study.methods} - {"random"}
        return bool(studied) or (self.out is not None and self.method != "random")

    @property
    def trials(self) -> Path:
        """Folder of the trainings."""
        if self.out is not None:
            return self.out / TRIALS
        assert self.study is not None
        return self.study.file.with_suffix(f".{TRIALS}")


@dataclass(frozen=True, kw_only=True)
class Carried:
    """What came of it."""

    order: PruneOrder
    record: Mapping[str, Any] | None
    """pruning.json of the folder."""
    report: Mapping[str, Any] | None
    """Report of the study."""


def carry_out(order: PruneOrder) -> Carried:
    """Do it; trainings that are done already are not repeated.

    Raises:
        UserError: the target, its AUM or its data cannot be used, a folder is in use, or a training failed.
        Interruption: a signal came; with `resume` it goes on.
    """
    target = read_target(order.run, aum=order.aum, needs_aum=order.needs_aum)
    counts = None if order.out is None else surviving_counts(target, to=order.to, rate=order.rate)
    check_places(order, target)
    trials = None
    if order.trains:
        how: dict[str, Any] = {"flags": order.data_flags, "given": order.given, "steps": order.steps}
        trials = Trials(target, order.trials, order.where, data=order.data, **how)

    # Nothing was changed so far. With `force` an earlier pruning goes; the trials have a plan of their own.
    if order.force and order.out is not None:
        remove_artifact(order.out)
    if trials is not None:
        trials.open(resume=order.resume, force=order.force)
    record = None if counts is None else write_folder(order, target, counts, trials)
    report = None
    if order.study is not None and trials is not None:
        report = order.study.run(target, trials)
        note(f"written: {order.study.file}")
    return Carried(order=order, record=record, report=report)


def check_places(order: PruneOrder, target: Target) -> None:
    """Refuse places that hold something else.

    Raises:
        UserError: as it says.
    """
    if order.out is not None:
        if order.out.resolve() == order.run.resolve():
            raise UserError(f"--out {order.out}: is the folder to be pruned, which stays as it is; name another.")
        check_out(order.out, beside=order.beside, sha256=target.stored.checksum, resume=order.resume, force=order.force)
    file = None if order.study is None else order.study.file
    if file is not None and file.exists() and not (order.resume or order.force):
        raise UserError(f"--study {file}: is already there: add --resume to go on with it, or --force to replace it.")


def write_folder(order: PruneOrder, target: Target, counts: Counts, trials: Trials | None) -> dict[str, Any]:
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
    about: dict[str, Any] = {"recipe": target.recipe, "profile": target.profile, "command": command_line()}
    return write_pruned(order.run, order.out, kept=kept, how=how, **about)
