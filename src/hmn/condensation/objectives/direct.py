"""What a training ends in, differentiated by its images where each step meets them: later steps' weights stand still.

The loss after a student's steps depends on an image through the gradient of every step that shows it, and through what
that step does to the gradients of later ones. Here the second part is left out. What remains is, step by step, gradient
matching's own derivative, for which a ConvNet on the CPU has passes of its own (`hmn.nets.convnet_cpu`).
Source: TESLA (arXiv:2211.10586) section 3, whose student's weights are constants in the derivative too.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hmn.condensation.objectives.student import StudentStep, TrainingGradient, Weights, gradient_along, step_gradients
from hmn.nets.convnet import ConvNet
from hmn.nets.convnet_cpu import mean_targets, prepared
from hmn.train.step import by_parameter

KEPT_BYTES = 2**30
"""Bytes of passes that are kept for the way back; what is more is computed again."""


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

    As `hmn.condensation.objectives.student.differentiate_training`, but for two arguments.

    Args:
        net: as there, and so the others.
        loss_after: of those weights that have two dimensions or more, and only these are given to it (kernels and the
            linear layer's weight, as in gradient matching).
        chosen: steps, by number, of which the derivative by images is taken, and how much each counts; None is all,
            once. The student takes them all, and the derivative by the rate is of all.
    """
    images, scratch = images.detach(), copy.deepcopy(net)
    weights, taken, kept_bytes = {name: value.detach() for name, value in start.items()}, [], 0
    shares = dict.fromkeys(range(len(steps)), 1.0) if chosen is None else chosen
    for number, step in enumerate(steps):
        one = _take(scratch, weights, images, step, keep=number in shares and kept_bytes < KEPT_BYTES)
        kept_bytes += one.kept_bytes
        weights = {name: value - lr * one.gradients[name] for name, value in weights.items()}
        if number in shares:
            taken.append((step, shares[number], one.derivative))
    last = {name: value.requires_grad_() for name, value in weights.items() if value.dim() > 1}
    loss = loss_after(last)
    by_weights = dict(zip(last, torch.autograd.grad(loss, list(last.values())), strict=True))
    # The way back, in which no step knows of another.
    image_grad = torch.zeros_like(images)
    for step, share, derivative in taken:
        image_grad[step.rows] -= share * lr * derivative(by_weights)
    end = {name: value.detach() for name, value in last.items()}
    moved = [(by_weights[name] * (start[name].detach() - value)).sum() for name, value in end.items()]
    return TrainingGradient(loss.detach(), image_grad, -torch.stack(moved).sum() / lr, end)


class _Taken(NamedTuple):
    """A step that the student took."""

    gradients: Weights
    derivative: Callable[[Weights], Tensor]
    """Derivative of <gradient of the step's loss, some weights> by the step's images."""
    kept_bytes: int


def _take(net: nn.Module, weights: Weights, images: Tensor, step: StudentStep, *, keep: bool) -> _Taken:
    """Take a step. The network is given these weights, which its own passes read."""
    rows = images[step.rows].requires_grad_()
    shown = step.show(rows)
    for name, parameter in net.named_parameters():
        parameter.data = weights[name]
    fast = prepared(net, shown.detach())
    if fast is None:

        def by_torch(along: Weights) -> Tensor:
            return torch.autograd.grad(gradient_along(net, weights, rows, step, along)[0], rows)[0]

        return _Taken(step_gradients(net, weights, rows.detach(), step), by_torch, 0)
    # In C the pass is kept for the derivative, or taken again where that would hold too much.
    assert isinstance(net, ConvNet)
    targets = mean_targets(step.labels, fast.classes)
    passed = fast.gradients(shown, targets, keep=keep, everything=True)
    kept = passed.kept

    def by_passes(along: Weights) -> Tensor:
        again = fast.gradients(shown, targets, keep=True, everything=True).kept if kept is None else kept
        assert again is not None
        *kernels, head = along.values()
        by_shown = fast.directional(shown, targets, again, kernels, head)
        return torch.autograd.grad(shown, rows, by_shown)[0]

    return _Taken(by_parameter(net, passed), by_passes, 0 if kept is None else kept.nbytes)
