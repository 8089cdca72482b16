"""What an objective hands back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from torch import Tensor, nn

from hmn.recipes.settings import CondenseConfig


class Match(NamedTuple):
    """A loss (a scalar without a graph) and its gradient for the generated images, shaped as they are.

    An objective returns the gradient itself, so that it needs no double backward and the container's small
    graph finishes the chain.
    """

    loss: Tensor
    image_grad: Tensor


def convolution_kernels(net: nn.Module) -> list[nn.Parameter]:
    """The parameters whose gradients are matched: convolution kernels, no 1-D parameters, no linear layer."""
    return [parameter for parameter in net.parameters() if parameter.dim() == 4]


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
        for parameter, wanted in zip(parameters, asked, strict=True):
            parameter.requires_grad_(wanted)


class CondenseRecord(NamedTuple):
    """What one record of the loop says: the phase, steps done of all its steps, and the loss."""

    phase: str
    done: int
    total: int
    loss: float


def lr_factor(config: CondenseConfig, sweeps_done: int) -> float:
    """Learning rate over its start: times 0.1 at 60 and at 80 % of the epochs, or a cosine to zero, or 1."""
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * sweeps_done / config.num_sweeps))
    epoch = sweeps_done // config.inner_steps
    return 0.1 ** sum(epoch >= share * config.epochs for share in (0.6, 0.8))
