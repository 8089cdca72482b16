"""Coresets: real images chosen at random, by herding or by k-center, class by class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from hmn.containers.artifact.run_data import VALIDATION_SEED, VALIDATION_SHARE
from hmn.data.real import RealData, Splits, balanced_indices, split_validation
from hmn.data.source import images_checksum
from hmn.errors import UserError
from hmn.measure.candidates import SUBSET_SEED, WHOLE, Candidate, Split, real_candidate
from hmn.nets import Net, build_net
from hmn.nets.base import embedding
from hmn.recipes.named import DEFAULT_RECIPE, recipe
from hmn.recipes.settings import TrainConfig
from hmn.runtime import facts
from hmn.runtime.console import note
from hmn.runtime.device import choose_device
from hmn.runtime.files import remembered
from hmn.train.loop import train

Selection = Literal["random", "herding", "k-center"]


def select(
    data: RealData, method: Selection, per_class: int, *, features: Tensor | None = None, seed: int = 0
) -> Tensor:
    """Indices of a coreset of `data`, class by class: int64 [classes * per_class].

    Within a class they come in the order of choice, so that a smaller coreset is the beginning of a larger one.

    Args:
        data: real images.
        method: "random" by seed; "herding" and "k-center" by features, without chance.
        per_class: images of each class.
        features: [n, d], a row for each image (`trained_features`); not needed for "random".
        seed: of the random choice.

    Raises:
        UserError: an unknown method, no features where they are needed, or a class with fewer images.
    """
    if method == "random":
        return balanced_indices(data.labels, per_class, torch.Generator().manual_seed(seed))
    ways: dict[str, Callable[[Tensor, int], Tensor]] = {"herding": herding, "k-center": k_center}
    if method not in ways:
        raise UserError(f"selection {method!r}: expected random, {', '.join(ways)}.")
    if features is None or len(features) != len(data):
        got = "none" if features is None else f"{len(features)} rows"
        raise UserError(f"selection by {method} needs features of all {len(data)} images, and got {got}.")
    # Class by class, so that every class has as many.
    labels, chosen = data.labels.cpu(), []
    for label, name in enumerate(data.class_names):
        members = (labels == label).nonzero()[:, 0]
        if not 1 <= per_class <= len(members):
            raise UserError(
                f"{per_class} images per class asked for, but class {name!r} has {len(members)}: choose 1 to "
                f"{len(members)}."
            )
        chosen.append(members[ways[method](features[members.to(features.device)], per_class).cpu()])
    return torch.cat(chosen)


def herding(features: Tensor, count: int) -> Tensor:
    """Greedily, the images of one class whose running mean is nearest to the mean of all: int64 [count].

    The k-th is the one nearest to k * mean - (sum of those before), each image at most once, the first of equals.
    Source: Welling (ICML 2009), as in IDC's code (coreset.py: herding_select) and iCaRL (arXiv:1611.07725).
    """
    wide = features.double()
    mean, total = wide.mean(dim=0), torch.zeros_like(wide[0])
    free, chosen = torch.ones(len(wide), dtype=torch.bool, device=wide.device), []
    for number in range(1, count + 1):
        distance = (number * mean - total - wide).square().sum(dim=1)
        best = int(distance.masked_fill(~free, torch.inf).argmin())
        chosen.append(best)
        free[best] = False
        total = total + wide[best]
    return torch.tensor(chosen)


def k_center(features: Tensor, count: int) -> Tensor:
    """Greedily, the images of one class that leave none of it far from a chosen one: int64 [count].

    The first is the one nearest to the class's mean, each further one the farthest from those chosen before, the
    first of equals. Source: the greedy 2-approximation of Sener and Savarese (arXiv:1708.00489), Algorithm 1; where
    to begin is left open there.
    """
    wide = features.double()
    chosen = [int((wide - wide.mean(dim=0)).square().sum(dim=1).argmin())]
    nearest = (wide - wide[chosen[0]]).square().sum(dim=1)
    for _ in range(count - 1):
        nearest[chosen[-1]] = -1.0  # never again, even where all the others are its copies
        chosen.append(int(nearest.argmax()))
        nearest = nearest.minimum((wide - wide[chosen[-1]]).square().sum(dim=1))
    return torch.tensor(chosen)


def trained_features(
    data: RealData,
    config: TrainConfig,
    *,
    net: str = "convnet3",
    width: int | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
) -> Tensor:
    """What the classifier of a network sees, [n, d] on the CPU, after training it on `data`.

    Args:
        data: real images; features are of the images as they are, without augmentation.
        config: the training.
        net: the network's name.
        width: its width; None for its own.
        seed: of its weights and of the training.
        device: where to train; None for the CPU.
    """
    generator = torch.Generator().manual_seed(seed)
    fresh = build_net(net, num_classes=data.num_classes, image_shape=data.image_shape, width=width, generator=generator)
    for _ in train(fresh, data, config, generator=generator, device=device):
        pass
    return features_of(fresh, data)


@torch.no_grad()
def features_of(net: Net, data: RealData, *, batch_size: int = 256) -> Tensor:
    """What the network's classifier takes for every image, in evaluation mode: float32 [n, d] on the CPU."""
    device, was_training = next(net.parameters()).device, net.training
    net.eval()
    found = [
        embedding(net, data.normalisation.apply(data.images(index).to(device))).cpu()
        for index in torch.arange(len(data)).split(batch_size)
    ]
    net.train(was_training)
    return torch.cat(found)


