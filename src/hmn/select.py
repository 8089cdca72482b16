"""Coresets: real images chosen at random, by herding or by k-center, class by class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from hmn.data.real import RealData, balanced_indices
from hmn.errors import UserError
from hmn.nets import Net, build_net
from hmn.objectives.distribution import embedding
from hmn.settings import TrainConfig
from hmn.train import train

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
