"""The search for beta: trainings over its grid on the validation tenth, the choice, and the table it was made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from rich.table import Table

from hmn.beta import choose, summary
from hmn.cli_console import note, print_table, results
from hmn.cli_prune_target import Counts, Target, share_removed, shown
from hmn.cli_prune_trials import Spec, Trials

SEEN = (
    "the validation images were seen in its condensation: a choice on them is less honest than after "
    "`hmn condense --hold-out`"
)
ON_TEST = "beta is chosen on the test split, which the accuracy is then no measure of"


def search_beta(
    target: Target, trials: Trials, counts: Sequence[Counts], *, repeats: int, on: Literal["test", "validation"]
) -> list[dict[str, Any]]:
    """A search for each of the counts: what it found, as results write it.

    Every beta of the grid prunes to the same counts and trains the same seeds.
    """
    from hmn.prune import BETAS

    if on == "test":
        note(f"{ON_TEST}.")
    elif not target.held_out:
        note(f"{SEEN}.")
    specs = {
        (wanted, beta): Spec(method="double-end", counts=wanted, beta=beta, on=on)
        for wanted in counts
        for beta in BETAS
    }
    found = trials.run("search", list(specs.values()), repeats)
    return [entry(target, wanted, {beta: found[specs[wanted, beta]] for beta in BETAS}, on=on) for wanted in counts]


def entry(target: Target, counts: Counts, values: Mapping[float, Sequence[float]], *, on: str) -> dict[str, Any]:
    """One search: its choice and everything that it was chosen from."""
    choice = choose(values)
    return {
        "rate": share_removed(target, counts), "images_per_class": shown(counts), "chosen_on": on,
        "validation_seen": not target.held_out, "best": choice.best, "distinguishable": choice.distinguishable,
        "indistinguishable_from": list(choice.indistinguishable_from),
        "pooled_std": None if choice.pooled_std is None else round(choice.pooled_std, 4), "sentence": choice.sentence,
        "betas": [{"beta": beta, **summary(values[beta])} for beta in sorted(values)],
    }  # fmt: skip


def print_search(search: Mapping[str, Any]) -> None:
    """The table of a search on stdout, and what it says."""
    table = Table(header_style="cyan")
    for column in ("beta", "accuracy %", "std", "n", ""):
        table.add_column(column, justify="left" if not column else "right")
    for row in search["betas"]:
        close = row["beta"] in search["indistinguishable_from"]
        mark = "best" if row["beta"] == search["best"] else "not told from it" if close else ""
        spread = f"{row['std']:.2f}" if row["n"] > 1 else "-"
        table.add_row(f"{row['beta']:g}", f"{row['mean']:.2f}", spread, str(row["n"]), mark)
    print_table(
        f"beta at {search['images_per_class']} images per class ({100 * search['rate']:.1f} % removed), "
        f"{search['chosen_on']} accuracy",
        table,
    )
    results().print(f"{search['sentence']}.", markup=False, soft_wrap=True)
    if search["chosen_on"] == "test":
        results().print(f"{ON_TEST}.", markup=False, soft_wrap=True)
    elif search["validation_seen"]:
        results().print(f"{SEEN}.", markup=False, soft_wrap=True)
