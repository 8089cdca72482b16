"""Slow, obvious versions of the matching losses: float64, one class at a time, double backward."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def gradient_matching(
    net: nn.Module, real: tuple[Tensor, Tensor], generated: tuple[Tensor, Tensor], *, distance: str
) -> tuple[Tensor, Tensor]:
    """Loss and gradient for the generated images, by differentiating through the gradient."""
    net = copy.deepcopy(net).double()
    images = generated[0].detach().double().requires_grad_()
    kernels = [p for p in net.parameters() if p.dim() == 4]
    loss = torch.zeros((), dtype=torch.float64)
    for label in sorted(set(generated[1].tolist())):
        one, other = real[1] == label, generated[1] == label
        g_real = torch.autograd.grad(F.cross_entropy(net(real[0][one].double()), real[1][one]), kernels)
        g_syn = torch.autograd.grad(
            F.cross_entropy(net(images[other]), generated[1][other]), kernels, create_graph=True
        )
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
