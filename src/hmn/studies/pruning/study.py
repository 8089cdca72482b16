"""A study of pruning: test accuracy at several rates, random and double-end, with beta chosen on validation."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hmn.containers.artifact.place import read_run
from hmn.containers.artifact.run_data import Split
from hmn.containers.shape import in_short
from hmn.pruning.survivors import Method, Pruning, counts_at_rate
from hmn.pruning.target import PerClass, Target
from hmn.runtime.files import write_json
from hmn.studies.pruning.beta import Repeated, Trials, place_of, repeats_of, search_beta, standard_error
from hmn.train.results import provenance

STUDY_KIND = "pruning-study"


@dataclass(frozen=True, kw_only=True)
class PruningStudy:
    """What is studied."""

    file: Path
    rates: tuple[float, ...]
    methods: tuple[Method, ...]
    """Besides the whole container."""
    repeats: int
    beta: float | None
    """Given; None searches for it."""
    search: Literal["once", "each"]
    """At the in-budget count alone, or at every count anew."""
    chosen_on: Split

    def run(self, target: Target, trials: Trials) -> dict[str, Any]:
        """Train everything that is not trained yet, write the file, and return its content; raises as `Trials.run`."""
        points = points_of(target, self.rates)
        searches: list[dict[str, Any]] = []
        betas = dict.fromkeys(points, self.beta)
        if self.beta is None and "double-end" in self.methods and points:
            first = target.in_budget if target.in_budget in points else points[0]
            at = [first] if self.search == "once" else points
            searches = search_beta(target, trials, at, repeats=self.repeats, on=self.chosen_on)
            best = dict(zip(at, (found["best"] for found in searches), strict=True))
            betas = {counts: best.get(counts, searches[0]["best"]) for counts in points}

        # The whole container, then every method at every count.
        prunings = [Pruning(method="unpruned", counts=target.counts)]
        for counts in points:
            for method in self.methods:
                beta = betas[counts] if method == "double-end" else None
                prunings.append(Pruning(method=method, counts=counts, beta=beta))
        trained = [Repeated(pruning=one, on="test") for one in prunings]
        found = trials.run("trainings of the study", trained, self.repeats)
        values = {trial.pruning: accuracies for trial, accuracies in found.items()}
        rows = []
        for one in prunings:
            how = {"in_budget": one.counts == target.in_budget, "beta": one.beta}
            rows.append({"method": one.method, **place_of(target, one.counts), **how, **repeats_of(values[one])})
        report = {
            **study_facts(target, trials),
            "beta_from": "given" if self.beta is not None else self.search,
            "beta_search": searches,
            "rows": rows,
            "comparisons": against_random(target, values, points),
        }
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.file, report)
        return report


def points_of(target: Target, rates: Sequence[float]) -> list[PerClass]:
    """Survivors of each class at every rate and at the budget, most images first; the whole container is not one."""
    found = {counts_at_rate(target.counts, rate, target.copies) for rate in rates}
    found.add(target.in_budget)
    return sorted(found - {target.counts}, key=sum, reverse=True)


def against_random(
    target: Target, values: Mapping[Pruning, Sequence[float]], points: Sequence[PerClass]
) -> list[dict[str, Any]]:
    """Double-end less random at every count, in points and in standard errors of the difference."""
    rows = []
    by_place = {(pruning.counts, pruning.method): accuracies for pruning, accuracies in values.items()}
    for counts in points:
        ours, random = by_place.get((counts, "double-end")), by_place.get((counts, "random"))
        if ours is None or random is None:
            continue
        error = standard_error(ours, random)
        difference = statistics.fmean(ours) - statistics.fmean(random)
        row = {**place_of(target, counts), "difference": round(difference, 4)}
        row["standard_error"] = None if error is None else round(error, 4)
        rows.append({**row, "in_standard_errors": round(difference / error, 2) if error else None})
    return rows


def study_facts(target: Target, trials: Trials) -> dict[str, Any]:
    """What the numbers were taken on and with."""
    candidate, training = trials.candidate, trials.training
    about = {name: getattr(candidate, name) for name in ("data", "ipc", "recipe", "condense_seconds", "condensed")}
    about["budget"] = target.stored.ledger.budget
    protocol = {"protocol": training.protocol, "steps": training.steps}
    tested = {"tested_on": "test", "test_images": len(candidate.test)}
    seen = {"condensed_from": read_run(target.run).get("condensed_from"), "validation_seen": not target.held_out}
    sizes = {"images_per_class": in_short(target.counts), "in_budget_images_per_class": in_short(target.in_budget)}
    aum = None if target.profile is None else target.profile.facts()
    # What was measured, by which training, on which images, and what was pruned.
    return {
        "kind": STUDY_KIND,
        **provenance(),
        **about,
        **training.network,
        **protocol,
        **tested,
        **seen,
        **sizes,
        "aum": aum,
    }
