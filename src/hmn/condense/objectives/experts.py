"""The experts of trajectory matching as files of a run's folder: an epoch each, so that no epoch is trained twice.

Resuming would otherwise train them again, for hours on real data; and in published settings memory need not hold them
(100 networks after each of 27 epochs are 3.6 GB). A finished run needs them no more, and its folder has none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, final, overload

import torch
from torch import Tensor

from hmn.condense.objectives.exact import Weights
from hmn.data.real import RealData
from hmn.data.source import Source
from hmn.errors import UserError
from hmn.nets import Net, build_net
from hmn.recipes.settings import CondenseConfig, TrainConfig, TrajectoryConfig
from hmn.runtime.tensor_files import load_checkpoint, save_checkpoint
from hmn.train import train

EXPERTS = "experts"
"""Their folder, in the run's."""
_FILE = re.compile(r"\.?\d{4,}-\d{3,}\.safetensors(\.[0-9a-f]{8}\.tmp)?")
_SEEDS_APART = 1_000_003
Expert = Sequence[Weights]
"""Weights before training and after each epoch."""


@final
class ExpertFiles(Sequence[Expert]):
    """Experts that are read when they are asked for, and trained where they are not there."""

    def __init__(
        self, folder: Path, real: RealData, config: CondenseConfig, own: TrajectoryConfig, *, seed: int,
        device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        self.folder, self.real, self.config, self.own, self.seed, self.device = folder, real, config, own, seed, device

    def __len__(self) -> int:
        return self.own.experts

    @overload
    def __getitem__(self, number: int) -> Expert: ...
    @overload
    def __getitem__(self, number: slice) -> list[Expert]: ...
    def __getitem__(self, number: int | slice) -> Expert | list[Expert]:
        numbers = range(len(self))[number]
        if isinstance(numbers, int):
            return _Epochs(self, numbers)
        found: list[Expert] = [_Epochs(self, one) for one in numbers]
        return found

    def grown(self, number: int, epochs: int) -> Grown:
        """An expert after some epochs."""
        path = self.folder / f"{number:04d}-{epochs:03d}.safetensors"
        try:
            return Grown(**load_checkpoint(path))
        except UserError:  # not there, or damaged: the seed makes the same again
            pass
        if epochs:
            found = next_epoch(self.real, self.config, self.own, self.grown(number, epochs - 1), self.device)
        else:
            seed = ((self.seed + 1) * _SEEDS_APART + number) % 2**63
            found = new_expert(self.real, self.config, seed=seed)
        self.folder.mkdir(exist_ok=True)
        save_checkpoint(path, found._asdict())
        return found


@final
class _Epochs(Sequence[Weights]):
    """One expert's weights, before training and after each epoch."""

    def __init__(self, files: ExpertFiles, number: int) -> None:
        self.files, self.number = files, number

    def __len__(self) -> int:
        return 1 + epochs_of(self.files.own)

    @overload
    def __getitem__(self, epochs: int) -> Weights: ...
    @overload
    def __getitem__(self, epochs: slice) -> list[Weights]: ...
    def __getitem__(self, epochs: int | slice) -> Weights | list[Weights]:
        chosen = range(len(self))[epochs]
        if isinstance(chosen, int):
            return self.files.grown(self.number, chosen).weights
        return [self.files.grown(self.number, one).weights for one in chosen]


def forget_experts(out: Path) -> None:
    """Remove the experts of a run's folder, and nothing that is not theirs."""
    folder = out / EXPERTS
    if folder.is_symlink() or not folder.is_dir():
        return
    for path in folder.iterdir():
        if _FILE.fullmatch(path.name):
            path.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


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
