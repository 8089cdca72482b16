"""An expert of trajectory matching: a network trained on real images by plain SGD, epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hmn.data.real import RealData
from hmn.data.source import Source
from hmn.nets import Net, build_net
from hmn.objectives.unroll import Weights
from hmn.settings import CondenseConfig, TrainConfig, TrajectoryConfig
from hmn.train import train

Expert = Sequence[Weights]
"""Weights before training and after each epoch."""


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
    net = _built(real, config, generator)
    return Grown(_weights_of(net), generator.get_state(), 0.0)


def next_epoch(
    real: RealData, config: CondenseConfig, own: TrajectoryConfig, before: Grown, device: torch.device | str = "cpu"
) -> Grown:
    """The expert after another epoch of plain SGD on real data.

    Source: buffer.py of MTT's code.
    """
    return grown_on(real, real, config, expert_training(config, own), before, device)


def grown_on(
    source: Source, real: RealData, config: CondenseConfig, training: TrainConfig, before: Grown,
    device: torch.device | str = "cpu",
) -> Grown:  # fmt: skip
    """The network after a training by plain SGD on `source`, of real images or of others of their shape."""
    generator = torch.Generator()
    generator.set_state(before.generator)
    net = new_student(real, config, seed=0)
    net.load_state_dict(before.weights, strict=False)
    *_, record = train(net, source, training, generator=generator, device=device)
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


def mean_of(weights: Sequence[Weights]) -> Weights:
    """Every parameter's mean over several networks."""
    return {name: torch.stack([one[name] for one in weights]).mean(0) for name in weights[0]}


def new_student(real: RealData, config: CondenseConfig, *, seed: int) -> Net:
    """The network that students and experts are, with weights of its own."""
    return _built(real, config, torch.Generator().manual_seed(seed))


def _built(real: RealData, config: CondenseConfig, generator: torch.Generator) -> Net:
    return build_net(
        config.network.name, num_classes=real.num_classes, image_shape=real.image_shape, width=config.network.width,
        generator=generator,
    )  # fmt: skip


def _weights_of(net: Net) -> Weights:
    """Copies of all parameters on the CPU, by name."""
    return {name: value.detach().cpu().clone() for name, value in net.named_parameters()}
