"""Feature matching: class means of a trained network's features, with its cross-entropy on the generated images.

One forward and one backward pass over all classes together; the first-order cost makes many more sweeps an hour
than gradient matching. Source: the class means of CAFE (arXiv:2203.01531) and DM (arXiv:2110.04181), taken after
every stage of networks trained on real data; docs/log.md has what it gave here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hmn.condensation.cost.operations import NetOperations
from hmn.condensation.objectives.matching import Match, Matching
from hmn.data.source import Batch
from hmn.nets import Net
from hmn.nets.convnet_cpu import ConvNetOnCpu, prepared
from hmn.recipes.settings import CondenseConfig
from hmn.runtime.device import moved


class Features(Matching):
    """Match class means of a trained network's features, with its cross-entropy on the generated images."""

    reads = Matching.reads | {"condense.cross_entropy_weight"}
    sees_classes_together = True

    def match(self, net: Net, real: Batch, generated: Batch, config: CondenseConfig) -> Match:
        """The distance between class means of features, and the cross-entropy."""
        return feature_match(net, real, generated, cross_entropy_weight=config.cross_entropy_weight)

    @staticmethod
    def passes(net: NetOperations) -> tuple[int, int]:
        """A forward pass of the real images, an image gradient of the generated ones."""
        return net.forward, net.image_gradient


def feature_match(net: Net, real: Batch, generated: Batch, *, cross_entropy_weight: float) -> Match:
    """Sum over classes: squared distances of mean features at every stage, plus the weighted mean cross-entropy.

    Being a sum over classes, it is the same whether classes are matched together or in groups. Means are taken over
    a class's images, position by position; distances are sums of squares. Images are augmented and normalised
    already. Every class of `generated` must be in `real`.
    """
    fast = prepared(net, generated.images)
    # Means of the classes at hand alone: with a row for every class there is, cost would grow with their square.
    rows = torch.cat([real.labels, generated.labels]).unique(return_inverse=True)[1]
    of_real, of_generated = rows.split([len(real.labels), len(generated.labels)])
    with torch.no_grad():
        stages = net.features(real.images) if fast is None else fast.stages(real.images).features
        targets = [class_means(stage, of_real) for stage in stages]
    present = moved(of_generated.unique(), generated.images.device)

    def loss_of(stages: list[Tensor], logits: Tensor) -> Tensor:
        each = F.cross_entropy(logits, moved(generated.labels, logits.device), reduction="none")
        loss = cross_entropy_weight * class_means(each[:, None], of_generated).sum()
        for stage, target in zip(stages, targets, strict=True):
            means = class_means(stage, of_generated)
            loss = loss + (means[present] - target[present]).square().sum()
        return loss

    if fast is not None:
        return _match_on_cpu(fast, generated.images, loss_of)
    images = generated.images.detach().requires_grad_()
    with frozen(net):
        stages = net.features(images)
        loss = loss_of(stages, net.head(stages[-1]))
        image_grad = torch.autograd.grad(loss, images)[0]
    return Match(loss.detach(), image_grad)


def _match_on_cpu(fast: ConvNetOnCpu, images: Tensor, loss_of: Callable[[list[Tensor], Tensor], Tensor]) -> Match:
    found = fast.stages(images, keep=True)
    *stages, logits = (values.requires_grad_() for values in (*found.features, found.logits))
    loss = loss_of(stages, logits)
    *slopes, of_logits = torch.autograd.grad(loss, [*stages, logits])
    assert found.kept is not None
    return Match(loss.detach(), fast.image_gradient(images, found.kept, slopes, of_logits))


@contextmanager
def frozen(net: nn.Module) -> Iterator[None]:
    """Inside, the network's parameters ask for no gradient."""
    parameters = list(net.parameters())
    asked = [parameter.requires_grad for parameter in parameters]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, before in zip(parameters, asked, strict=True):
            parameter.requires_grad_(before)


def class_means(features: Tensor, labels: Tensor) -> Tensor:
    """Mean of features [b, ...] of each class, [classes, features]; zero for a class without images."""
    flat = features.flatten(1)
    classes = int(labels.max()) + 1
    members = moved(F.one_hot(labels, classes), flat.device).to(flat.dtype)
    weights = members / members.sum(0).clamp_min(1)
    return weights.t() @ flat
