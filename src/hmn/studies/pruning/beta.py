"""The choice of beta from repeated trainings, and what its noise allows to say."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hmn.containers.artifact.run_data import Split
from hmn.containers.shape import in_short
from hmn.pruning.survivors import BETAS, Pruning
from hmn.pruning.target import PerClass, Target, share_removed
from hmn.runtime.console import note
from hmn.studies.pruning.trials import Repeated, Trials
from hmn.train.results import spread

VALIDATION_SEEN = (
    "the validation images were seen in its condensation: a choice on them is less honest than after "
    "`hmn condense --hold-out`"
)
ON_TEST = "beta is chosen on the test split, which the accuracy is then no measure of"
STANDARD_ERRORS = 2.0
"""A difference of fewer standard errors than this is called none."""


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
    """The beta of the highest mean accuracy, the smaller of two equals.

    Args:
        values: accuracies in per cent of the repeats, by beta; at least one beta, and one value for each.
    """
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
