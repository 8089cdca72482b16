"""Where a container starts: fitted to a choice of real images, so that matching begins from something seen."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hmn.containers.container import Container
from hmn.data.real import RealData
from hmn.runtime.processes import sum_in_place


def choose_targets(real: RealData, labels: Tensor, generator: torch.Generator) -> Tensor:
    """For each generated image, the index of a random real image of its class; repeated only where there are too few.

    Args:
        real: the training data.
        labels: int64 [n], labels of the generated images.
        generator: source of the choice.

    Returns:
        int64 [n], indices into `real`.
    """
    targets = torch.empty_like(labels)
    for label in labels.unique():
        members = (real.labels == label).nonzero()[:, 0]
        wanted = (labels == label).nonzero()[:, 0]
        rounds = -(-len(wanted) // len(members))
        order = torch.cat([torch.randperm(len(members), generator=generator) for _ in range(rounds)])
        targets[wanted] = members[order[: len(wanted)]]
    return targets


def reconstruction_step(
    container: Container,
    real: RealData,
    targets: Tensor,
    batch: int,
    generator: torch.Generator,
    *,
    own: range | None = None,
) -> Tensor:
    """Squared error between rendered images and their real targets, backpropagated into the container.

    Renders `batch` images of all classes (all, where there are fewer), of several views of one the first. The loss is
    the sum over an image's values, averaged over images, in pixels of [0, 1].

    Args:
        container: the container, or one process's part of it.
        real: the training data.
        targets: int64 [n], for every image of all classes.
        batch: images a step.
        generator: source of the choice.
        own: the images among the n that `container` holds, where it is a part.

    Returns:
        the mean squared error per value, over all processes, without a graph.
    """
    stored = len(targets) // container.copies
    index = torch.arange(stored) if stored <= batch else torch.randperm(stored, generator=generator)[:batch]
    index = index * container.copies  # the first view of each: the others follow from it
    num_images, device = len(index), container.labels.device
    own = range(len(targets)) if own is None else own
    index = index[(index >= own.start) & (index < own.stop)]
    error = (container.images((index - own.start).to(device)) - real.images(targets[index]).to(device)).square()
    (error.flatten(1).sum(1).sum() / num_images).backward()
    return sum_in_place(error.detach().sum()) / (num_images * math.prod(real.image_shape))
