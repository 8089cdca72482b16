"""Which settings an objective reads: one that was given and would do nothing is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hmn.errors import UserError
from hmn.settings import OWN_LOOPS, ObjectiveName, Recipe

_NETWORK = ("trained_on", "warm_up_batches", "update_batches", "update_batch_size", "lr", "momentum", "weight_decay")
_MATCHING = (
    "condense.distance", "condense.cross_entropy_weight", "condense.generated_per_class", "condense.step_per",
    *(f"condense.network.{name}" for name in (*_NETWORK, "cutmix_probability")),
)  # fmt: skip
"""What the loops of trajectory and unrolled have no use for: they take no sweeps, and their networks start afresh."""
UNUSED: Mapping[ObjectiveName, tuple[str, ...]] = {
    "gradient": ("condense.cross_entropy_weight",),
    "features": ("condense.distance",),
    "distribution": ("condense.distance", "condense.cross_entropy_weight"),
    "trajectory": (*_MATCHING, "condense.real_per_class"),
    "unrolled": _MATCHING,
}
"""Of each objective: settings of the condensation that it does not read."""


def check_used(recipe: Recipe, given: Mapping[str, Any]) -> None:
    """Refuse settings that the recipe's objective does not read.

    Args:
        recipe: with every setting resolved.
        given: what was asked for besides what a recipe says, by path.

    Raises:
        UserError: one of them is for another objective.
    """
    objective = recipe.condense.objective
    for path, value in given.items():
        owner = path.partition(".")[0]
        if owner in OWN_LOOPS and owner != objective:
            raise UserError(f"{path} {value}: is for --objective {owner}, and this is {objective}: leave it out.")
        if path in UNUSED[objective]:
            raise UserError(f"{path} {value}: --objective {objective} does not use it: leave it out.")
