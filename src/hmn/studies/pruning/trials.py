"""Many trainings on pruned containers through a sweep: resumed where they broke off, never done twice."""

from __future__ import annotations

import hashlib
import json
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hmn.containers.artifact.place import read_run
from hmn.data.formats import DataOptions
from hmn.data.named import absolute
from hmn.errors import UserError
from hmn.measure.candidates import target_of
from hmn.prune.target import Target
from hmn.runtime.console import command_line, note
from hmn.runtime.files import write_atomically
from hmn.studies.folder import PLAN, begin, examine, read_plan, run_names
from hmn.studies.pool import Outcome, SweepInterrupted, SweepRun
from hmn.studies.training import PrunedTraining, Pruning, train_pruned
from hmn.studies.watch import watch
from hmn.studies.where import Where

if TYPE_CHECKING:
    from hmn.measure.candidates import Candidate
    from hmn.measure.training import Training


TRIALS = "trials"
"""Folder of the trainings, beside what they decide."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What is trained on, and what it is tested on; as many trainings as repeats."""

    method: Pruning
    counts: tuple[int, ...]
    beta: float | None = None
    on: Literal["test", "validation"]

    def name(self, seed: int) -> str:
        """Of the run's folder: the same for the same training, so that searches and studies share it."""
        beta = "" if self.beta is None else f"-beta-{self.beta:g}"
        uneven = f"-{zlib.crc32(repr(self.counts).encode()):08x}" if len({*self.counts}) > 1 else ""
        return f"{sum(self.counts):06d}{uneven}-{self.method}{beta}-{self.on}-seed-{seed}"


class Trials:
    """A folder of trainings on one container under one protocol. It keeps what was settled, and the outcomes."""

    def __init__(self, folder: Path, template: PrunedTraining, where: Where, *, identity: dict[str, Any]) -> None:
        """Args:
        folder: of the trainings.
        template: with everything but method, counts, beta, seed and split.
        where: they run.
        identity: of container, profile and data, by the names of a sweep's parts; the protocol comes on top.
        """
        self.folder, self.template, self.where = folder, template, where
        protocol = {"net": template.net, "width": template.width, "config": asdict(template.config)}
        self.plan: dict[str, Any] = {
            "identity": {"vary": {}, "tested_on": "as each run's name says", **identity, "runs": protocol},
            "points": [],
        }
        self.outcomes: dict[str, Outcome] = {}

    def open(self, *, resume: bool, force: bool) -> None:
        """Take the folder, before anything is trained.

        Raises:
            UserError: it holds another container's trainings, or these, and neither flag is given.
        """
        there = examine(self.folder, self.plan, resume=resume and (self.folder / PLAN).exists(), force=force)
        if there is None or force:
            begin(self.folder, {"command": command_line().split(), **self.plan})
        else:
            self.plan = there

    def run(self, what: str, specs: Sequence[Spec], repeats: int) -> dict[Spec, list[float]]:
        """Accuracies in per cent of each spec's trainings, one a seed from 0 on; what is done is not done again.

        Raises:
            UserError: a training failed.
            SweepInterrupted: a signal came; a second call goes on.
        """
        wanted = {spec.name(seed): (spec, seed) for spec in dict.fromkeys(specs) for seed in range(repeats)}
        runs = [SweepRun(name=name, payload=self._payload(spec, seed)) for name, (spec, seed) in wanted.items()]
        self._note_names(list(wanted))
        workers = self.where.workers_for(len(runs))
        threads = self.where.threads_for(workers)
        note(f"{what}: {len(runs)} trainings of {self.template.config.steps:,} steps, {workers} at a time")
        pool = self.where.pool(self.folder, workers=workers, threads=threads)
        try:
            outcomes = watch(
                what, runs, train_pruned, self.folder, backend=pool, threads=threads, ending=ending,
                stopping="stopping; Ctrl-C again ends the trainings at once.", tell_running=False,
            )  # fmt: skip
        except SweepInterrupted as error:
            done = sum(outcome.status == "done" for outcome in error.outcomes.values())
            print(
                f"hmn: interrupted; {done} of {len(runs)} trainings are done: run the same command with --resume "
                "to go on.",
                file=sys.stderr,
            )
            raise
        self.outcomes.update(outcomes)
        bad = [f"{name}: {outcome.reason}" for name, outcome in outcomes.items() if outcome.status != "done"]
        if bad:
            raise UserError(f"{len(bad)} of {len(runs)} trainings failed, {bad[0].rstrip('.')}. --resume tries again.")
        found: dict[Spec, list[float]] = {}
        for name, (spec, _) in wanted.items():
            found.setdefault(spec, []).append(float(outcomes[name].value["accuracy"]))
        return found

    def _payload(self, spec: Spec, seed: int) -> PrunedTraining:
        needs_aum = spec.method not in ("unpruned", "random")
        return replace(
            self.template, method=spec.method, counts=spec.counts, beta=spec.beta, on=spec.on, seed=seed,
            aum=self.template.aum if needs_aum else None,
        )  # fmt: skip

    def _note_names(self, names: Sequence[str]) -> None:
        """Enter runs into the plan, which a later --force removes them by."""
        plan = read_plan(self.folder) or self.plan
        new = [name for name in names if name not in {*run_names(plan)}]
        plan["points"] = [*plan["points"], *({"run": name} for name in new)]
        text = json.dumps(plan, indent=2, ensure_ascii=False) + "\n"
        write_atomically(self.folder / PLAN, text.encode())


