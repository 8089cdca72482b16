"""Profiles: the AUM of every image of a set, measured over trainings, and what is said of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from hmn.containers.artifact.load import info
from hmn.containers.artifact.place import is_artifact
from hmn.measure.candidates import Candidate
from hmn.pruning.aum import Profile, profile, profiling_config
from hmn.recipes.protocols import protocol
from hmn.runtime.console import ProgressView
from hmn.runtime.device import choose_device
from hmn.train import EpochRecord, Margin


@dataclass(frozen=True, kw_only=True)
class ProfileSettings:
    """How a profile is taken."""

    target: str
    epochs: int
    seeds: int
    margin: Margin
    cutmix: float
    """Probability that a batch is mixed; 0 is the recommended training, with its margins clear."""
    net: str
    width: int | None

    def take(self, source: Candidate) -> Profile:
        """Train, with progress on stderr."""
        config = protocol("paper", source.data, source.ipc)
        config = profiling_config(config) if not self.cutmix else replace(config, cutmix_probability=self.cutmix)
        stored = is_artifact(Path(self.target))
        about: dict[str, Any] = {"name": source.data, "sha256": None}
        if stored:
            about = {"name": Path(self.target).name, "sha256": info(self.target).checksum}
        net: dict[str, Any] = {"net": self.net, "width": self.width, "config": config, "device": choose_device()}
        how: dict[str, Any] = {"epochs": self.epochs, "seeds": range(self.seeds), "margin": self.margin}
        with ProgressView() as view:

            def show(seed: int, record: EpochRecord) -> None:
                done, words = seed * self.epochs + record.epoch, f"{record.train_accuracy:.0f} % in training"
                view.show("profiling", done, self.seeds * self.epochs, words)

            return profile(source.source, on_epoch=show, **net, **how, **about)

    def words(self) -> str:
        """How the profile is taken, in words."""
        width = "" if self.width is None else f", width {self.width}"
        kind = "sum of softmax margins" if self.margin == "softmax" else "mean of logit margins"
        many = "1 network" if self.seeds == 1 else f"{self.seeds} networks"
        return f"{kind} over {self.epochs:,} epochs, {many} of {self.net}{width}"


def aum_summary(values: torch.Tensor) -> dict[str, float | int]:
    """A class's AUMs in a few numbers: float64 [n], n at least 1."""
    shares = torch.tensor([0, 0.25, 0.5, 0.75, 1], dtype=values.dtype)
    names = ("min", "quartile_1", "median", "quartile_3", "max")
    quantiles = dict(zip(names, torch.quantile(values, shares).tolist(), strict=True))
    negative = float((values < 0).double().mean())
    return {"images": len(values), "mean": float(values.mean()), **quantiles, "negative_share": negative}


def class_summaries(found: Profile) -> list[dict[str, Any]]:
    """The same for every class that has images."""
    return [
        {"class": name, **aum_summary(found.aum[found.labels == label])}
        for label, name in enumerate(found.class_names)
        if bool((found.labels == label).any())
    ]
