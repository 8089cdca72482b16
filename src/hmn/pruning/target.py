"""What `hmn prune` works on: a condensed folder with its AUM, its data, and how networks are trained on it."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from hmn.containers.artifact.format import ArtifactInfo
from hmn.containers.artifact.load import info, load_container
from hmn.containers.artifact.place import AUM, RECIPE, held_out, need_artifact, read_run
from hmn.errors import UserError
from hmn.pruning.aum import Profile, load_profile
from hmn.pruning.survivors import counts_at_rate, counts_in_budget, counts_to
from hmn.recipes.named import whole_recipe
from hmn.recipes.settings import Recipe
from hmn.recipes.values import given_file

PerClass = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Target:
    """A finished artifact that can be pruned."""

    run: Path
    stored: ArtifactInfo
    labels: Tensor
    in_budget: PerClass
    """Images of each class that fit the budget."""
    profile: Profile | None
    aum: Path | None
    recipe: Recipe
    held_out: bool
    """Whether the validation tenth was kept from its condensation."""

    @property
    def counts(self) -> PerClass:
        """Images of each class."""
        return self.stored.shape.images_per_class

    @property
    def copies(self) -> int:
        """How often each stored image is shown."""
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
    container, stored = load_container(need_artifact(run)), info(run)
    place = aum or run / AUM
    if not (run / RECIPE).exists():
        raise UserError(f"{run} holds no {RECIPE}: expected a folder with all that `hmn condense` wrote.")
    # The AUM is read where it is needed or lies there.
    there = needs_aum or aum is not None or place.exists()
    if there and aum is None and not place.exists():
        raise UserError(f"{run} has no {AUM}: take it first with hmn profile {run}")
    return Target(
        run=run,
        stored=stored,
        labels=container.labels,
        in_budget=counts_in_budget(container),
        profile=load_profile(place, sha256=stored.checksum) if there else None,
        aum=place if there else None,
        recipe=whole_recipe(given_file(run / RECIPE)),
        held_out=held_out(read_run(run)),
    )


def surviving_counts(target: Target, *, to: int | None, rate: float | None) -> PerClass:
    """Survivors of each class: to a count, at a rate, or else as many as fit the budget. Raises UserError: both are
    given, a value is out of range, or nothing is left to remove.
    """
    if to is not None and rate is not None:
        raise UserError("--to is a number of images per class and --rate a share to remove: give one of them.")
    counts = target.in_budget
    if to is not None:
        counts = counts_to(target.counts, to, target.copies)
    elif rate is not None:
        counts = counts_at_rate(target.counts, rate, target.copies)
    if counts == target.counts:
        account = target.stored.ledger
        within = f" ({account.num_floats:,} of {account.budget:,} floats)" if to is None and rate is None else ""
        raise UserError(f"{target.run}: nothing to remove{within}: give fewer images with --to or --rate.")
    return counts


def share_removed(target: Target, counts: PerClass) -> float:
    """Share of all images that is removed."""
    return round(1 - sum(counts) / sum(target.counts), 6)
