"""Distribution matching: class means of what the classifier of an untrained network would see.

One forward and one backward pass, no trained network: DM takes a freshly initialised one in every iteration.
Source: DM (arXiv:2110.04181), equation 5, and its code (main_DM.py).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hmn.condensation.cost.operations import NetOperations
from hmn.condensation.objectives.features import class_means, frozen
from hmn.condensation.objectives.matching import Match, Matching
from hmn.data.source import Batch
from hmn.nets import Net
from hmn.nets.base import embedding
from hmn.nets.convnet_cpu import ConvNetOnCpu, prepared
from hmn.recipes.settings import CondenseConfig
from hmn.runtime.device import moved


class Distribution(Matching):
    """Match class means of what the classifier of an untrained network would see (DM)."""

    sees_classes_together = True

    def match(self, net: Net, real: Batch, generated: Batch, config: CondenseConfig) -> Match:
        """The distance between mean embeddings."""
        return distribution_match(net, real, generated)

    @staticmethod
    def passes(net: NetOperations) -> tuple[int, int]:
        """A forward pass of the real images, an image gradient of the generated ones."""
        return net.forward, net.image_gradient


def distribution_match(net: Net, real: Batch, generated: Batch) -> Match:
    """Sum over classes of the squared distance between the mean embeddings of real and of generated images.

    Being a sum over classes, it is the same whether classes are matched together or in groups. Images are augmented
    and normalised already. Every class of `generated` must be in `real`. BatchNorm sees each side's images together,
    as in DM's code.
    """
    fast = prepared(net, generated.images)
    with torch.no_grad():
        seen = embedding(net, real.images) if fast is None else fast.stages(real.images).features[-1]
        targets = class_means(seen, real.labels)
    present = moved(generated.labels.unique(), generated.images.device)

    def loss_of(embedded: Tensor) -> Tensor:
        return (class_means(embedded, generated.labels)[present] - targets[present]).square().sum()

    if fast is not None:
        return _match_on_cpu(fast, generated.images, loss_of)
    images = generated.images.detach().requires_grad_()
    with frozen(net):
        loss = loss_of(embedding(net, images))
        image_grad = torch.autograd.grad(loss, images)[0]
    return Match(loss.detach(), image_grad)


def _match_on_cpu(fast: ConvNetOnCpu, images: Tensor, loss_of: Callable[[Tensor], Tensor]) -> Match:
    """By hmn's own passes: the output of the last block is what the classifier takes."""
    found = fast.stages(images, keep=True)
    *earlier, last = found.features
    last.requires_grad_()
    loss = loss_of(last)
    slopes = [*map(torch.zeros_like, earlier), *torch.autograd.grad(loss, [last])]
    assert found.kept is not None
    return Match(loss.detach(), fast.image_gradient(images, found.kept, slopes, torch.zeros_like(found.logits)))
