"""What `hmn prune` works on: a condensed folder with its AUM, its data, and how networks are trained on it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hmn.cli_condense_job import whole_recipe
from hmn.cli_data import DataFlags, need_artifact
from hmn.cli_prune_task import PrunedTraining
from hmn.cli_prune_trials import Trials
from hmn.cli_record import held_out
from hmn.cli_settings import given_file
from hmn.cli_sources import read_run, target_of, with_recorded
from hmn.cli_sweep import absolute, absolute_flags
from hmn.cli_where import Where
from hmn.errors import UserError
from hmn.settings import Recipe

if TYPE_CHECKING:
    from torch import Tensor

    from hmn.artifact_format import ArtifactInfo
    from hmn.aum import Profile
    from hmn.cli_measure import Training
    from hmn.cli_sources import Candidate

RECIPE_FILE = "recipe.toml"
Counts = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Target:
    """A finished artifact that can be pruned."""

    run: Path
    stored: ArtifactInfo
    labels: Tensor
    in_budget: Counts
    """Images of each class that fit the budget."""
    profile: Profile | None
    aum: Path | None
    recipe: Recipe
    held_out: bool
    """Whether the validation tenth was kept from its condensation."""

    @property
    def counts(self) -> Counts:
        """Images of each class."""
        return self.stored.shape.images_per_class

    @property
    def copies(self) -> int:
        """Of each stored image."""
        return self.stored.shape.copies


def read_target(run: Path, *, aum: Path | None, needs_aum: bool) -> Target:
    """The artifact, its budget, and its AUM where it is there.

    Args:
        run: a finished artifact.
        aum: file of its profile, or a folder that holds one; beside the container where None.
        needs_aum: whether there must be one.

    Raises:
        UserError: not an artifact, not prunable, or the AUM is absent, damaged or another container's.
    """
    from hmn.artifact_load import info, load_container
    from hmn.aum_file import AUM_FILE, load_profile
    from hmn.prune import counts_in_budget

    container, stored = load_container(need_artifact(run)), info(run)
    place = aum or run / AUM_FILE
    if not (run / RECIPE_FILE).exists():
        raise UserError(f"{run} holds no {RECIPE_FILE}: expected a folder with all that `hmn condense` wrote.")
    there = needs_aum or aum is not None or place.exists()
    if there and aum is None and not place.exists():
        raise UserError(f"{run} has no {AUM_FILE}: take it first with hmn profile {run}")
    return Target(
        run=run, stored=stored, labels=container.labels, in_budget=counts_in_budget(container),
        profile=load_profile(place, sha256=stored.checksum) if there else None, aum=place if there else None,
        recipe=whole_recipe(given_file(run / RECIPE_FILE)), held_out=held_out(read_run(run)),
    )  # fmt: skip


def wanted_counts(target: Target, *, to: int | None, rate: float | None) -> Counts:
    """Survivors of each class: to a count, at a rate, or else as many as fit the budget.

    Raises:
        UserError: both are given, a value is out of range, or nothing is left to remove.
    """
    from hmn.prune import counts_at_rate, counts_to

    if to is not None and rate is not None:
        raise UserError("--to is a number of images per class and --rate a share to remove: give one of them.")
    classes = len(target.counts)
    if to is not None:
        counts = counts_to(target.labels, classes, to, target.copies)
    elif rate is not None:
        counts = counts_at_rate(target.labels, classes, rate, target.copies)
    else:
        counts = target.in_budget
    if counts == target.counts:
        account = target.stored.ledger
        within = f" ({account.num_floats:,} of {account.budget:,} floats)" if to is None and rate is None else ""
        raise UserError(f"{target.run}: nothing to remove{within}: give fewer images with --to or --rate.")
    return counts


@dataclass(frozen=True, kw_only=True)
class Measured:
    """How the trainings are done that choose between prunings."""

    candidate: Candidate
    """The container as it is, with its test images."""
    training: Training
    template: PrunedTraining


def measured(
    target: Target, *, data: str | None, flags: DataFlags, given: Mapping[str, Any], steps: int | None
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
    from hmn.cli_measure import choose_training

    candidate, _ = target_of(str(target.run), data=data, subset=None, flags=flags)
    training = choose_training(candidate, given, steps)
    record = read_run(target.run)
    recorded = with_recorded(flags, record.get("data_flags"), same_place=data is None)
    template = PrunedTraining(
        run=str(target.run.resolve()), sha256=target.stored.checksum,
        aum=None if target.aum is None else str(target.aum.resolve()),
        data=absolute(data or record.get("data") or target.stored.data_name), data_flags=absolute_flags(recorded),
        on="validation", method="unpruned", counts=target.counts, beta=None, seed=0, net=training.net,
        width=training.width, config=training.config,
    )  # fmt: skip
    return Measured(candidate=candidate, training=training, template=template)


def trials_of(target: Target, how: Measured, folder: Path, where: Where) -> Trials:
    """The trainings on this container under this protocol."""
    from hmn.run_folder import fingerprint

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


def share_removed(target: Target, counts: Counts) -> float:
    """Of all images."""
    return round(1 - sum(counts) / sum(target.counts), 6)


def shown(counts: Counts) -> int | list[int]:
    """Images of each class: one number where it is the same for all."""
    return counts[0] if len({*counts}) == 1 else list(counts)


Split = Literal["test", "validation"]
