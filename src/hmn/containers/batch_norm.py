"""BatchNorm over the images that all processes render, where each renders those of its own classes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hmn.runtime.processes import sum_in_place


def batch_norm_together(hidden: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    """What `norm` makes of [b, c, h, w], with mean and variance over the batches of all processes, differentiable.

    Collective, forwards and backwards. A batch may be empty, as long as one is not. SyncBatchNorm knows no CPU.
    """
    places = hidden.new_tensor([hidden.numel() // hidden.shape[1]])
    sums = _Sum.apply(torch.cat([hidden.sum((0, 2, 3)), places]))
    count = sums[-1].detach()
    centred = hidden - (sums[:-1] / count).view(1, -1, 1, 1)
    variance = _Sum.apply(centred.square().sum((0, 2, 3))) / count
    scale = norm.weight * (variance + norm.eps).rsqrt()
    return centred * scale.view(1, -1, 1, 1) + norm.bias.view(1, -1, 1, 1)


class _Sum(torch.autograd.Function):
    """The sum over processes. Every process's loss depends on it, so its gradient is their sum as well."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return sum_in_place(values.clone())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return sum_in_place(grad.contiguous().clone())
