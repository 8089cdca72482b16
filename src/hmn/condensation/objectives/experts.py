"""The experts of trajectory matching as files of a run's folder: an epoch each, so that no epoch is trained twice.

Resuming would otherwise train them again, for hours on real data; and in published settings memory need not hold them
(100 networks after each of 27 epochs are 3.6 GB). A finished run needs them no more, and its folder has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol, final

import torch
from torch import Tensor

from hmn.condensation.objectives.exact import Weights
from hmn.condensation.objectives.trajectory_settings import TrajectorySettings
from hmn.condensation.state import CondenseState, new_network
from hmn.data.real import RealData
from hmn.data.source import Source
from hmn.errors import UserError
from hmn.nets import Net
from hmn.recipes.settings import CondenseConfig, TrainConfig
from hmn.runtime.tensor_files import load_checkpoint, save_checkpoint
from hmn.train.loop import train

_SEEDS_APART = 1_000_003


class Expert(Protocol):
    """Weights before training and after each epoch."""

    def __len__(self) -> int: ...
    def __getitem__(self, epochs: int, /) -> Weights: ...


class Experts(Protocol):
    """Networks that were trained on real images, one after another."""

    def __len__(self) -> int: ...
    def __getitem__(self, number: int, /) -> Expert: ...


@final
class ExpertFiles:
    """Experts that are read when they are asked for, and trained where they are not there."""

    def __init__(self, folder: Path, state: CondenseState, settings: TrajectorySettings) -> None:
        self.folder, self.real, self.config, self.settings = folder, state.real, state.config, settings
        self.seed, self.device = state.seed, state.device

    def __len__(self) -> int:
        return self.settings.experts

    def __getitem__(self, number: int, /) -> Expert:
        return _ExpertInFiles(self, number)

    def after(self, number: int, epochs: int) -> ExpertEpoch:
        """An expert after some epochs."""
        path = self.folder / f"{number:04d}-{epochs:03d}.safetensors"
        try:
            return ExpertEpoch(**load_checkpoint(path))
        except UserError:  # not there, or damaged: the seed makes the same again
            pass
        if epochs:
            found = next_epoch(self.real, self.config, self.settings, self.after(number, epochs - 1), self.device)
        else:
            seed = ((self.seed + 1) * _SEEDS_APART + number) % 2**63
            found = new_expert(self.real, self.config, seed=seed)
        self.folder.mkdir(exist_ok=True)
        save_checkpoint(path, found._asdict())
        return found


@final
class _ExpertInFiles:
    """One of them."""

    def __init__(self, files: ExpertFiles, number: int) -> None:
        self.files, self.number = files, number

    def __len__(self) -> int:
        return 1 + self.files.settings.expert_length

    def __getitem__(self, epochs: int, /) -> Weights:
        return self.files.after(self.number, epochs).weights


class ExpertEpoch(NamedTuple):
    """An expert after some epochs, and all that the next one depends on: plain SGD keeps nothing else."""

    weights: Weights
    generator: Tensor
    """State of its generator of random numbers."""
    loss: float
    """Mean of the last epoch; 0 before the first."""


def new_expert(real: RealData, config: CondenseConfig, *, seed: int) -> ExpertEpoch:
    """An expert before its first epoch."""
    generator = torch.Generator().manual_seed(seed)
    net = new_network(config, real, generator)
    return ExpertEpoch(_weights_of(net), generator.get_state(), 0.0)


def next_epoch(
    real: RealData,
    config: CondenseConfig,
    settings: TrajectorySettings,
    before: ExpertEpoch,
    device: torch.device | str = "cpu",
) -> ExpertEpoch:
    """The expert after another epoch of plain SGD on real data.

    Source: buffer.py of MTT's code.
    """
    return trained_on(real, real, config, expert_training(config, settings), before, device)


def trained_on(
    source: Source,
    real: RealData,
    config: CondenseConfig,
    training: TrainConfig,
    before: ExpertEpoch,
    device: torch.device | str = "cpu",
) -> ExpertEpoch:
    """The network after a training by plain SGD on `source`, of real images or of others of their shape."""
    generator = torch.Generator()
    generator.set_state(before.generator)
    net = new_student(real, config, seed=0)
    net.load_state_dict(before.weights, strict=False)
    *_, record = train(net, source, training, generator=generator, device=device)
    return ExpertEpoch(_weights_of(net), generator.get_state(), record.loss)


def expert_training(config: CondenseConfig, settings: TrajectorySettings) -> TrainConfig:
    """An epoch of an expert, or the steps that count as one."""
    rate, batch = settings.expert_lr, settings.expert_batch
    length = TrainConfig(steps=settings.expert_steps, epochs=1, batch_size=batch, lr=rate, min_lr=rate)
    return replace(length, momentum=0.0, weight_decay=0.0, augment=config.augment, cutmix_probability=0.0)


def train_expert(real: RealData, config: CondenseConfig, settings: TrajectorySettings, *, seed: int) -> list[Weights]:
    """One network trained on real data by plain SGD, epoch by epoch."""
    epochs = [new_expert(real, config, seed=seed)]
    for _ in range(settings.expert_length):
        epochs.append(next_epoch(real, config, settings, epochs[-1]))
    return [one.weights for one in epochs]


def mean_of(weights: Sequence[Weights]) -> Weights:
    """Every parameter's mean over several networks."""
    return {name: torch.stack([one[name] for one in weights]).mean(0) for name in weights[0]}


def new_student(real: RealData, config: CondenseConfig, *, seed: int) -> Net:
    """The network that students and experts are, with weights of its settings."""
    return new_network(config, real, torch.Generator().manual_seed(seed))


def _weights_of(net: Net) -> Weights:
    """Copies of all parameters on the CPU, by name."""
    return {name: value.detach().cpu().clone() for name, value in net.named_parameters()}
