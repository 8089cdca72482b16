"""What an objective hands back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from torch import Tensor, nn


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
