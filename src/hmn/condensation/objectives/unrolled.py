"""Unrolled training (LinBa as published): the loss on real images after a training on generated ones."""

from dataclasses import dataclass
from functools import partial
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from hmn.condensation.cost.operations import BACKWARD, NetOperations, render_operations
from hmn.condensation.objectives.network import choose_generated, some_of_each
from hmn.condensation.objectives.student import StudentObjective, Weights, as_seen, differentiate_training, student_step
from hmn.condensation.state import CondenseState, new_network
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
        count, per_class = self.settings.student_steps, self.settings.student_per_class
        net = new_network(state.config, state.real, state.generator).to(state.device)
        steps = [student_step(state, choose_generated(state, per_class)) for _ in range(count)]
        unseen = _real_batch(state)

        def loss_after(weights: Weights) -> Tensor:
            return F.cross_entropy(functional_call(net, weights, (unseen.images,)), unseen.labels)

        rates = {"lr": self.settings.student_lr, "momentum": self.settings.student_momentum}
        start: Weights = dict(net.named_parameters())
        train = partial(differentiate_training, net, steps=steps, start=start, loss_after=loss_after, **rates)
        found = self.through_student(state, train)
        torch.nn.utils.clip_grad_norm_(state.container.parameters(), self.settings.max_norm)
        return found.loss

    def operations(self, state: CondenseState, net: NetOperations) -> int:
        """Operations of an iteration: a student there and back as in trajectory matching, real images, rendering."""
        shape, per_class = state.container.shape, self.settings.student_per_class
        shown = self.settings.student_steps * sum(min(per_class, count) for count in shape.images_per_class)
        real = sum(min(state.config.real_per_class, len(members)) for members in state.members)
        student = shown * (12 * net.forward - 4 * net.first) + real * net.weight_gradient
        return student + (1 + BACKWARD) * render_operations(shape, self.rendered(state))


def _real_batch(state: CondenseState) -> Batch:
    """Real images of every class, augmented as the student's are."""
    real = state.real
    chosen = some_of_each(state.members, state.config.real_per_class, state.generator)
    params = draw(state.config.augment, len(chosen), real.image_shape, state.generator, one_choice=True)
    images = as_seen(real.normalisation, params, real.images(chosen).to(state.device))
    return Batch(images, real.labels[chosen].to(state.device))
