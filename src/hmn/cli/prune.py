"""`hmn prune`: a condensed folder with fewer images, the search for beta, and the study of both."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from hmn.cli import flags
from hmn.cli.outputs import check_output
from hmn.errors import UserError
from hmn.runtime.console import as_table, print_facts, print_json, print_table, tell
from hmn.studies.where import Where

if TYPE_CHECKING:
    from hmn.studies.pruning.carry_out import Beta, Pruned, PruneOrder
    from hmn.studies.pruning.study import PruningStudy

_METHODS = ", ".join(flags.LISTED["prunings"])


@Parameter(name="*", group=Group("Study", sort_key=16))
@dataclass(frozen=True, kw_only=True)
class StudyFlags:
    """What a study compares."""

    study: Path | None = None
    """JSON file to write: test accuracies of the whole container and of prunings at --rates and at the budget."""
    rates: str = "0.1,0.3,0.5"
    """Shares to remove, joined by commas."""
    methods: Annotated[str, Parameter(help=f"{_METHODS}, joined by commas. Random draws others at every repeat.")] = (
        "double-end,random"
    )
    search: Literal["once", "each"] = "once"
    """Search for beta at the in-budget count alone, or at each count anew."""


def prune(
    target: flags.Folder,
    /,
    *,
    out: Path | None = None,
    to: int | None = None,
    rate: float | None = None,
    method: flags.PruningMethod = "double-end",
    beta: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    choose_on: flags.On = "validation",
    aum: Path | None = None,
    seed: int = 0,
    repeats: int = 3,
    data: str | None = None,
    resume: flags.Switch = False,
    force: flags.Force = False,
    json: flags.Json = False,
    training: flags.TrainingFlags = flags.TrainingFlags(),
    study: StudyFlags = StudyFlags(),
    where: Where = Where(),
    data_flags: flags.DataFlags = flags.DataFlags(),
) -> None:
    """Write a condensed folder with fewer images, chosen by their AUM; measure what pruning costs.

    Every class is pruned by itself, into the budget where neither --to nor --rate is given. Surviving images keep
    their pixels to the bit. The AUM comes from `hmn profile`.

    Parameters
    ----------
    out
        Folder to write. Trainings that choose beta are kept in its folder trials.
    to
        Images per class to keep.
    rate
        Share of each class to remove, from 0 to below 1.
    method
        double-end: of the images removed, the share beta is the hardest (lowest AUM), the rest the easiest. hard:
        only the hardest. easy: only the easiest. random: drawn by --seed.
    beta
        For double-end: a share from 0 to 1, or auto: the best of 0, 0.1, ... 0.9, each trained --repeats times.
    choose_on
        What auto chooses on: a tenth of the training images (`hmn condense --hold-out` keeps it unseen), or the test
        split, as published numbers were; results say so.
    aum
        Profile to use (default: aum.npz in the target).
    seed
        Seed of random pruning's choice.
    repeats
        Trainings of each pruning, each from another seed and as many steps as the whole container.
    data
        Data set to test on (default: the one that the target was made from).
    resume
        Go on: trainings that are done are kept.
    """
    import hmn

    chosen = checked_beta(beta)
    how: dict[str, Any] = {**vars(training), "options": flags.data_options(data_flags), "where": where}
    how |= {"repeats": repeats, "data": data, "study": study_of(study, chosen, repeats, choose_on)}
    how |= {"to": to, "rate": rate, "method": method, "beta": chosen, "choose_on": choose_on, "aum": aum, "seed": seed}
    print_pruned(hmn.prune(target, out, **how, resume=resume, force=force), as_json=json)


def checked_beta(text: str | None, *, flag: str = "--beta") -> Beta:
    """A share, "auto", or None where none is given.

    Raises:
        UserError: neither.
    """
    if text is None or text == "auto":
        return text  # type: ignore[return-value]  # "auto" is a str to mypy
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise UserError(f"{flag} {text}: expected a share from 0 to 1, or auto.")
    return share


def study_of(asked: StudyFlags, beta: Beta, repeats: int, choose_on: flags.On) -> PruningStudy | None:
    """The study that is asked for.

    Raises:
        UserError: rates or methods that are none.
    """
    from hmn.studies.pruning.study import PruningStudy

    if asked.study is None:
        return None
    check_output(asked.study, flag="--study")
    methods: Any = asked.methods.split(",")
    for word in methods:
        if word not in flags.LISTED["prunings"]:
            raise UserError(f"--methods {word}: expected {_METHODS}, joined by commas.")
    # Every rate is a share, and one that is given twice is taken once.
    rates = []
    for word in asked.rates.split(","):
        try:
            rates.append(float(word))
        except ValueError:
            raise UserError(f"--rates {word}: expected shares to remove, joined by commas, such as 0.1,0.3.") from None
        if not 0 <= rates[-1] < 1:
            raise UserError(f"--rates {word}: expected shares from 0 to below 1.")
    return PruningStudy(
        file=asked.study,
        rates=tuple(dict.fromkeys(rates)),
        methods=tuple(dict.fromkeys(methods)),
        repeats=repeats,
        beta=beta if isinstance(beta, float) else None,
        search=asked.search,
        chosen_on=choose_on,
    )


def print_search(search: Mapping[str, Any]) -> None:
    """The table of a search on stdout, and what it says."""
    from hmn.studies.pruning.beta import ON_TEST, VALIDATION_SEEN

    rows = []
    for row in search["betas"]:
        close = row["beta"] in search["indistinguishable_from"]
        mark = "best" if row["beta"] == search["best"] else "not told from it" if close else ""
        spread = f"{row['std']:.2f}" if row["n"] > 1 else "-"
        rows.append((f"{row['beta']:g}", f"{row['mean']:.2f}", spread, str(row["n"]), mark))
    # What the choice is of and how far it can be trusted.
    place = f"beta at {search['images_per_class']} images per class ({100 * search['rate']:.1f} % removed)"
    table = as_table(("beta", "accuracy %", "std", "n", ""), rows, left=[""])
    print_table(f"{place}, {search['chosen_on']} accuracy", table)
    tell(f"{search['sentence']}.")
    if search["chosen_on"] == "test":
        tell(f"{ON_TEST}.")
    elif search["validation_seen"]:
        tell(f"{VALIDATION_SEEN}.")


def print_study(report: Mapping[str, Any]) -> None:
    """The accuracies as a table on stdout, and how far double-end leads random."""
    rows = []
    for row in report["rows"]:
        count = f"{row['images_per_class']}" + (" (budget)" if row["in_budget"] else "")
        beta, std = "" if row["beta"] is None else f"{row['beta']:g}", f"{row['std']:.2f}" if row["n"] > 1 else "-"
        rows.append((row["method"], f"{100 * row['rate']:.1f}", count, beta, f"{row['mean']:.2f}", std, str(row["n"])))
    heads = ("pruning", "removed %", "images per class", "beta", "accuracy %", "std", "n")
    width = "" if report["width"] is None else f", width {report['width']}"
    table = as_table(heads, rows, left=heads[:1])
    print_table(f"{report['data']}: test accuracy of {report['net']}{width}, {report['steps']:,} steps", table)
    # How far double-end leads random, below the table.
    for row in report["comparisons"]:
        errors = row["in_standard_errors"]
        apart = "of unknown error" if errors is None else f"{errors:+.1f} standard errors"
        lead = f"double-end {row['difference']:+.2f} points against random, {apart}"
        tell(f"{100 * row['rate']:.1f} % removed: {lead}")


def print_pruned(done: Pruned, *, as_json: bool) -> None:
    """What came of it, on stdout."""
    order, record, report = done.order, done.record, done.report
    if as_json:
        folder = None if record is None else {"out": str(order.out), **record}
        print_json({"pruned": folder, "study": report})
        return
    # The folder first, then the study, whose search may be the same.
    if record is not None:
        search = record["chosen_by"]
        if search is not None:
            print_search(search)
        print_facts(f"pruned {order.run} into {order.out}", facts_of(record, order))
    if report is not None:
        for search in report["beta_search"]:
            if record is None or search != record["chosen_by"]:
                print_search(search)
        print_study(report)


def facts_of(record: Mapping[str, Any], order: PruneOrder) -> dict[str, str]:
    """A pruned folder in a few lines."""
    from hmn.containers.shape import in_short

    before, after = (in_short(record["images_per_class"][when]) for when in ("before", "after"))
    floats = record["floats"]
    left = floats["budget"] - floats["after"]
    beta = "" if record["beta"] is None else f", beta {record['beta']:g}"
    return {
        "images": f"{len(record['kept']):,} ({before} -> {after} per class)",
        "method": record["method"] + beta,
        "floats": f"{floats['after']:,} of {floats['budget']:,}"
        + (f", {-left:,} over the budget" if left < 0 else f", {left:,} left"),
        "next": f"hmn evaluate {shlex.quote(str(order.out))}",
    }