CORESETS: tuple[Selection, ...] = get_args(Selection)
FEATURE_STEPS, FEATURE_WIDTH, FEATURE_SEED = 2000, 64, 0
"""The network by whose features herding and k-center choose: optimizer steps, width of a ConvNet, seed."""
LEAST_CHOSEN = 50
"""Images of a class that are chosen and kept at least, where the class has as many: fewer are the first of them."""


class Chooser:
    """Chooses coresets of one set of training images. The network that this takes is trained at most once.

    Choices are kept in the cache folder, by images, network and training.
    """

    def __init__(self, data: RealData) -> None:
        self.data = data
        """Training images; nothing else is ever seen."""
        named = recipe(DEFAULT_RECIPE, dataset=data.name, ipc=1, image_shape=data.image_shape)
        self.net = named.evaluate.net
        self.width = FEATURE_WIDTH if self.net.startswith("convnet") else None
        self.config = TrainConfig(steps=FEATURE_STEPS, cutmix_probability=0.0)

    @property
    def facts(self) -> dict[str, Any]:
        """How the features come about."""
        images = f"{len(self.data):,} training images"
        how = {"net": self.net, "width": self.width, "train_steps": self.config.steps}
        return {**how, "seed": FEATURE_SEED, "trained_on": images}

    @property
    def words(self) -> str:
        """The network by whose features is chosen, in words."""
        width = "" if self.width is None else f" of width {self.width}"
        return f"a {self.net}{width} trained for {self.config.steps:,} steps, seed {FEATURE_SEED}"

    @cached_property
    def features(self) -> Tensor:
        """Features of all images; the network is trained when they are first asked for."""
        width = "" if self.width is None else f", width {self.width}"
        note(f"features: training {self.net}{width} for {self.config.steps:,} steps on the training images")
        how: dict[str, Any] = {"net": self.net, "width": self.width, "seed": FEATURE_SEED, "device": choose_device()}
        return trained_features(self.data, self.config, **how)

    @cached_property
    def images_key(self) -> str:
        """Checksum of the images that are chosen from."""
        return images_checksum(self.data)

    @cached_property
    def cut(self) -> tuple[Chooser, RealData]:
        """A chooser of the images less a validation tenth of each class, and that tenth. Raises UserError: a class has
        only one image.
        """
        rest, validation = split_validation(self.data, share=VALIDATION_SHARE, seed=VALIDATION_SEED)
        return Chooser(rest), validation

    def choose(self, method: Selection, per_class: int) -> Tensor:
        """Indices of `per_class` images of each class, class by class, the first chosen first: int64 [classes * it].
        Raises UserError: a class has fewer images.
        """
        if method == "random":
            return select(self.data, method, per_class, seed=SUBSET_SEED)
        most = max(per_class, min(LEAST_CHOSEN, self.data.fewest))
        if most > self.data.fewest:
            return select(self.data, method, per_class, features=self.features)
        about = {"what": "coreset", "images": self.images_key, "method": method, "per_class": most}
        about |= {"features": self.facts, "config": asdict(self.config), "versions": facts.versions()}

        def chosen() -> dict[str, Any]:
            return {"chosen": select(self.data, method, most, features=self.features).tolist()}

        return torch.tensor(remembered(about, chosen)["chosen"]).view(-1, most)[:, :per_class].flatten()

    def in_turns(self, method: Selection, per_class: int) -> Tensor:
        """The same images with the classes taking turns."""
        return self.choose(method, per_class).view(-1, per_class).T.flatten()


def coreset(splits: Splits, method: Selection, per_class: int, *, chooser: Chooser | None = None) -> Candidate:
    """Real images chosen from the training split, stored as they are.

    Args:
        splits: choice is among splits.train alone.
        method: random, herding or k-center.
        per_class: images of each class.
        chooser: of splits.train, where other coresets come from the same.

    Raises:
        UserError: a class has fewer images.
    """
    chooser = chooser or Chooser(splits.train)
    index = chooser.choose(method, per_class)
    by_chance = method == "random"
    how = f"at random, seed {SUBSET_SEED}" if by_chance else f"by {method} on features of {chooser.words}"
    seed, features = (SUBSET_SEED, None) if by_chance else (FEATURE_SEED, chooser.facts)
    record = {"selection": {"method": method, "per_class": per_class, "seed": seed, "features": features}}
    images, detail = splits.train.subset(index), f"{per_class} per class {how}"
    return real_candidate(f"{method} real", images, splits, detail=detail, record=record)


def whole(splits: Splits, on: Split) -> Candidate:
    """All training images."""
    return real_candidate(WHOLE[on], splits.train, splits)
