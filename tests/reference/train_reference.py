"""One training by hand: SGD with momentum written out, no augmentation, no CutMix."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def sgd_slow(
    net: nn.Module,
    images: Tensor,
    labels: Tensor,
    batches: list[Tensor],
    rates: list[float],
    *,
    momentum: float,
    weight_decay: float,
) -> list[float]:
    """Trains `net` in place on normalised images; the loss of each step.

    velocity = momentum * velocity + gradient + weight_decay * weight, weight -= rate * velocity.
    """
    velocity = [torch.zeros_like(p) for p in net.parameters()]
    losses = []
    for index, rate in zip(batches, rates, strict=True):
        loss = F.cross_entropy(net(images[index]), labels[index])
        gradients = torch.autograd.grad(loss, list(net.parameters()))
        losses.append(float(loss.detach()))
        with torch.no_grad():
            for p, v, g in zip(net.parameters(), velocity, gradients, strict=True):
                v.mul_(momentum).add_(g + weight_decay * p)
                p.sub_(rate * v)
    return losses
