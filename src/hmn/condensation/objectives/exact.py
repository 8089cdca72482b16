"""The derivative of what a training ends in by the images that it was trained on.

Back-propagation through time without the graph of all steps: the weights before every step are kept, and the steps are
taken again in reverse, each with one double backward pass. Exact, as if the whole graph had been kept.
Source: Remember the Past (arXiv:2206.02916) section 3.2 and its code (models/compressor_bptt_standard.py); with
momentum 0 and a learned learning rate it is what MTT (arXiv:2203.11932) needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from hmn.data.source import Normalisation
from hmn.train.augment import AugmentParams, apply

Weights = dict[str, Tensor]


class StudentStep(NamedTuple):
    """One SGD step of a student: which images it sees, and how they are shown to it."""

    rows: Tensor
    """int64 [b], rows of the images; none twice."""
    labels: Tensor
    """int64 [b]."""
    show: Callable[[Tensor], Tensor]
    """Normalisation and augmentation of images [b, c, h, w], differentiable and without chance."""


class TrainingGradient(NamedTuple):
    """A loss after training, and its derivatives."""

    loss: Tensor
    image_grad: Tensor
    """Shaped as the images."""
    lr_grad: Tensor
    """By the learning rate, a scalar."""
    end: Weights
    """After the last step: those that the loss is of."""


def augmented(normalisation: Normalisation, params: AugmentParams, images: Tensor) -> Tensor:
    """Images [b, c, h, w] in [0, 1] as networks see them: normalised, and augmented row by row."""
    return apply(normalisation.apply(images), params)


def differentiate_training(
    net: nn.Module,
    images: Tensor,
    steps: Sequence[StudentStep],
    start: Weights,
    *,
    lr: float,
    momentum: float,
    loss_after: Callable[[Weights], Tensor],
) -> TrainingGradient:
    """Train `net` from `start` with SGD on `images`, and differentiate `loss_after` its last step.

    v <- momentum * v + g, weights <- weights - lr * v, with g the gradient of the mean cross-entropy.

    Args:
        net: its own weights are not used and stay; BatchNorm would be of each step's batch.
        images: [n, c, h, w], what the derivative is by.
        steps: what the student sees, step by step.
        start: weights by name, all of the network's parameters.
        lr: learning rate of every step.
        momentum: of SGD.
        loss_after: a scalar of the weights after the last step.
    """
    images = images.detach()
    history = [{name: value.detach() for name, value in start.items()}]
    velocity = {name: torch.zeros_like(value) for name, value in start.items()}
    for step in steps:
        before = {name: value.detach().requires_grad_() for name, value in history[-1].items()}
        gradients = torch.autograd.grad(step_loss(net, before, images[step.rows], step), list(before.values()))
        velocity = {name: momentum * velocity[name] + g for name, g in zip(before, gradients, strict=True)}
        history.append({name: (value - lr * velocity[name]).detach() for name, value in before.items()})
    last = {name: value.requires_grad_() for name, value in history[-1].items()}
    loss = loss_after(last)
    by_weights = torch.autograd.grad(loss, list(last.values()), materialize_grads=True)
    image_grad, lr_grad = torch.zeros_like(images), torch.zeros((), device=images.device, dtype=images.dtype)
    by_velocity = [torch.zeros_like(g) for g in by_weights]
    for number in reversed(range(len(steps))):
        moved = [history[number][name] - history[number + 1][name].detach() for name in start]  # lr * velocity
        lr_grad = lr_grad - sum((a * m).sum() for a, m in zip(by_weights, moved, strict=True)) / lr
        by_velocity = [b - lr * a for b, a in zip(by_velocity, by_weights, strict=True)]
        through, by_images = _through_gradient(net, history[number], images, steps[number], by_velocity)
        by_weights = tuple(a + t for a, t in zip(by_weights, through, strict=True))
        image_grad[steps[number].rows] += by_images
        by_velocity = [momentum * b for b in by_velocity]
    end = {name: value.detach() for name, value in history[-1].items()}
    return TrainingGradient(loss.detach(), image_grad, lr_grad, end)


def step_loss(net: nn.Module, weights: Weights, images: Tensor, step: StudentStep) -> Tensor:
    """Mean cross-entropy of the step's images [b, c, h, w], before they are shown, with these weights."""
    return F.cross_entropy(functional_call(net, weights, (step.show(images),)), step.labels)


def gradient_along(net: nn.Module, leaves: Weights, images: Tensor, step: StudentStep, along: Weights) -> Tensor:
    """<gradient of the step's loss, `along`> over the weights named there, in the graph of `leaves` and `images`."""
    of = [leaves[name] for name in along]
    gradients = torch.autograd.grad(step_loss(net, leaves, images, step), of, create_graph=True)
    return torch.stack([(g * a).sum() for g, a in zip(gradients, along.values(), strict=True)]).sum()


def _through_gradient(
    net: nn.Module, weights: Weights, images: Tensor, step: StudentStep, along: list[Tensor]
) -> tuple[list[Tensor], Tensor]:
    """Derivatives of <gradient of the step's loss, `along`> by the weights and by the step's images."""
    leaves = {name: value.detach().requires_grad_() for name, value in weights.items()}
    shown = images[step.rows].requires_grad_()
    inner = gradient_along(net, leaves, shown, step, dict(zip(leaves, along, strict=True)))
    *by_weights, by_images = torch.autograd.grad(inner, [*leaves.values(), shown], materialize_grads=True)
    return by_weights, by_images
