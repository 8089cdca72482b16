"""Profiles: the AUM of every image of a set, measured over trainings and written beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hmn.containers.artifact.place import is_artifact
from hmn.measure.candidates import Candidate
from hmn.runtime.console import ProgressView

if TYPE_CHECKING:
    from hmn.prune.aum import Profile
    from hmn.train import EpochRecord, Margin


EPOCHS = 200
"""As in the paper's histograms."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """How a profile is taken."""

    target: str
    epochs: int
    seeds: int
    margin: Margin
    cutmix: float
    net: str
    width: int | None


def take(source: Candidate, wanted: Wanted) -> Profile:
    """Train, with progress on stderr."""
    from dataclasses import replace

    from hmn.containers.artifact.load import info
    from hmn.prune.aum import profile as take_profile
    from hmn.prune.aum import profiling_config
    from hmn.recipes.protocols import protocol
    from hmn.runtime.device import choose_device

    config = protocol("paper", source.data, source.ipc)
    config = profiling_config(config) if not wanted.cutmix else replace(config, cutmix_probability=wanted.cutmix)
    total = wanted.seeds * wanted.epochs
    stored = is_artifact(Path(wanted.target))
    with ProgressView() as view:

        def show(seed: int, record: EpochRecord) -> None:
            view.show(
                "profiling", seed * wanted.epochs + record.epoch, total, f"{record.train_accuracy:.0f} % in training"
            )

        return take_profile(
            source.source, net=wanted.net, width=wanted.width, config=config, epochs=wanted.epochs,
            seeds=range(wanted.seeds), margin=wanted.margin, device=choose_device(),
            name=Path(wanted.target).name if stored else source.data,
            sha256=info(wanted.target).checksum if stored else None, on_epoch=show,
        )  # fmt: skip


def write(found: Profile, path: Path) -> None:
    """The profile into its file, in a folder that is made where it is absent."""
    from hmn.prune.aum import save_profile

    path.parent.mkdir(parents=True, exist_ok=True)
    save_profile(found, path)


def described(wanted: Wanted) -> str:
    """How a profile was taken, in words."""
    width = "" if wanted.width is None else f", width {wanted.width}"
    kind = "sum of softmax margins" if wanted.margin == "softmax" else "mean of logit margins"
    many = "1 network" if wanted.seeds == 1 else f"{wanted.seeds} networks"
    return f"{kind} over {wanted.epochs:,} epochs, {many} of {wanted.net}{width}"


def summary(values: Any) -> dict[str, float | int]:
    """A class's AUMs in a few numbers: float64 [n], n at least 1."""
    import torch

    low, middle, high = torch.quantile(values, torch.tensor([0.25, 0.5, 0.75], dtype=values.dtype)).tolist()
    return {
        "images": len(values), "mean": float(values.mean()), "min": float(values.min()), "quartile_1": low,
        "median": middle, "quartile_3": high, "max": float(values.max()),
        "negative_share": float((values < 0).double().mean()),
    }  # fmt: skip


def summaries(found: Profile) -> list[dict[str, Any]]:
    """The same for every class that has images."""
    return [
        {"class": name, **summary(found.aum[found.labels == label])}
        for label, name in enumerate(found.class_names)
        if bool((found.labels == label).any())
    ]
