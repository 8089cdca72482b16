"""Distribution matching: class means of what the classifier of an untrained network would see.

One forward and one backward pass, no trained network: DM takes a freshly initialised one in every iteration.
Source: DM (arXiv:2110.04181), equation 5, and its code (main_DM.py).
"""

from __future__ import annotations

import torch
from torch import Tensor

from hmn.data.source import Batch
from hmn.device import moved
from hmn.nets import Net
from hmn.objectives.base import Match, frozen
from hmn.objectives.features import class_means


def distribution_match(net: Net, real: Batch, generated: Batch) -> Match:
    """Sum over classes of the squared distance between the mean embeddings of real and of generated images.

    Being a sum over classes, it is the same whether classes are matched together or in groups. Images are augmented
    and normalised already. Every class of `generated` must be in `real`. BatchNorm sees each side's images together,
    as in DM's code.
    """
    with torch.no_grad():
        targets = class_means(embedding(net, real.images), real.labels)
    present = moved(generated.labels.unique(), generated.images.device)
    images = generated.images.detach().requires_grad_()
    with frozen(net):
        means = class_means(embedding(net, images), generated.labels)
        loss = (means[present] - targets[present]).square().sum()
        image_grad = torch.autograd.grad(loss, images)[0]
    return Match(loss.detach(), image_grad)


def embedding(net: Net, images: Tensor) -> Tensor:
    """What the network's classifier takes, [b, features]: after the last pooling, flattened."""
    taken: list[Tensor] = []
    hook = net.classifier.register_forward_pre_hook(lambda module, inputs: taken.append(inputs[0]))
    try:
        net(images)
    finally:
        hook.remove()
    return taken[0].flatten(1)
