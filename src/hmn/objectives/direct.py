"""What a training ends in, differentiated by its images where each step meets them: later steps' weights stand still.

The loss after a student's steps depends on an image through the gradient of every step that shows it, and through what
that step does to the gradients of later ones. Here the second part is left out. What remains is, step by step, gradient
matching's own derivative, for which a ConvNet on the CPU has passes of its own (`hmn.convnet_cpu`).
Source: TESLA (arXiv:2211.10586) section 3, whose student's weights are constants in the derivative too.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from hmn.convnet_cpu import ConvNetOnCpu, prepared
from hmn.nets.convnet import ConvNet
from hmn.objectives.unroll import StudentStep, TrainingGradient, Weights
from hmn.training_step import by_parameter

KEPT_BYTES = 2**30
"""Of the passes there, for the way back; what is more is computed again."""


def differentiate_directly(
    net: nn.Module,
    images: Tensor,
    steps: Sequence[StudentStep],
    start: Weights,
    *,
    lr: float,
    loss_after: Callable[[Weights], Tensor],
) -> TrainingGradient:
    """Train `net` from `start` with plain SGD on `images`, and differentiate `loss_after` its last step, directly.

    Args:
        net: its own weights are not used and stay.
        images: [n, c, h, w], what the derivative is by.
        steps: what the student sees, step by step.
        start: weights by name, all of the network's parameters.
        lr: learning rate of every step.
        loss_after: a scalar of the weights after the last step: of those with two dimensions or more, and only these
            are given to it (kernels and the linear layer's weight, as in gradient matching).
    """
    images, scratch = images.detach(), copy.deepcopy(net)
    weights, taken, kept_bytes = dict(start), [], 0
    for step in steps:
        one = _take(scratch, weights, images, step, keep=kept_bytes < KEPT_BYTES)
        kept_bytes += 0 if one.kept is None else one.kept.nbytes
        weights = {name: value.detach() - lr * one.gradients[name] for name, value in weights.items()}
        taken.append(one)
    last = {name: value.requires_grad_() for name, value in weights.items() if value.dim() > 1}
    loss = loss_after(last)
    by_weights = dict(zip(last, torch.autograd.grad(loss, list(last.values())), strict=True))
    image_grad = torch.zeros_like(images)
    for one in taken:
        image_grad[one.step.rows] -= lr * _derivative(scratch, one, by_weights)
    moved = {name: start[name].detach() - value.detach() for name, value in last.items()}
    lr_grad = -torch.stack([(by_weights[name] * moved[name]).sum() for name in last]).sum() / lr
    return TrainingGradient(loss.detach(), image_grad, lr_grad, {n: value.detach() for n, value in last.items()})


class _Taken(NamedTuple):
    """A step that the student took."""

    step: StudentStep
    weights: Weights
    rows: Tensor
    """The step's images, a leaf."""
    shown: Tensor
    """As the network saw them, in the graph of `rows`."""
    gradients: Weights
    fast: ConvNetOnCpu | None
    kept: Tensor | None


def _take(net: nn.Module, weights: Weights, images: Tensor, step: StudentStep, *, keep: bool) -> _Taken:
    rows = images[step.rows].requires_grad_()
    shown = step.show(rows)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter.data = weights[name].detach()
    fast = prepared(net, shown.detach())
    if fast is None:
        loss = F.cross_entropy(net(shown.detach()), step.labels)
        found = torch.autograd.grad(loss, list(net.parameters()))
        gradients = {name: g for (name, _), g in zip(net.named_parameters(), found, strict=True)}
        return _Taken(step, weights, rows, shown, gradients, None, None)
    assert isinstance(net, ConvNet)
    passed = fast.gradients(shown, _targets(step, fast.classes), keep=keep, everything=True)
    gradients = by_parameter(net, passed)
    return _Taken(step, weights, rows, shown, gradients, fast, passed.kept)


def _targets(step: StudentStep, classes: int) -> Tensor:
    """[b, classes], of the mean cross-entropy."""
    return F.one_hot(step.labels, classes).float() / len(step.labels)


def _derivative(net: nn.Module, one: _Taken, along: Weights) -> Tensor:
    """Of <gradient of the step's loss, `along`> by the step's images."""
    if one.fast is None:
        return _derivative_by_torch(net, one, along)
    targets, kept = _targets(one.step, one.fast.classes), one.kept
    if kept is None:
        kept = one.fast.gradients(one.shown, targets, keep=True, everything=True).kept
        assert kept is not None
    *kernels, head = along.values()
    by_shown = one.fast.directional(one.shown, targets, kept, kernels, head)
    return torch.autograd.grad(one.shown, one.rows, by_shown)[0]


def _derivative_by_torch(net: nn.Module, one: _Taken, along: Weights) -> Tensor:
    leaves = {name: value.detach().requires_grad_() for name, value in one.weights.items()}
    loss = F.cross_entropy(functional_call(net, leaves, (one.shown,)), one.step.labels)
    gradients = torch.autograd.grad(loss, [leaves[name] for name in along], create_graph=True)
    inner = torch.stack([(g * a).sum() for g, a in zip(gradients, along.values(), strict=True)]).sum()
    return torch.autograd.grad(inner, one.rows)[0]
