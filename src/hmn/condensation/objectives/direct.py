"""What a training ends in, differentiated by its images where each step meets them: later steps' weights stand still.

The loss after a student's steps depends on an image through the gradient of every step that shows it, and through what
that step does to the gradients of later ones. Here the second part is left out. What remains is, step by step, gradient
matching's own derivative, for which a ConvNet on the CPU has passes of its own (`hmn.nets.convnet_cpu`).
Source: TESLA (arXiv:2211.10586) section 3, whose student's weights are constants in the derivative too.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hmn.condensation.objectives.exact import StudentStep, TrainingGradient, Weights, gradient_along, step_loss
from hmn.nets.convnet import ConvNet
from hmn.nets.convnet_cpu import ConvNetOnCpu, prepared
from hmn.train.step import by_parameter

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
    chosen: Mapping[int, float] | None = None,
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
        chosen: steps, by number, of which the derivative by images is taken, and how much each counts; None is all,
            once. The student takes them all, and the derivative by the rate is of all.
    """
    images, scratch = images.detach(), copy.deepcopy(net)
    weights, taken, kept_bytes = {name: value.detach() for name, value in start.items()}, [], 0
    shares = dict.fromkeys(range(len(steps)), 1.0) if chosen is None else chosen
    for number, step in enumerate(steps):
        one, gradients = _take(scratch, weights, images, step, keep=number in shares and kept_bytes < KEPT_BYTES)
        kept_bytes += 0 if one.kept is None else one.kept.nbytes
        weights = {name: value - lr * gradients[name] for name, value in weights.items()}
        if number in shares:
            taken.append((one, shares[number]))
    last = {name: value.requires_grad_() for name, value in weights.items() if value.dim() > 1}
    loss = loss_after(last)
    by_weights = dict(zip(last, torch.autograd.grad(loss, list(last.values())), strict=True))
    image_grad = torch.zeros_like(images)
    for one, share in taken:
        image_grad[one.step.rows] -= share * lr * _derivative(scratch, one, by_weights)
    end = {name: value.detach() for name, value in last.items()}
    moved = [(by_weights[name] * (start[name].detach() - value)).sum() for name, value in end.items()]
    return TrainingGradient(loss.detach(), image_grad, -torch.stack(moved).sum() / lr, end)


class _Taken(NamedTuple):
    """A step that the student took."""

    step: StudentStep
    weights: Weights
    rows: Tensor
    """The step's images, a leaf."""
    shown: Tensor
    """As the network saw them, in the graph of `rows`."""
    fast: ConvNetOnCpu | None
    kept: Tensor | None


def _take(
    net: nn.Module, weights: Weights, images: Tensor, step: StudentStep, *, keep: bool
) -> tuple[_Taken, dict[str, Tensor]]:
    """A step and its gradients. The network is given these weights, which its own passes read."""
    rows = images[step.rows].requires_grad_()
    shown = step.show(rows)
    for name, parameter in net.named_parameters():
        parameter.data = weights[name]
    fast = prepared(net, shown.detach())
    if fast is None:
        leaves = {name: value.detach().requires_grad_() for name, value in weights.items()}
        found = torch.autograd.grad(step_loss(net, leaves, rows.detach(), step), list(leaves.values()))
        return _Taken(step, weights, rows, shown, None, None), dict(zip(leaves, found, strict=True))
    assert isinstance(net, ConvNet)
    passed = fast.gradients(shown, _targets(step, fast.classes), keep=keep, everything=True)
    return _Taken(step, weights, rows, shown, fast, passed.kept), by_parameter(net, passed)


def _targets(step: StudentStep, classes: int) -> Tensor:
    """[b, classes], of the mean cross-entropy."""
    return F.one_hot(step.labels, classes).float() / len(step.labels)


def _derivative(net: nn.Module, one: _Taken, along: Weights) -> Tensor:
    """Of <gradient of the step's loss, `along`> by the step's images."""
    if one.fast is None:
        leaves = {name: value.detach().requires_grad_() for name, value in one.weights.items()}
        return torch.autograd.grad(gradient_along(net, leaves, one.rows, one.step, along), one.rows)[0]
    targets, kept = _targets(one.step, one.fast.classes), one.kept
    if kept is None:
        kept = one.fast.gradients(one.shown, targets, keep=True, everything=True).kept
        assert kept is not None
    *kernels, head = along.values()
    by_shown = one.fast.directional(one.shown, targets, kept, kernels, head)
    return torch.autograd.grad(one.shown, one.rows, by_shown)[0]
