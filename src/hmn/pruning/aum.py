"""Area under the margin: how easily networks come to give every image its own label while they train on all of them.

The lowest are hard or mislabelled, the highest are easy and repeat each other. Training is by the recipe of
evaluation but for CutMix: a mixed image belongs to two classes, and its margin tells little of either. The published
histograms reach the number of epochs, which margins of mixed images could not. Cutout goes with it, as where CutMix is
on.
"""

import io
import json
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast, final

import numpy as np
import torch
from torch import Tensor, nn

from hmn.containers.artifact.load import info
from hmn.containers.artifact.place import AUM, is_artifact
from hmn.data.source import Source, images_checksum
from hmn.errors import UserError
from hmn.measure.candidates import Candidate
from hmn.nets import build_net
from hmn.recipes.protocols import protocol
from hmn.recipes.settings import TrainConfig
from hmn.runtime.console import ProgressView
from hmn.runtime.device import choose_device
from hmn.runtime.files import write_atomically
from hmn.train.augment import without_cutout
from hmn.train.evaluation import render
from hmn.train.loop import EpochRecord, Margin, train

EPOCHS = 200
"""Epochs of the paper's histograms (supplement D.4)."""
MARGINS: tuple[Margin, ...] = ("softmax", "logit")


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Profile:
    """The AUM of every image of a source, and how it was taken."""

    aum: Tensor
    """float64 [n] in the source's order, mean over the networks. softmax: summed over epochs, in -epochs..epochs;
    logit: mean over epochs."""
    labels: Tensor
    """int64 [n]."""
    margin: Margin
    epochs: int
    net: str
    width: int | None
    seeds: tuple[int, ...]
    """A network each."""
    source: str
    """Its name, for people."""
    sha256: str
    """Checksum of what was profiled: a container's file, or labels and pixels (`images_checksum`)."""
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.aum)

    def facts(self) -> dict[str, Any]:
        """How it was taken, for records."""
        about = {"margin": self.margin, "epochs": self.epochs, "net": self.net, "width": self.width}
        return {**about, "seeds": list(self.seeds)}


def profiling_config(config: TrainConfig) -> TrainConfig:
    """The settings of a training with its margins clear: no CutMix, and without cutout, which CutMix replaces."""
    return replace(config, cutmix_probability=0.0, augment=without_cutout(config.augment))


def profile(
    source: Source,
    *,
    net: str,
    width: int | None,
    config: TrainConfig,
    epochs: int = EPOCHS,
    seeds: Sequence[int] = (0,),
    margin: Margin = "softmax",
    device: torch.device | str | None = None,
    name: str = "",
    sha256: str | None = None,
    on_epoch: Callable[[int, EpochRecord], None] | None = None,
) -> Profile:
    """Train a fresh network a seed on `source` and add up every image's margin, epoch by epoch.

    A margin is of the training forward pass: own label less the best other, before the step. Softmax margins are
    summed over epochs, logit margins averaged. Source: section 3 of arXiv:2310.07506; arXiv:2001.10528.

    Args:
        source: labelled images; a container is rendered once.
        net: the network's name; `width` is that of its first layer, None its own default.
        config: how it is trained, taken as it is (`profiling_config` switches CutMix off); `epochs` replaces its own.
        name: of the source, for people.
        sha256: of what was profiled; of labels and pixels where None.
        on_epoch: called with (seed, record).

    Raises:
        UserError: no seed, fewer than one epoch or two classes, or a setting that training refuses.
    """
    if not seeds:
        raise UserError("a profile needs at least one seed.")
    if epochs < 1:
        raise UserError(f"epochs={epochs}: expected at least 1.")
    if len(source.class_names) < 2:
        raise UserError(f"{name or 'the data'}: a margin needs at least 2 classes, got {len(source.class_names)}.")
    if margin not in MARGINS:
        raise UserError(f"margin={margin!r}: expected one of {', '.join(MARGINS)}.")
    # A fresh network a seed, every image's margin added up over its epochs.
    if isinstance(source, nn.Module):
        source = cast(Source, render(source))
    config = replace(config, epochs=epochs, steps=None)
    total = torch.zeros(len(source), dtype=torch.float64)
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        fresh = build_net(
            net, num_classes=len(source.class_names), image_shape=source.image_shape, width=width, generator=generator
        )
        for record in train(fresh, source, config, generator=generator, device=device, margin=margin):
            assert record.margins is not None
            total += record.margins
            if on_epoch is not None:
                on_epoch(seed, record)
    if not bool(total.isfinite().all()):
        raise UserError("the profile's training diverged: choose a smaller learning rate.")
    aum = total / len(seeds) / (1 if margin == "softmax" else epochs)
    how: dict[str, Any] = {"margin": margin, "epochs": epochs, "net": net, "width": width, "seeds": tuple(seeds)}
    about: dict[str, Any] = {"source": name, "sha256": sha256 or images_checksum(source)}
    return Profile(aum=aum, labels=source.labels.cpu().clone(), class_names=source.class_names, **how, **about)


def suspects(profile: Profile, count: int) -> Tensor:
    """The `count` images (or all, where there are fewer) of lowest AUM, lowest first: int64 indices.

    They are the first to look at where labels may be wrong.
    """
    return profile.aum.argsort(stable=True)[:count]


