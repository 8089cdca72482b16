"""Students: networks that are trained on generated images, and the derivative of what that ends in by the images.

Back-propagation through time without the graph of all steps: the weights before every step are kept, and the steps are
taken again in reverse, each with one double backward pass. Exact, as if the whole graph had been kept.
Source: Remember the Past (arXiv:2206.02916) section 3.2 and its code (models/compressor_bptt_standard.py); with
momentum 0 and a learned learning rate it is what MTT (arXiv:2203.11932) needs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from hmn.condensation.objectives.base import Objective
from hmn.condensation.state import CondenseState, new_network, shown_as_stored
from hmn.containers.shape import FLOAT_BYTES
from hmn.data.real import RealData
from hmn.data.source import Normalisation
from hmn.nets import Net
from hmn.recipes.settings import CondenseConfig
from hmn.train.augment import AugmentParams, apply, draw

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


class StudentObjective(Objective):
    """An objective whose step is `settings.student_steps` steps of a student, there and back."""

    @property
    def together(self) -> int:
        """Steps of the student that must be timed together."""
        return 1

    def sizes(self, state: CondenseState) -> Sequence[int]:
        """Steps of the student: 1, 2, 4 ..."""
        longest = -(-self.settings.student_steps // self.together)
        return [self.together * 2**power for power in range(longest.bit_length())]

    @contextmanager
    def reduced(self, state: CondenseState, size: int) -> Iterator[None]:
        """Within, a student takes so many steps."""
        whole = self.settings
        self.settings = replace(whole, student_steps=size)
        try:
            yield
        finally:
            self.settings = whole

    def step_bytes(self, state: CondenseState, above: Mapping[int, float], held: float, processes: int) -> float:
        """The longest timed student's, and the weights before every further step, kept for the way back."""
        steps, highest = max(above.items())
        net = new_student(state.real, state.config, seed=0)
        weights = sum(parameter.numel() for parameter in net.parameters())
        return highest + max(0, self.settings.student_steps - steps) * weights * FLOAT_BYTES

    def through_student(self, state: CondenseState, train: Callable[[Tensor], TrainingGradient]) -> TrainingGradient:
        """A training on all of the container's images, which leaves the gradient of its end in the container."""
        with shown_as_stored(state.container, state.config.learned_as):
            rendered = state.container.images(torch.arange(len(state.container), device=state.device))
            found = train(rendered)
            state.optimizer.zero_grad()
            rendered.backward(found.image_grad)
        return found


def new_student(real: RealData, config: CondenseConfig, *, seed: int) -> Net:
    """The network that students and experts are, with weights of its settings."""
    return new_network(config, real, torch.Generator().manual_seed(seed))


def student_step(state: CondenseState, index: Tensor) -> StudentStep:
    """A step on the generated images at `index` [b], each augmented by itself."""
    real, labels = state.real, state.labels[index].to(state.device)
    params = draw(state.config.augment, len(index), real.image_shape, state.generator, one_choice=True)
    return StudentStep(index.to(state.device), labels, partial(as_seen, real.normalisation, params))


def as_seen(normalisation: Normalisation, params: AugmentParams, images: Tensor) -> Tensor:
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
        gradients = step_gradients(net, history[-1], images[step.rows], step)
        velocity = {name: momentum * velocity[name] + g for name, g in gradients.items()}
        history.append({name: value - lr * velocity[name] for name, value in history[-1].items()})
    last = {name: value.requires_grad_() for name, value in history[-1].items()}
    loss = loss_after(last)
    by_weights = torch.autograd.grad(loss, list(last.values()), materialize_grads=True)
    # The way back: what each step's gradients passed on to the weights before it, and to its images.
    image_grad, lr_grad = torch.zeros_like(images), torch.zeros((), device=images.device, dtype=images.dtype)
    by_velocity = [torch.zeros_like(g) for g in by_weights]
    for number, step in reversed([*enumerate(steps)]):
        moved = [history[number][name] - history[number + 1][name].detach() for name in start]  # lr * velocity
        lr_grad = lr_grad - sum((a * m).sum() for a, m in zip(by_weights, moved, strict=True)) / lr
        by_velocity = [b - lr * a for b, a in zip(by_velocity, by_weights, strict=True)]
        rows = images[step.rows].requires_grad_()
        inner, leaves = gradient_along(net, history[number], rows, step, dict(zip(start, by_velocity, strict=True)))
        *through, by_rows = torch.autograd.grad(inner, [*leaves.values(), rows], materialize_grads=True)
        by_weights = tuple(a + t for a, t in zip(by_weights, through, strict=True))
        image_grad[step.rows] += by_rows
        by_velocity = [momentum * b for b in by_velocity]
    end = {name: value.detach() for name, value in history[-1].items()}
    return TrainingGradient(loss.detach(), image_grad, lr_grad, end)


def step_gradients(net: nn.Module, weights: Weights, images: Tensor, step: StudentStep) -> Weights:
    """Gradients of the step's loss by all of these weights."""
    leaves = _leaves(weights)
    found = torch.autograd.grad(_step_loss(net, leaves, images, step), list(leaves.values()))
    return dict(zip(leaves, found, strict=True))


def gradient_along(
    net: nn.Module, weights: Weights, images: Tensor, step: StudentStep, along: Weights
) -> tuple[Tensor, Weights]:
    """<gradient of the step's loss, `along`> over the weights named there, and leaves of its graph: all weights."""
    leaves = _leaves(weights)
    of = [leaves[name] for name in along]
    gradients = torch.autograd.grad(_step_loss(net, leaves, images, step), of, create_graph=True)
    return torch.stack([(g * a).sum() for g, a in zip(gradients, along.values(), strict=True)]).sum(), leaves


def _leaves(weights: Weights) -> Weights:
    return {name: value.detach().requires_grad_() for name, value in weights.items()}


def _step_loss(net: nn.Module, weights: Weights, images: Tensor, step: StudentStep) -> Tensor:
    """Mean cross-entropy of the step's images [b, c, h, w], before they are shown, with these weights."""
    return F.cross_entropy(functional_call(net, weights, (step.show(images),)), step.labels)
