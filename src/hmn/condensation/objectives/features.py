"""Feature matching: class means of a trained network's features, with its cross-entropy on the generated images.

One forward and one backward pass over all classes together; the first-order cost makes many more sweeps an hour
than gradient matching. Source: the class means of CAFE (arXiv:2203.01531) and DM (arXiv:2110.04181), taken after
every stage of networks trained on real data; docs/log.md has what it gave here.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

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


def feature_match(net: Net, real: Batch, generated: Batch, *, cross_entropy_weight: float) -> Match:
    """Sum over classes: squared distances of mean features at every stage, plus the weighted mean cross-entropy.

    Being a sum over classes, it is the same whether classes are matched together or in groups. Means are taken over
    a class's images, position by position; distances are sums of squares.
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

    def seen(images: Tensor) -> tuple[list[Tensor], Tensor]:
        stages = net.features(images)
        return stages, net.head(stages[-1])

    return differentiated(net, fast, generated.images, seen, loss_of)


def differentiated(
    net: Net,
    fast: ConvNetOnCpu | None,
    images: Tensor,
    seen: Callable[[Tensor], tuple[list[Tensor], Tensor]],
    loss_of: Callable[[list[Tensor], Tensor], Tensor],
) -> Match:
    """A loss of the outputs of stages and of the logits, and its gradient for the images.

    By the passes of `fast` where it is there, else by torch, for which `seen` gives what the loss is of.
    """
    if fast is not None:
        found = fast.stages(images, keep=True)
        *stages, logits = (values.requires_grad_() for values in (*found.features, found.logits))
        loss = loss_of(stages, logits)
        *slopes, of_logits = torch.autograd.grad(loss, [*stages, logits], materialize_grads=True)
        assert found.kept is not None
        return Match(loss.detach(), fast.image_gradient(images, found.kept, slopes, of_logits))
    images = images.detach().requires_grad_()
    net.requires_grad_(False)
    try:
        loss = loss_of(*seen(images))
        return Match(loss.detach(), torch.autograd.grad(loss, images)[0])
    finally:
        net.requires_grad_(True)


def class_means(features: Tensor, labels: Tensor) -> Tensor:
    """Mean of features [b, ...] of each class, [classes, features]; zero for a class without images."""
    flat = features.flatten(1)
    classes = int(labels.max()) + 1
    members = moved(F.one_hot(labels, classes), flat.device).to(flat.dtype)
    weights = members / members.sum(0).clamp_min(1)
    return weights.t() @ flat
