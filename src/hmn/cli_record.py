"""What a run's record says that numbers on its container must not be read without."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from hmn.plan import Ledger

WHAT_FROM = {"test": "the training split", "validation": "the training split less its validation tenth"}
"""What a run records of the images that it condensed, by the split that it leaves unseen."""


def held_out(run: Mapping[str, Any]) -> bool:
    """Whether a run kept the validation tenth from its condensation; one that says nothing of it did not."""
    return run.get("condensed_from") == WHAT_FROM["validation"]


def remarks(run: Mapping[str, Any], account: Ledger, on: Literal["test", "validation"]) -> list[str]:
    """A budget that is exceeded, and whether the images tested on were seen before."""
    found = []
    if account.num_floats > account.budget:
        found.append(f"{account.num_floats - account.budget:,} floats over its budget of {account.budget:,}")
    if on == "validation":
        words = "never seen" if held_out(run) else "seen"
        found.append(f"the validation images were {words} in its condensation")
    return found
