"""The trainings that choose between prunings, the choice of beta from them, and what its noise allows to say."""

import hashlib
import math
import statistics
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hmn.containers.artifact.place import read_run
from hmn.containers.artifact.run_data import Split
from hmn.containers.shape import in_short
from hmn.data.named import absolute
from hmn.data.options import DataOptions
from hmn.errors import UserError
from hmn.measure.candidates import target_of
from hmn.measure.training import choose_training
from hmn.pruning.survivors import BETAS, Pruning
from hmn.pruning.target import PerClass, Target, share_removed
from hmn.runtime.console import note
from hmn.studies.folder import PLAN, Study, plan_of
from hmn.studies.pool.attempt import SweepRun
from hmn.studies.tasks import StudyData, TrainOn, train_on
from hmn.studies.where import Where
from hmn.train.results import spread

TRIALS = "trials"
"""Folder of the trainings, beside what they decide."""
VALIDATION_SEEN = (
    "the validation images were seen in its condensation: a choice on them is less honest than after "
    "`hmn condense --hold-out`"
)
ON_TEST = "beta is chosen on the test split, which the accuracy is then no measure of"
STANDARD_ERRORS = 2.0
"""A difference of fewer standard errors than this is called none."""


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
        not given) for `steps` in the place of the protocol's. Raises UserError: data or settings cannot be used.
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
        """Accuracies in per cent of each trial's trainings, one a seed from 0 on. Raises UserError: one failed."""
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


@dataclass(frozen=True, kw_only=True)
class BetaChoice:
    """The best of several settings by the mean of their accuracies."""

    best: float
    distinguishable: bool
    """Whether it leads each of its neighbours on the grid by more than `STANDARD_ERRORS`."""
    indistinguishable_from: tuple[float, ...]
    """Every setting that it does not lead by so much."""
    pooled_std: float | None
    """Sample standard deviation of the repeats, pooled over the grid: what a difference is held against. With three
    repeats each setting's own would often be nearly nought by luck. None where nothing was repeated."""
    sentence: str
    """The same in words."""


def choose_beta(values: Mapping[float, Sequence[float]]) -> BetaChoice:
    """The beta of the highest mean accuracy, the smaller of two equals; `values` are repeats' in per cent, by beta."""
    grid = sorted(values)
    means = {beta: statistics.fmean(values[beta]) for beta in grid}
    best = max(grid, key=lambda beta: (means[beta], -beta))
    noise = pooled_std(list(values.values()))

    def led(beta: float) -> bool:
        if noise is None:
            return False
        error = noise * math.sqrt(1 / len(values[best]) + 1 / len(values[beta]))
        return means[best] - means[beta] > STANDARD_ERRORS * error

    # Neighbours decide whether the best is told apart; the others are named.
    near = tuple(beta for beta in grid if beta != best and not led(beta))
    place = grid.index(best)
    leads = not {*grid[max(0, place - 1) : place], *grid[place + 1 : place + 2]} & {*near}
    sentence = _sentence(best, values[best], noise, near, leads)
    how: dict[str, Any] = {"indistinguishable_from": near, "pooled_std": noise, "sentence": sentence}
    return BetaChoice(best=best, distinguishable=leads, **how)


def pooled_std(groups: Sequence[Sequence[float]]) -> float | None:
    """Standard deviation within groups, by the degrees of freedom of all; None where no group has two values."""
    freedom = sum(len(group) - 1 for group in groups)
    if not freedom:
        return None
    return math.sqrt(sum((len(group) - 1) * statistics.variance(group) for group in groups if len(group) > 1) / freedom)


def repeats_of(values: Sequence[float]) -> dict[str, Any]:
    """Values, mean, sample standard deviation (0 for one) and number, as results write them."""
    return {**spread(values), "n": len(values)}


def standard_error(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Standard error of the difference of two means, by each sample's own deviation; None where one has one value."""
    if min(len(first), len(second)) < 2:
        return None
    return math.sqrt(sum(statistics.variance(values) / len(values) for values in (first, second)))


def _sentence(best: float, values: Sequence[float], noise: float | None, near: Sequence[float], leads: bool) -> str:
    head = f"best beta {best:g}: {statistics.fmean(values):.2f} %"
    if noise is None:
        return f"{head}; one training each tells nothing about noise: beta is not settled by this"
    head += f" (n {len(values)}; standard deviation within a beta {noise:.2f})"
    if not near:
        return f"{head}; it leads every other beta by more than {STANDARD_ERRORS:g} standard errors"
    listed = ", ".join(f"{beta:g}" for beta in near)
    if leads:
        return f"{head}; it leads its neighbours by more than {STANDARD_ERRORS:g} standard errors, but not {listed}"
    return f"{head}; not distinguishable from {listed} (no more than {STANDARD_ERRORS:g} standard errors apart)"


def search_beta(
    target: Target, trials: Trials, counts: Sequence[PerClass], *, repeats: int, on: Split
) -> list[dict[str, Any]]:
    """A search for each of the counts: its choice and everything that it was chosen from, as results write it.

    Every beta of the grid prunes to the same counts and trains the same seeds.
    """
    if on == "test":
        note(f"{ON_TEST}.")
    elif not target.held_out:
        note(f"{VALIDATION_SEEN}.")

    def at(left: PerClass, beta: float) -> Repeated:
        return Repeated(pruning=Pruning(method="double-end", counts=left, beta=beta), on=on)

    # Every training of every count first, so that they share processes; then a choice for each count.
    found = trials.run("trainings of the search", [at(left, beta) for left in counts for beta in BETAS], repeats)
    entries = []
    for left in counts:
        values = {beta: found[at(left, beta)] for beta in BETAS}
        choice = choose_beta(values)
        entry = {**place_of(target, left), "chosen_on": on, "validation_seen": not target.held_out, **vars(choice)}
        entry["indistinguishable_from"] = list(choice.indistinguishable_from)
        entry["pooled_std"] = None if choice.pooled_std is None else round(choice.pooled_std, 4)
        entries.append({**entry, "betas": [{"beta": beta, **repeats_of(values[beta])} for beta in sorted(values)]})
    return entries


def place_of(target: Target, counts: PerClass) -> dict[str, Any]:
    """Where a count stands: the share of images that it removes, and the images of each class that it leaves."""
    return {"rate": share_removed(target, counts), "images_per_class": in_short(counts)}
