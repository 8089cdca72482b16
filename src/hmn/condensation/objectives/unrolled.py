"""Unrolled training (LinBa as published): the loss on real images after a training on generated ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from hmn.condensation.cost.operations import BACKWARD, NetOperations, render_operations
from hmn.condensation.objectives.exact import StudentStep, Weights, augmented, differentiate_training
from hmn.condensation.objectives.student import StudentObjective
from hmn.condensation.state import CondenseState, new_network, shown_as_stored
from hmn.data.source import Batch
from hmn.recipes.ranges import Count, Momentum, Positive
from hmn.train.augment import draw


@dataclass(frozen=True, kw_only=True)
class UnrolledSettings:
    """Settings of unrolled training alone; epochs * inner_steps of the condensation are its iterations.

    The defaults are LinBa's code's for CIFAR-10 at 1 IPC. Source: Remember the Past (arXiv:2206.02916).
    """

    student_steps: Count = 150
    student_per_class: Count = 32
    """Generated images of each class a step."""
    student_lr: Positive = 0.01
    student_momentum: Momentum = 0.9
    max_norm: Positive = 2.0
    """The container's gradient is shortened to this norm."""


@final
class Unrolled(StudentObjective):
    """A fresh network takes SGD steps on generated images, and its loss is its cross-entropy on real ones.

    Each step shows it some generated images of every class; the loss, on `real_per_class` real images of each class, is
    differentiated through all steps.

    Source: Remember the Past (arXiv:2206.02916) Algorithm 1 and its code (runners/sgld_runner_standard.py,
    models/compressor_bptt_standard.py). Deviation: its l2 term on coefficients is left out, because in its code it has
    no effect: it enters a loss that is differentiated by the network's weights first.
    """

    Settings = UnrolledSettings
    reads = StudentObjective.reads | {"condense.real_per_class"}
    rates = ("student_lr",)

    def step(self, state: CondenseState) -> Tensor:
        """One student, and the gradient of its loss, which is shortened; the loss."""
        with shown_as_stored(state.container, state.config.learned_as):
            loss = self._differentiate(state)
        torch.nn.utils.clip_grad_norm_(state.container.parameters(), self.settings.max_norm)
        return loss

    def operations(self, state: CondenseState, net: NetOperations) -> int:
        """Operations of an iteration: a student there and back as in trajectory matching, real images, rendering."""
        shape, per_class = state.container.shape, self.settings.student_per_class
        shown = self.settings.student_steps * sum(min(per_class, count) for count in shape.images_per_class)
        real = sum(min(state.config.real_per_class, len(members)) for members in state.members)
        student = shown * (12 * net.forward - 4 * net.first) + real * net.weight_gradient
        return student + (1 + BACKWARD) * render_operations(shape, self.rendered(state))

    def _differentiate(self, state: CondenseState) -> Tensor:
        settings, generator = self.settings, state.generator
        net = new_network(state.config, state.real, generator).to(state.device)
        steps = [self._student_step(state) for _ in range(settings.student_steps)]
        unseen = _real_batch(state)

        def loss_after(weights: Weights) -> Tensor:
            return F.cross_entropy(functional_call(net, weights, (unseen.images,)), unseen.labels)

        rendered = state.container.images(torch.arange(len(state.container), device=state.device))
        lr, momentum = settings.student_lr, settings.student_momentum
        start: Weights = dict(net.named_parameters())
        found = differentiate_training(net, rendered, steps, start, lr=lr, momentum=momentum, loss_after=loss_after)
        state.optimizer.zero_grad()
        rendered.backward(found.image_grad)
        return found.loss

    def _student_step(self, state: CondenseState) -> StudentStep:
        """Some generated images of every class, each augmented by itself."""
        members = [(state.labels == label).nonzero()[:, 0] for label in range(len(state.members))]
        index = _some_of_each(members, self.settings.student_per_class, state.generator)
        params = draw(state.config.augment, len(index), state.real.image_shape, state.generator, one_choice=True)
        labels = state.labels[index].to(state.device)
        return StudentStep(index.to(state.device), labels, partial(augmented, state.real.normalisation, params))


def _real_batch(state: CondenseState) -> Batch:
    """Real images of every class, augmented as the student's are."""
    real = state.real
    chosen = _some_of_each(state.members, state.config.real_per_class, state.generator)
    params = draw(state.config.augment, len(chosen), real.image_shape, state.generator, one_choice=True)
    images = augmented(real.normalisation, params, real.images(chosen).to(state.device))
    return Batch(images, real.labels[chosen].to(state.device))


def _some_of_each(members: list[Tensor], count: int, generator: torch.Generator) -> Tensor:
    """Up to `count` of every class's members at random, class by class."""
    return torch.cat([each[torch.randperm(len(each), generator=generator)[:count]] for each in members])