@dataclass(frozen=True, kw_only=True)
class ProfileSettings:
    """How `hmn profile` takes a profile."""

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
        how: dict[str, Any] = {"net": self.net, "width": self.width, "epochs": self.epochs, "margin": self.margin}
        how |= {"config": config, "seeds": range(self.seeds), "device": choose_device()}
        place = Path(self.target)
        name, sha256 = (place.name, info(place).checksum) if is_artifact(place) else (source.data, None)
        with ProgressView() as view:

            def show(seed: int, record: EpochRecord) -> None:
                done, words = seed * self.epochs + record.epoch, f"{record.train_accuracy:.0f} % in training"
                view.show("profiling", done, self.seeds * self.epochs, words)

            return profile(source.source, name=name, sha256=sha256, on_epoch=show, **how)

    def words(self) -> str:
        """How the profile is taken, in words."""
        width = "" if self.width is None else f", width {self.width}"
        kind = "sum of softmax margins" if self.margin == "softmax" else "mean of logit margins"
        many = "1 network" if self.seeds == 1 else f"{self.seeds} networks"
        return f"{kind} over {self.epochs:,} epochs, {many} of {self.net}{width}"


def aum_summary(values: Tensor) -> dict[str, float | int]:
    """AUMs in a few numbers: float64 [n], n at least 1."""
    shares = torch.tensor([0, 0.25, 0.5, 0.75, 1], dtype=values.dtype)
    names = ("min", "quartile_1", "median", "quartile_3", "max")
    quantiles = dict(zip(names, torch.quantile(values, shares).tolist(), strict=True))
    negative = float((values < 0).double().mean())
    return {"images": len(values), "mean": float(values.mean()), **quantiles, "negative_share": negative}


def class_summaries(found: Profile) -> list[dict[str, Any]]:
    """The same for every class that has images."""
    members = [(name, found.aum[found.labels == label]) for label, name in enumerate(found.class_names)]
    return [{"class": name, **aum_summary(values)} for name, values in members if len(values)]


FORMAT = "hmn-aum-1"
KINDS = {"margin": str, "epochs": int, "net": str, "width": int | None, "seeds": list}
KINDS |= {"source": str, "sha256": str, "class_names": list}
"""What a file says of how a profile was taken and of what."""
MAX_PROFILE_BYTES = 2**30
DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError)
"""What reading a damaged file raises: numpy has several kinds for a bad header."""


def save_profile(profile: Profile, place: Path) -> Path:
    """Write a profile, whole or not at all, into an existing folder as aum.npz, or to a file; returns its path."""
    path = place / AUM if place.is_dir() else place
    about = {"source": profile.source, "sha256": profile.sha256, "class_names": list(profile.class_names)}
    facts = np.array(json.dumps({"format": FORMAT, **profile.facts(), **about}))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, aum=profile.aum.numpy(), labels=profile.labels.numpy(), facts=facts)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())
    return path


def load_profile(place: Path, *, sha256: str | None) -> Profile:
    """The profile in a folder, or in a file.

    Args:
        place: a folder that holds aum.npz, or the file.
        sha256: of the images that it is to be used for (`ArtifactInfo.checksum` for a container); None compares
            nothing.

    Raises:
        UserError: nothing there, damaged, or the profile of something else.
    """
    path = place / AUM if place.is_dir() else place
    if not path.is_file():
        raise UserError(f"{path}: no such file; write it with: hmn profile {place if place.is_dir() else 'TARGET'}")
    try:
        if path.stat().st_size > MAX_PROFILE_BYTES:
            raise ValueError(f"{path.stat().st_size:,} bytes, more than the limit of {MAX_PROFILE_BYTES:,}")
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            aum, labels, facts = arrays["aum"], arrays["labels"], json.loads(str(arrays["facts"][()]))
        found = _profile(aum, labels, facts)
    except DAMAGED as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: not a profile, or damaged ({reason}): write it again with hmn profile.") from None
    # A profile of other images would prune at random.
    if sha256 is not None and found.sha256 != sha256:
        raise UserError(
            f"{path}: the AUM of other images (SHA-256 {found.sha256[:12]}..., these are {sha256[:12]}...): "
            "profile these with hmn profile."
        )
    return found


def _profile(aum: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], facts: Any) -> Profile:
    """The arrays and facts of a file, checked; raises what Python does."""
    if not isinstance(facts, dict) or facts["format"] != FORMAT:
        raise ValueError(f"expected format {FORMAT}")
    if aum.dtype != np.float64 or aum.ndim != 1 or labels.dtype != np.int64 or labels.shape != aum.shape:
        raise ValueError(f"aum is {aum.dtype} {aum.shape}, labels are {labels.dtype} {labels.shape}")
    # Everything is there and of its kind, or the file is damaged.
    about = {name: facts[name] for name in KINDS}
    names, seeds = about["class_names"], about["seeds"]
    if not (
        all(isinstance(about[name], kind) and type(about[name]) is not bool for name, kind in KINDS.items())
        and {type(name) for name in names} <= {str}
        and {type(seed) for seed in seeds} <= {int}
        and bool(np.isfinite(aum).all())
        and (not len(labels) or 0 <= int(labels.min()) <= int(labels.max()) < len(names))
        and about["epochs"] > 0
        and about["margin"] in MARGINS
    ):
        raise ValueError("a value is not as expected")
    values: dict[str, Any] = {"aum": torch.from_numpy(aum.copy()), "labels": torch.from_numpy(labels.copy())}
    return Profile(**{**about, **values, "seeds": tuple(seeds), "class_names": tuple(names)})
