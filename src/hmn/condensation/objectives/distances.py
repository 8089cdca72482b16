"""Distances of gradients, and their derivatives by the generated images' gradients: what a matching step goes along.

Sources: squared and absolute are IDC's (arXiv:2205.14959, condense.py: dist), summed over convolution kernels; cosine
is DC's and DSA's (arXiv:2006.05929, arXiv:2102.08259; utils.py: distance_wb), over filters, with the linear layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

Distance = Literal["squared", "absolute", "cosine"]
COSINE_EPSILON = 1e-6
"""Added to the product of norms, as in DC's code."""


class Along(NamedTuple):
    """A distance (a scalar) and its derivative by each of the generated images' gradients."""

    loss: Tensor
    direction: list[Tensor]


def matched_parameters(net: nn.Module, distance: Distance) -> list[nn.Parameter]:
    """The parameters whose gradients are compared: convolution kernels; for "cosine" weights of linear layers too.

    Never 1-D parameters (biases, norms).
    """
    least = 2 if distance == "cosine" else 4
    return [parameter for parameter in net.parameters() if parameter.dim() >= least]


def gradient_distance(g_generated: Sequence[Tensor], g_real: Sequence[Tensor], distance: Distance) -> Along:
    """The distance summed over parameters, and its derivative by `g_generated`, without a graph.

    squared: sum of squared differences. absolute: sum of their magnitudes; at zero its derivative is 0. cosine: sum
    over a parameter's first dimension (filters, or outputs of a linear layer) of 1 - a.b / (|a| |b| + 1e-6).

    Args:
        g_generated: gradients on the generated images, shaped as the parameters.
        g_real: gradients on the real images.
        distance: which one.
    """
    losses, direction = [], []
    with torch.no_grad():
        for own, other in zip(g_generated, g_real, strict=True):
            if distance == "cosine":
                loss, along = _cosine(own, other)
            elif distance == "squared":
                loss, along = (own - other).square().sum(), 2 * (own - other)
            else:
                loss, along = (own - other).abs().sum(), (own - other).sign()
            losses.append(loss)
            direction.append(along)
        return Along(torch.stack(losses).sum(), direction)


def _cosine(own: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    a, b = own.flatten(1), other.flatten(1)
    norm_a, norm_b = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    inner, scale = (a * b).sum(dim=1, keepdim=True), norm_a * norm_b + COSINE_EPSILON
    # |a| has no derivative at zero; as torch does, it is taken as zero there.
    unit = torch.where(norm_a > 0, a / norm_a.clamp_min(torch.finfo(a.dtype).tiny), 0.0)
    along = inner * norm_b / scale.square() * unit - b / scale
    return (1 - inner / scale).sum(), along.view_as(own)
