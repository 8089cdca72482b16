"""Slow, obvious versions of the matching losses: float64, one class at a time, double backward."""

from __future__ import annotations

import copy
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hmn.nets import gates, record_masks, replay_masks


def gradient_matching(
    net: nn.Module,
    real: tuple[Tensor, Tensor],
    generated: tuple[Tensor, Tensor],
    *,
    distance: str,
    dtype: torch.dtype = torch.float64,
    masks_of_float32: bool = False,
) -> tuple[Tensor, Tensor]:
    """Loss and gradient for the generated images, by differentiating through the gradient.

    With `masks_of_float32` the generated images' ReLUs are open where they are for `net` in float32: a unit within
    rounding of zero may be open in one precision and shut in the other, and then no two of them agree.
    """
    single, net = net, copy.deepcopy(net).to(dtype)
    images = generated[0].detach().to(dtype).requires_grad_()
    kernels = [p for p in net.parameters() if p.dim() == 4]
    loss = torch.zeros((), dtype=dtype)
    for label in sorted(set(generated[1].tolist())):
        one, other = real[1] == label, generated[1] == label
        g_real = torch.autograd.grad(F.cross_entropy(net(real[0][one].to(dtype)), real[1][one]), kernels)
        if masks_of_float32:
            with record_masks(single), torch.no_grad():
                single(generated[0][other].float())
            for gate, recorded in zip(gates(net), gates(single), strict=True):
                gate.masks = recorded.masks
        with replay_masks(net) if masks_of_float32 else nullcontext():
            logits = net(images[other])
        g_syn = torch.autograd.grad(F.cross_entropy(logits, generated[1][other]), kernels, create_graph=True)
        for a, b in zip(g_real, g_syn, strict=True):
            difference = b - a
            loss = loss + (difference.square().sum() if distance == "squared" else difference.abs().sum())
    return loss.detach(), torch.autograd.grad(loss, images)[0]


def feature_matching(
    net: nn.Module,
    real: tuple[Tensor, Tensor],
    generated: tuple[Tensor, Tensor],
    *,
    cross_entropy_weight: float,
) -> tuple[Tensor, Tensor]:
    """Loss and gradient for the generated images; every mean is a Python loop over the images of a class."""
    net = copy.deepcopy(net).double()
    images = generated[0].detach().double().requires_grad_()
    stages_real, stages = net.features(real[0].double()), net.features(images)  # type: ignore[operator]
    loss = torch.zeros((), dtype=torch.float64)
    for label in sorted(set(generated[1].tolist())):
        of_class = generated[1] == label
        loss = loss + cross_entropy_weight * F.cross_entropy(net(images)[of_class], generated[1][of_class])
    for real_stage, stage in zip(stages_real, stages, strict=True):
        for label in sorted(set(generated[1].tolist())):
            mean_real = sum(f for f, y in zip(real_stage, real[1].tolist(), strict=True) if y == label)
            mean_real = mean_real / real[1].tolist().count(label)
            mean = sum(f for f, y in zip(stage, generated[1].tolist(), strict=True) if y == label)
            mean = mean / generated[1].tolist().count(label)
            loss = loss + ((mean - mean_real) ** 2).sum()
    return loss.detach(), torch.autograd.grad(loss, images)[0]
