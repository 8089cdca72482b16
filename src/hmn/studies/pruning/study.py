"""A study of pruning: test accuracy at several rates, random and double-end, with beta chosen on validation."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hmn.containers.artifact.place import read_run
from hmn.prune.target import Counts, Target, share_removed, shown
from hmn.runtime.console import command_line
from hmn.runtime.files import write_atomically
from hmn.studies.pruning.beta import search_beta, standard_error, summary
from hmn.studies.pruning.trials import Measured, Spec, Trials
from hmn.studies.training import Pruning

KIND = "pruning-study"


@dataclass(frozen=True, kw_only=True)
class Study:
    """What is studied."""

    file: Path
    rates: tuple[float, ...]
    methods: tuple[Pruning, ...]
    """Besides the whole container."""
    repeats: int
    beta: float | None
    """Given; None searches for it."""
    search: Literal["once", "each"]
    """At the in-budget count alone, or at every count anew."""
    chosen_on: Literal["test", "validation"]


def study(target: Target, how: Measured, trials: Trials, wanted: Study) -> dict[str, Any]:
    """Train everything that is not trained yet, write the file, and return what it holds.

    Raises:
        UserError: a rate is out of range, or a training failed.
    """
    points = points_of(target, wanted.rates)
    searches: list[dict[str, Any]] = []
    betas = dict.fromkeys(points, wanted.beta)
    if wanted.beta is None and "double-end" in wanted.methods and points:
        at = [target.in_budget if target.in_budget in points else points[0]] if wanted.search == "once" else points
        searches = search_beta(target, trials, at, repeats=wanted.repeats, on=wanted.chosen_on)
        best = dict(zip(at, (found["best"] for found in searches), strict=True))
        betas = {counts: best.get(counts, searches[0]["best"]) for counts in points}
    whole = Spec(method="unpruned", counts=target.counts, on="test")
    specs = [whole]
    for counts in points:
        for method in wanted.methods:
            beta = betas[counts] if method == "double-end" else None
            specs.append(Spec(method=method, counts=counts, beta=beta, on="test"))
    found = trials.run("study", specs, wanted.repeats)
    report = {
        **facts_of(target, how),
        "beta_from": "given" if wanted.beta is not None else wanted.search,
        "beta_search": searches,
        "rows": [row_of(target, spec, found[spec]) for spec in specs],
        "comparisons": comparisons(target, found, points),
    }
    text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    wanted.file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(wanted.file, text.encode())
    return report


def points_of(target: Target, rates: Sequence[float]) -> list[Counts]:
    """Survivors of each class at every rate and at the budget, most images first; the whole container is not one."""
    from hmn.prune.survivors import counts_at_rate

    found = {counts_at_rate(target.labels, len(target.counts), rate, target.copies) for rate in rates}
    found.add(target.in_budget)
    return sorted(found - {target.counts}, key=sum, reverse=True)


def row_of(target: Target, spec: Spec, values: Sequence[float]) -> dict[str, Any]:
    """What the study says of one pruning."""
    return {
        "method": spec.method, "rate": share_removed(target, spec.counts), "images_per_class": shown(spec.counts),
        "in_budget": spec.counts == target.in_budget, "beta": spec.beta, **summary(values),
    }  # fmt: skip


def comparisons(
    target: Target, found: Mapping[Spec, Sequence[float]], points: Sequence[Counts]
) -> list[dict[str, Any]]:
    """Double-end less random at every count, in points and in standard errors of the difference."""
    rows = []
    by_place = {(spec.counts, spec.method): values for spec, values in found.items()}
    for counts in points:
        ours, random = by_place.get((counts, "double-end")), by_place.get((counts, "random"))
        if ours is None or random is None:
            continue
        error = standard_error(ours, random)
        difference = statistics.fmean(ours) - statistics.fmean(random)
        rows.append({
            "rate": share_removed(target, counts), "images_per_class": shown(counts),
            "difference": round(difference, 4), "standard_error": None if error is None else round(error, 4),
            "in_standard_errors": round(difference / error, 2) if error else None,
        })  # fmt: skip
    return rows


def facts_of(target: Target, how: Measured) -> dict[str, Any]:
    """What the numbers were taken on and with."""
    from datetime import UTC, datetime

    from hmn.nets import native
    from hmn.nets.build import width_of
    from hmn.runtime import facts

    candidate, training, profile = how.candidate, how.training, target.profile
    return {
        "kind": KIND, "command": command_line(), "commit": facts.commit(), "versions": facts.versions(),
        "hardware": facts.hardware(native.state()), "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": candidate.data, "ipc": candidate.ipc, "budget": target.stored.ledger.budget,
        "net": training.net, "width": width_of(training.net, training.width), "protocol": training.protocol,
        "steps": training.steps, "tested_on": "test", "test_images": len(candidate.test),
        "recipe": candidate.recipe, "condense_seconds": candidate.condense_seconds, "condensed": candidate.condensed,
        "condensed_from": read_run(target.run).get("condensed_from"), "validation_seen": not target.held_out,
        "images_per_class": shown(target.counts), "in_budget_images_per_class": shown(target.in_budget),
        "aum": None if profile is None else {
            "margin": profile.margin, "epochs": profile.epochs, "net": profile.net, "width": profile.width,
            "seeds": list(profile.seeds),
        },
    }  # fmt: skip
