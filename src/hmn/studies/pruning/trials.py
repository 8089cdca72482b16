"""The trainings that choose between prunings: a study of one container under one protocol."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hmn.containers.artifact.place import read_run
from hmn.containers.artifact.run_data import Split
from hmn.data.named import absolute
from hmn.data.options import DataOptions
from hmn.errors import UserError
from hmn.measure.candidates import target_of
from hmn.measure.training import choose_training
from hmn.pruning.survivors import Pruning
from hmn.pruning.target import Target
from hmn.studies.condensation import StudyData
from hmn.studies.folder import PLAN, Study, plan_of
from hmn.studies.pool.attempt import SweepRun
from hmn.studies.training import TrainOn, train_on
from hmn.studies.where import Where

TRIALS = "trials"
"""Folder of the trainings, beside what they decide."""


@dataclass(frozen=True, kw_only=True)
class Repeated:
    """What is trained on, and what it is tested on; as many trainings as repeats."""

    pruning: Pruning
    on: Split

    def name(self, seed: int) -> str:
        """Name of the run's folder: the same for the same training, so that searches and studies share it."""
        counts, beta = self.pruning.counts, self.pruning.beta
        share = "" if beta is None else f"-beta-{beta:g}"
        uneven = f"-{zlib.crc32(repr(counts).encode()):08x}" if len({*counts}) > 1 else ""
        return f"{sum(counts):06d}{uneven}-{self.pruning.method}{share}-{self.on}-seed-{seed}"


class Trials:
    """Trainings on one container, pruned in many ways. Every pruning trains for as many steps as the whole."""

    def __init__(
        self,
        target: Target,
        folder: Path,
        where: Where,
        *,
        data: str | None,
        flags: DataOptions,
        given: Mapping[str, Any],
        steps: int | None,
    ) -> None:
        """Trainings in `folder`, tested on `data` in the place of the run's own, trained as `given` (flags, None where
        not given) for `steps` in the place of the protocol's. UserError: data or settings cannot be used.
        """
        self.candidate, _ = target_of(str(target.run), data=data, flags=flags)
        self.training = choose_training(self.candidate, given, steps)
        record = read_run(target.run)
        options = flags.completed(record.get("data_flags"), same_place=data is None).absolute()
        name = absolute(data or record.get("data") or target.stored.data_name)
        place, sha256 = str(target.run.resolve()), target.stored.checksum
        aum = None if target.aum is None else str(target.aum.resolve())
        what: dict[str, Any] = {"place": place, "sha256": sha256, "aum": aum, "training": self.training}
        on = StudyData(name=name, options=options, on="validation")
        self.any_training = TrainOn(kind="condensed", data=on, **what)
        """All trainings, but for their pruning, their seed and what they are tested on."""

        # Container, profile, data and protocol: another of these is another study.
        profile = None if target.profile is None else hashlib.sha256(target.profile.aum.numpy().tobytes()).hexdigest()
        images = {"container": sha256, "aum": profile, "test": self.candidate.test.fingerprint(), "from": name}
        protocol = {"net": self.training.net, "width": self.training.width, "config": asdict(self.training.config)}
        identity = {"tested_on": "as each run's name says", "data": images, "runs": protocol}
        self.study = Study(folder, where, plan_of(identity, []))

    def open(self, *, resume: bool, force: bool) -> None:
        """Take the folder, before anything is trained, as `Study.open`; there may be nothing to resume yet."""
        self.study.open(resume=resume and (self.study.out / PLAN).exists(), force=force)

    def run(self, what: str, trials: Sequence[Repeated], repeats: int) -> dict[Repeated, list[float]]:
        """Accuracies in per cent of each trial's trainings, one a seed from 0 on, as `Study.run`.

        Raises:
            UserError: a training failed.
        """
        names = {(trial, seed): trial.name(seed) for trial in dict.fromkeys(trials) for seed in range(repeats)}
        runs = [SweepRun(name=name, payload=self._training(*which)) for which, name in names.items()]
        outcomes = self.study.run(what, runs, train_on, quiet=True)
        bad = [f"{name}: {outcome.reason}" for name, outcome in outcomes.items() if outcome.status != "done"]
        if bad:
            raise UserError(f"{len(bad)} of {len(runs)} trainings failed, {bad[0].rstrip('.')}. --resume tries again.")
        found: dict[Repeated, list[float]] = {}
        for (trial, _), name in names.items():
            found.setdefault(trial, []).append(round(float(outcomes[name].value["accuracies"][0]), 4))
        return found

    def _training(self, trial: Repeated, seed: int) -> TrainOn:
        """One training; what needs no AUM does not depend on its file."""
        aum = None if trial.pruning.method in ("unpruned", "random") else self.any_training.aum
        on = replace(self.any_training.data, on=trial.on)
        return replace(self.any_training, pruning=trial.pruning, aum=aum, data=on, seed=seed)
