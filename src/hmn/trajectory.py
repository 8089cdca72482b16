"""Trajectory matching (MTT): a student on generated images should go where an expert on real images went."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn

from hmn.augment import draw
from hmn.condense import CondenseRecord, condense, lr_factor
from hmn.condense_state import CondenseState, shown_as_stored
from hmn.data.real import RealData
from hmn.data.source import Normalisation
from hmn.distributed import place
from hmn.errors import UserError
from hmn.nets import Net, build_net
from hmn.objectives.direct import differentiate_directly
from hmn.objectives.unroll import StudentStep, TrainingGradient, Weights, augmented, differentiate_training
from hmn.settings import CondenseConfig, TrainConfig, TrajectoryConfig
from hmn.train import train

Expert = Sequence[Weights]
"""Weights before training and after each epoch."""
MIN_STUDENT_LR = 1e-3
"""The learned rate stays above it (HaBa's code: distill_fac.py)."""
MAX_LR_FACTOR = 5.0
"""Between a student's rate and the one that would have been nearest, as far as that is believed."""


class Grown(NamedTuple):
    """An expert after some epochs, and all that the next one depends on: plain SGD keeps nothing else."""

    weights: Weights
    generator: Tensor
    """State of its generator of random numbers."""
    loss: float
    """Mean of the last epoch; 0 before the first."""


def new_expert(real: RealData, config: CondenseConfig, *, seed: int) -> Grown:
    """An expert before its first epoch."""
    generator = torch.Generator().manual_seed(seed)
    net = _student(real, config, generator)
    return Grown(_weights_of(net), generator.get_state(), 0.0)


def next_epoch(
    real: RealData, config: CondenseConfig, own: TrajectoryConfig, before: Grown, device: torch.device | str = "cpu"
) -> Grown:
    """The expert after another epoch of plain SGD on real data.

    Source: buffer.py of MTT's code.
    """
    generator = torch.Generator()
    generator.set_state(before.generator)
    net = new_student(real, config, seed=0)
    net.load_state_dict(before.weights, strict=False)
    *_, record = train(net, real, expert_training(config, own), generator=generator, device=device)
    return Grown(_weights_of(net), generator.get_state(), record.loss)


def expert_training(config: CondenseConfig, own: TrajectoryConfig) -> TrainConfig:
    """An epoch of an expert, or the steps that count as one."""
    return TrainConfig(
        steps=own.expert_steps, epochs=1, batch_size=own.expert_batch, lr=own.expert_lr, min_lr=own.expert_lr,
        momentum=0.0, weight_decay=0.0, augment=config.augment, cutmix_probability=0.0,
    )  # fmt: skip


def epochs_of(own: TrajectoryConfig) -> int:
    """Epochs of an expert: as far as students may have to go.

    The learning rate is constant, so MTT's further epochs (it trains 50) would change nothing here.
    """
    return own.max_start_epoch - 1 + own.expert_epochs


def train_expert(real: RealData, config: CondenseConfig, own: TrajectoryConfig, *, seed: int) -> Expert:
    """One network trained on real data by plain SGD, epoch by epoch."""
    grown = [new_expert(real, config, seed=seed)]
    for _ in range(epochs_of(own)):
        grown.append(next_epoch(real, config, own, grown[-1]))
    return [one.weights for one in grown]


@final
class TrajectoryState:
    """A condensation's state, with the epochs of experts behind it and the student's rate, which is learned too."""

    def __init__(self, base: CondenseState, own: TrajectoryConfig) -> None:
        self.base = base
        self.expert_epochs_done = 0
        self.student_lr = nn.Parameter(torch.tensor(own.student_lr))
        self.lr_optimizer = torch.optim.SGD([self.student_lr], lr=own.student_lr_lr, momentum=0.5)

    def state_dict(self) -> dict[str, Any]:
        """What `base` saves, the epochs of experts, and the learning rate with its momentum."""
        return {
            **self.base.state_dict(),
            "expert_epochs_done": self.expert_epochs_done,
            "student_lr": self.student_lr.detach().clone(),
            "lr_optimizer": self.lr_optimizer.state_dict(),
        }

    def load_state_dict(self, saved: dict[str, Any], config: CondenseConfig, real: RealData) -> None:
        """Restore what `state_dict` gave, into a state that was built from the same data, config and seed."""
        self.base.load_state_dict(saved, config, real)
        self.expert_epochs_done = saved["expert_epochs_done"]
        self.student_lr.data.copy_(saved["student_lr"])
        self.lr_optimizer.load_state_dict(saved["lr_optimizer"])


def condense_trajectory(
    state: TrajectoryState, real: RealData, config: CondenseConfig, own: TrajectoryConfig, experts: Sequence[Expert]
) -> Iterator[CondenseRecord]:
    """Condense `real` into the state's container, yielding a record after every iteration.

    In each, a student starts where an expert was, takes SGD steps on augmented generated images, and the loss is its
    squared distance from where the expert was some epochs later, over the expert's own way. It owns no files.

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
        expert = experts[int(torch.randint(len(experts), (), generator=base.generator))]
        first = int(torch.randint(own.max_start_epoch, (), generator=base.generator))
        loss = _iterate(state, net, real, config, own, expert[first], expert[first + own.expert_epochs])
        base.sweeps_done += 1
        yield CondenseRecord("condense", base.sweeps_done, config.num_sweeps, float(loss))


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
    target: Weights,
) -> Tensor:  # fmt: skip
    """One student, and a step of the container and of the student's learning rate; the loss."""
    base = state.base
    device = base.container.labels.device
    start, target = ({name: value.to(device) for name, value in side.items()} for side in (start, target))
    with shown_as_stored(base.container, config.learned_as):
        found = _gradients(state, net, real, config, own, start, target)
    base.optimizer.step()
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


def new_student(real: RealData, config: CondenseConfig, *, seed: int) -> Net:
    """The network that students and experts are, with weights of its own."""
    return _student(real, config, torch.Generator().manual_seed(seed))


def _student(real: RealData, config: CondenseConfig, generator: torch.Generator) -> Net:
    return build_net(
        config.network.name, num_classes=real.num_classes, image_shape=real.image_shape, width=config.network.width,
        generator=generator,
    )  # fmt: skip


def _weights_of(net: Net) -> Weights:
    return {name: value.detach().cpu().clone() for name, value in net.named_parameters()}


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
