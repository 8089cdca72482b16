"""Unrolled training (LinBa as published): the loss on real images after a training on generated ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from hmn.condense.loop import condense
from hmn.condense.objectives.base import CondenseRecord, lr_factor
from hmn.condense.objectives.exact import StudentStep, Weights, augmented, differentiate_training
from hmn.condense.state import CondenseState, shown_as_stored
from hmn.data.real import RealData
from hmn.data.source import Batch
from hmn.errors import UserError
from hmn.nets import build_net
from hmn.recipes.settings import CondenseConfig, UnrolledConfig
from hmn.runtime.processes import place
from hmn.train.augment import draw


def condense_unrolled(
    state: CondenseState, real: RealData, config: CondenseConfig, own: UnrolledConfig
) -> Iterator[CondenseRecord]:
    """Condense `real` into `state.container`, yielding a record after every iteration.

    In each, a fresh network takes SGD steps on generated images, some of every class a step; the loss is its
    cross-entropy on real images, `config.real_per_class` of each class, differentiated through all steps. It owns no
    files; restored from a saved state it goes on where that was saved.

    Source: Remember the Past (arXiv:2206.02916) Algorithm 1 and its code (runners/sgld_runner_standard.py,
    models/compressor_bptt_standard.py). Deviation: its l2 term on coefficients is left out, because in its code it has
    no effect: it enters a loss that is differentiated by the network's weights first.

    Raises:
        UserError: several processes.
    """
    if place().size > 1:
        raise UserError("unrolled training runs in one process: leave out torchrun.")
    yield from condense(state, real, replace(config, epochs=0))
    while state.sweeps_done < config.num_sweeps:
        if state.sweeps_done == 0:
            state.begin_matching(config)
        for group in state.optimizer.param_groups:
            group["lr"] = config.lr * lr_factor(config, state.sweeps_done)
        with shown_as_stored(state.container, config.learned_as):
            loss = _gradients(state, real, config, own)
        torch.nn.utils.clip_grad_norm_(state.container.parameters(), own.max_norm)
        state.optimizer.step()
        state.sweeps_done += 1
        yield CondenseRecord("condense", state.sweeps_done, config.num_sweeps, float(loss))


def _gradients(state: CondenseState, real: RealData, config: CondenseConfig, own: UnrolledConfig) -> Tensor:
    """One student, and the gradient of its loss in the container; the loss."""
    container, device = state.container, state.container.labels.device
    net = build_net(
        config.network.name, num_classes=real.num_classes, image_shape=real.image_shape, width=config.network.width,
        generator=state.generator,
    ).to(device)  # fmt: skip
    steps = [_student_step(state, real, config, own) for _ in range(own.student_steps)]
    unseen = _real_batch(state, real, config)

    def loss_after(weights: Weights) -> Tensor:
        return F.cross_entropy(functional_call(net, weights, (unseen.images,)), unseen.labels)

    rendered = container.images(torch.arange(len(container), device=device))
    found = differentiate_training(
        net, rendered, steps, dict(net.named_parameters()), lr=own.student_lr, momentum=own.student_momentum,
        loss_after=loss_after,
    )  # fmt: skip
    state.optimizer.zero_grad()
    rendered.backward(found.image_grad)
    return found.loss


def _student_step(state: CondenseState, real: RealData, config: CondenseConfig, own: UnrolledConfig) -> StudentStep:
    """Some generated images of every class, each augmented by itself."""
    chosen = []
    for label in range(real.num_classes):
        members = (state.labels == label).nonzero()[:, 0]
        chosen.append(members[torch.randperm(len(members), generator=state.generator)[: own.student_per_class]])
    index = torch.cat(chosen)
    params = draw(config.augment, len(index), real.image_shape, state.generator, one_choice=True)
    labels = state.labels[index].to(state.container.labels.device)
    return StudentStep(index.to(labels.device), labels, partial(augmented, real.normalisation, params))


def _real_batch(state: CondenseState, real: RealData, config: CondenseConfig) -> Batch:
    """Real images of every class, augmented as the student's are."""
    chosen = torch.cat([
        members[torch.randperm(len(members), generator=state.generator)[: config.real_per_class]]
        for members in state.members
    ])  # fmt: skip
    device = state.container.labels.device
    params = draw(config.augment, len(chosen), real.image_shape, state.generator, one_choice=True)
    images = augmented(real.normalisation, params, real.images(chosen).to(device))
    return Batch(images, real.labels[chosen].to(device))
