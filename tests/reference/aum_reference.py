"""AUM by hand: one network trained step by step in plain loops, margins image by image."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def aum_slow(
    net: nn.Module,
    images: Tensor,
    labels: Tensor,
    epochs: list[list[Tensor]],
    rates: list[float],
    *,
    momentum: float,
    weight_decay: float,
    softmax: bool,
) -> list[list[float]]:
    """Every epoch's margins, image by image, of a net that is trained as the epochs' batches say.

    The margin is of the forward pass that the step's gradient is taken from, before the step.
    """
    velocity = [torch.zeros_like(p) for p in net.parameters()]
    found = []
    steps = iter(rates)
    for batches in epochs:
        epoch = [math.nan] * len(labels)
        for index in batches:
            logits = net(images[index])
            for row, image in enumerate(index.tolist()):
                epoch[image] = margin_slow(logits[row].tolist(), int(labels[image]), softmax=softmax)
            gradients = torch.autograd.grad(F.cross_entropy(logits, labels[index]), list(net.parameters()))
            rate = next(steps)
            with torch.no_grad():
                for p, v, g in zip(net.parameters(), velocity, gradients, strict=True):
                    v.mul_(momentum).add_(g + weight_decay * p)
                    p.sub_(rate * v)
        found.append(epoch)
    return found


def margin_slow(logits: list[float], label: int, *, softmax: bool) -> float:
    """Own value less the largest of the others."""
    values = logits
    if softmax:
        total = sum(math.exp(value) for value in logits)
        values = [math.exp(value) / total for value in logits]
    return values[label] - max(value for position, value in enumerate(values) if position != label)
