"""Trajectory matching (MTT): a student on generated images should go where an expert on real images went."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, nn

from hmn.condense.loop import condense
from hmn.condense.objectives.base import CondenseRecord, lr_factor
from hmn.condense.objectives.direct import differentiate_directly
from hmn.condense.objectives.exact import StudentStep, TrainingGradient, Weights, augmented, differentiate_training
from hmn.condense.objectives.experts import (
    Expert,
    ExpertFiles,
    epochs_of,
    mean_of,
    new_student,
)
from hmn.condense.objectives.strayed import Strayed, is_due, stray
from hmn.condense.state import CondenseState, shown_as_stored
from hmn.data.real import RealData
from hmn.data.source import Normalisation
from hmn.errors import UserError
from hmn.nets import Net
from hmn.recipes.settings import CondenseConfig, TrajectoryConfig
from hmn.runtime.processes import place
from hmn.train.augment import draw

MIN_STUDENT_LR = 1e-3
"""The learned rate stays above it (HaBa's code: distill_fac.py)."""
MAX_LR_FACTOR = 5.0
"""Between a student's rate and the one that would have been nearest, as far as that is believed."""


@final
class TrajectoryState:
    """A condensation's state, with the epochs of experts behind it and what is learned or made on the way."""

    def __init__(self, base: CondenseState, own: TrajectoryConfig) -> None:
        self.base = base
        self.expert_epochs_done = 0
        self.strayed: list[Strayed] = []
        """The last ones, as many as are kept."""
        self.student_lr = nn.Parameter(torch.tensor(own.student_lr))
        self.lr_optimizer = torch.optim.SGD([self.student_lr], lr=own.student_lr_lr, momentum=0.5)

    def state_dict(self) -> dict[str, Any]:
        """What `base` saves, the epochs of experts, strayed networks, and the learning rate with its momentum."""
        return {
            **self.base.state_dict(),
            "expert_epochs_done": self.expert_epochs_done,
            "strayed": [way._asdict() for way in self.strayed],
            "student_lr": self.student_lr.detach().clone(),
            "lr_optimizer": self.lr_optimizer.state_dict(),
        }

    def load_state_dict(self, saved: dict[str, Any], config: CondenseConfig, real: RealData) -> None:
        """Restore what `state_dict` gave, into a state that was built from the same data, config and seed."""
        self.base.load_state_dict(saved, config, real)
        self.expert_epochs_done = saved["expert_epochs_done"]
        self.strayed = [Strayed(**way) for way in saved["strayed"]]
        self.student_lr.data.copy_(saved["student_lr"])
        self.lr_optimizer.load_state_dict(saved["lr_optimizer"])


def condense_trajectory(
    state: TrajectoryState, real: RealData, config: CondenseConfig, own: TrajectoryConfig, experts: Sequence[Expert]
) -> Iterator[CondenseRecord]:
    """Condense `real` into the state's container, yielding a record after every iteration.

    In each, a student starts where an expert was, takes SGD steps on augmented generated images, and the loss is its
    squared distance from where the expert was some epochs later, over the expert's own way; or it starts where training
    on generated images has led, and should come where real ones lead from there (`strayed`). It owns no files.

    Source: MTT (arXiv:2203.11932) Algorithm 1 and its code (distill.py). Deviations: no ZCA whitening; HaBa's
    contrastive term and its choice of one hallucinator a step are left out.

    Raises:
        UserError: several processes, no expert, or one that is shorter than a student's way.
    """
    _check(own, experts)
    base = state.base
    yield from condense(base, real, replace(config, epochs=0))
    net = new_student(real, config, seed=0).to(base.container.labels.device)
    while base.sweeps_done < config.num_sweeps:
        if base.sweeps_done == 0:
            base.begin_matching(config)
        for group in base.optimizer.param_groups:
            group["lr"] = config.lr * lr_factor(config, base.sweeps_done)
        if is_due(own, base.sweeps_done):
            seed = int(torch.randint(2**31, (), generator=base.generator))
            with shown_as_stored(base.container, config.learned_as):
                way = stray(base.container, real, config, own, lr=state.student_lr.item(), seed=seed)
            state.strayed = [*state.strayed, way][-own.strayed :]
        loss = _iterate(state, net, real, config, own, *_drawn_way(state, own, experts))
        base.sweeps_done += 1
        yield CondenseRecord("condense", base.sweeps_done, config.num_sweeps, float(loss))


def _drawn_way(
    state: TrajectoryState, own: TrajectoryConfig, experts: Sequence[Expert]
) -> tuple[Weights, Weights, bool]:
    """Where a student starts, where it should come, and whether that is an expert's way."""
    generator = state.base.generator
    if state.strayed and float(torch.rand((), generator=generator)) < own.strayed_share:
        return *state.strayed[int(torch.randint(len(state.strayed), (), generator=generator))], False
    expert = experts[int(torch.randint(len(experts), (), generator=generator))]
    first = int(torch.randint(own.max_start_epoch, (), generator=generator))
    past = first + own.expert_epochs + 1
    return expert[first], mean_of([expert[epoch] for epoch in range(past - own.averaged, past)]), True


def trajectory_loss(weights: Weights, start: Weights, target: Weights) -> Tensor:
    """|weights - target|^2 / |start - target|^2 over all of `weights`. Source: MTT, equation 3."""
    missed = torch.stack([(weights[name] - target[name]).square().sum() for name in weights]).sum()
    way = torch.stack([(start[name] - target[name]).square().sum() for name in weights]).sum()
    return missed / way


def nearest_factor(end: Weights, start: Weights, target: Weights) -> float:
    """What a student's rate times would have ended nearest to `target`, the gradients of its steps as they were.

    Args:
        end: where it came.
        start: where it began.
        target: where it should have come.
    """
    moved = {name: start[name] - end[name] for name in end}
    along = torch.stack([(moved[name] * (start[name] - target[name])).sum() for name in end]).sum()
    return float(along / torch.stack([value.square().sum() for value in moved.values()]).sum())


def student_batches(
    labels: Tensor, batch: int, steps: int, image_shape: tuple[int, int, int], config: CondenseConfig,
    normalisation: Normalisation, generator: torch.Generator,
) -> list[StudentStep]:  # fmt: skip
    """What a student sees: all images in random order, batch by batch, over again until the steps are full."""
    found: list[StudentStep] = []
    while len(found) < steps:
        order = torch.randperm(len(labels), generator=generator)
        for index in order.split(batch)[: steps - len(found)]:
            params = draw(config.augment, len(index), image_shape, generator, one_choice=True)
            found.append(StudentStep(index, labels[index], partial(augmented, normalisation, params)))
    return found


def drawn_steps(count: int, every: int, generator: torch.Generator) -> dict[int, float] | None:
    """One step at random of each `every` successive ones of `count`, counted as all of them; None where it is all."""
    if every == 1:
        return None
    runs = [range(first, min(first + every, count)) for first in range(0, count, every)]
    return {run[int(torch.randint(len(run), (), generator=generator))]: float(len(run)) for run in runs}


def _iterate(
    state: TrajectoryState, net: Net, real: RealData, config: CondenseConfig, own: TrajectoryConfig, start: Weights,
    target: Weights, is_expert: bool,
) -> Tensor:  # fmt: skip
    """One student, and a step of the container; on an expert's way, of the student's rate too; the loss."""
    base = state.base
    device = base.container.labels.device
    start, target = ({name: value.to(device) for name, value in side.items()} for side in (start, target))
    with shown_as_stored(base.container, config.learned_as):
        found = _gradients(state, net, real, config, own, start, target)
    base.optimizer.step()
    if not is_expert:  # the rate is for the whole of training, and strayed networks are at its end
        return found.loss
    if own.student_lr_rule == "nearest":
        factor = min(max(nearest_factor(found.end, start, target), 1 / MAX_LR_FACTOR), MAX_LR_FACTOR)
        state.student_lr.data *= factor**own.student_lr_lr
    else:
        state.student_lr.grad = found.lr_grad.cpu()
        state.lr_optimizer.step()
    state.student_lr.data.clamp_(min=min(MIN_STUDENT_LR, own.student_lr))
    return found.loss


def _gradients(
    state: TrajectoryState, net: Net, real: RealData, config: CondenseConfig, own: TrajectoryConfig, start: Weights,
    target: Weights,
) -> TrainingGradient:  # fmt: skip
    """One student, and the gradient of its loss in the container."""
    base = state.base
    labels = base.container.labels
    rendered = base.container.images(torch.arange(len(labels), device=labels.device))
    steps = student_batches(
        labels, own.student_batch, own.student_steps, real.image_shape, config, real.normalisation, base.generator
    )
    lr = state.student_lr.item()

    def loss_after(weights: Weights) -> Tensor:
        return trajectory_loss(weights, start, target)

    if own.derivative == "direct":
        chosen = drawn_steps(len(steps), own.differentiate_every, base.generator)
        found = differentiate_directly(net, rendered, steps, start, lr=lr, loss_after=loss_after, chosen=chosen)
    else:
        found = differentiate_training(net, rendered, steps, start, lr=lr, momentum=0.0, loss_after=loss_after)
    base.optimizer.zero_grad()
    rendered.backward(found.image_grad)
    return found


def _check(own: TrajectoryConfig, experts: Sequence[Expert]) -> None:
    if place().size > 1:
        raise UserError("trajectory matching runs in one process: leave out torchrun.")
    if not experts:
        raise UserError("trajectory matching needs at least one expert.")
    needed = 1 + epochs_of(own)
    shortest = min(map(len, experts))
    if shortest < needed:
        raise UserError(
            f"an expert of {shortest - 1} epochs is too short for max_start_epoch {own.max_start_epoch} and "
            f"expert_epochs {own.expert_epochs}: train each for {needed - 1}."
        )


def train_experts(state: TrajectoryState, files: ExpertFiles) -> Iterator[CondenseRecord]:
    """Train what is not trained yet, yielding a record after every epoch."""
    epochs = epochs_of(files.own)
    total = len(files) * epochs
    while state.expert_epochs_done < total:
        number, done = divmod(state.expert_epochs_done, epochs)
        loss = files.grown(number, done + 1).loss
        state.expert_epochs_done += 1
        yield CondenseRecord("experts", state.expert_epochs_done, total, loss)
