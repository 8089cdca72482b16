"""Area under the margin: how easily networks come to give every image its own label while they train on all of them.

The lowest are hard or mislabelled, the highest are easy and repeat each other. Training is by the recipe of
evaluation but for CutMix: a mixed image belongs to two classes, and its margin tells little of either. The published
histograms reach the number of epochs, which margins of mixed images could not. Cutout goes with it, as where CutMix is
on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast, final

import torch
from torch import Tensor, nn

from hmn.augment import without_cutout
from hmn.data.source import Source
from hmn.errors import UserError
from hmn.nets import build_net
from hmn.settings import TrainConfig
from hmn.train import EpochRecord, Margin, render, train

EPOCHS = 200
"""Of the paper's histograms (supplement D.4)."""
MARGINS: tuple[Margin, ...] = ("softmax", "logit")
_HASH_BATCH = 512


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
    """Of what was profiled: a container's file, or labels and pixels (`images_checksum`)."""
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.aum)


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
        net: the network's name.
        width: channels of its first layer; None is its own default.
        config: how it is trained, taken as it is (`profiling_config` switches CutMix off); `epochs` replaces its own.
        epochs: of each training.
        seeds: of the networks.
        margin: softmax or logit.
        device: where to train.
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
    return Profile(
        aum=total / len(seeds) / (1 if margin == "softmax" else epochs), labels=source.labels.cpu().clone(),
        margin=margin, epochs=epochs, net=net, width=width, seeds=tuple(seeds), source=name,
        sha256=sha256 or images_checksum(source), class_names=source.class_names,
    )  # fmt: skip


def images_checksum(source: Source) -> str:
    """SHA-256 over classes, labels and pixels, in hexadecimal: the same images in the same order, and no others."""
    found = hashlib.sha256(repr((source.class_names, source.image_shape)).encode())
    found.update(source.labels.cpu().contiguous().numpy().tobytes())
    with torch.no_grad():
        for index in torch.arange(len(source)).split(_HASH_BATCH):
            found.update(source.images(index).float().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def suspects(profile: Profile, count: int) -> Tensor:
    """The `count` images (or all, where there are fewer) of lowest AUM, lowest first: int64 indices.

    They are the first to look at where labels may be wrong.
    """
    return profile.aum.argsort(stable=True)[:count]