def ending(outcome: Outcome) -> str | None:
    """How a training ended, where it failed; of many short ones no more is said."""
    return f"failed: {outcome.reason}" if outcome.status == "failed" else None


@dataclass(frozen=True, kw_only=True)
class Measured:
    """How the trainings are done that choose between prunings."""

    candidate: Candidate
    """The container as it is, with its test images."""
    training: Training
    template: PrunedTraining


def measured(
    target: Target, *, data: str | None, flags: DataOptions, given: Mapping[str, Any], steps: int | None
) -> Measured:
    """Data and protocol: every pruning trains for as many steps as the whole container.

    Args:
        target: the artifact.
        data: to test on, in the place of the run's own.
        flags: about the data.
        given: net, width and protocol as flags; None where not given.
        steps: in the place of the protocol's.

    Raises:
        UserError: the data cannot be read, or a setting is wrong.
    """
    from hmn.measure.training import choose_training

    candidate, _ = target_of(str(target.run), data=data, subset=None, flags=flags)
    training = choose_training(candidate, given, steps)
    record = read_run(target.run)
    recorded = flags.completed(record.get("data_flags"), same_place=data is None)
    template = PrunedTraining(
        run=str(target.run.resolve()), sha256=target.stored.checksum,
        aum=None if target.aum is None else str(target.aum.resolve()),
        data=absolute(data or record.get("data") or target.stored.data_name), data_flags=recorded.absolute(),
        on="validation", method="unpruned", counts=target.counts, beta=None, seed=0, net=training.net,
        width=training.width, config=training.config,
    )  # fmt: skip
    return Measured(candidate=candidate, training=training, template=template)


def trials_of(target: Target, how: Measured, folder: Path, where: Where) -> Trials:
    """The trainings on this container under this protocol."""
    from hmn.data.real import fingerprint

    aum = None if target.aum is None else hashlib.sha256(_aum_bytes(target)).hexdigest()
    identity = {
        "data": {
            "container": target.stored.checksum, "aum": aum, "test": fingerprint(how.candidate.test),
            "from": how.template.data,
        }
    }  # fmt: skip
    return Trials(folder, how.template, where, identity=identity)


def _aum_bytes(target: Target) -> bytes:
    assert target.profile is not None
    return target.profile.aum.numpy().tobytes()
