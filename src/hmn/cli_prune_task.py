"""One training on a pruned container, as a run of a sweep: called in worker processes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hmn.cli_data import DataFlags
from hmn.cli_sources import read_splits
from hmn.errors import UserError
from hmn.settings import TrainConfig

if TYPE_CHECKING:
    from torch import Tensor

    from hmn.aum import Profile

Pruning = Literal["unpruned", "double-end", "random", "hard", "easy"]


@dataclass(frozen=True, kw_only=True)
class PrunedTraining:
    """Everything that one training needs; paths are absolute."""

    run: str
    """Folder of the container."""
    sha256: str
    """Of the container, which must still be that one."""
    aum: str | None
    """File of its profile."""
    data: str
    data_flags: DataFlags
    on: Literal["test", "validation"]
    method: Pruning
    counts: tuple[int, ...]
    """Survivors of each class."""
    beta: float | None
    """For double-end pruning."""
    seed: int
    """Of the network, and of random pruning's choice."""
    net: str
    width: int | None
    config: TrainConfig


def train_pruned(wanted: PrunedTraining, folder: Path) -> dict[str, Any]:
    """Prune, train one network and test it; nothing but the outcome is left in `folder`.

    Returns:
        accuracy in per cent, images trained on, optimizer steps, seconds of training.

    Raises:
        UserError: the container or its profile has changed, or the data cannot be read.
    """
    from hmn.artifact_load import info, load
    from hmn.aum_file import load_profile
    from hmn.device import choose_device
    from hmn.train import Rendered, evaluate

    stored = info(wanted.run)
    if stored.checksum != wanted.sha256:
        raise UserError(f"{wanted.run}: another container than when this was begun: start anew with --force.")
    images = load(wanted.run)
    profile = None if wanted.aum is None else load_profile(Path(wanted.aum), sha256=wanted.sha256)
    kept = survivors(
        profile, images.labels, method=wanted.method, counts=wanted.counts, beta=wanted.beta, seed=wanted.seed,
        copies=stored.shape.copies,
    )  # fmt: skip
    source = Rendered(images.pixels[kept], images.labels[kept], images.class_names, images.normalisation)
    splits = read_splits(wanted.data, wanted.data_flags, wanted.on)
    result = evaluate(
        source, splits.test, net=wanted.net, width=wanted.width, config=wanted.config, seeds=[wanted.seed],
        device=choose_device(),
    )  # fmt: skip
    return {
        "accuracy": round(result.mean, 4), "images": result.images, "steps": result.train_steps,
        "seconds": round(result.seconds, 2),
    }  # fmt: skip


def survivors(
    profile: Profile | None, labels: Tensor, *, method: Pruning, counts: tuple[int, ...], beta: float | None, seed: int,
    copies: int,
) -> Tensor:  # fmt: skip
    """Indices of the images that stay, in storage order; the same for the same seed."""
    import torch

    from hmn.prune import keep_indices

    if method == "unpruned":
        return torch.arange(len(labels))
    return keep_indices(
        None if profile is None else profile.aum, labels, counts=counts, method=method, hard_share=beta or 0.0,
        generator=torch.Generator().manual_seed(seed), copies=copies,
    )  # fmt: skip
