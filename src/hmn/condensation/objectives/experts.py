"""What trajectory matching trains besides its students: experts, and networks that stray; its settings.

Experts are files of a run's folder, an epoch each. Resuming would otherwise train them again, for hours on real data;
and in published settings memory need not hold them (100 networks after each of 27 epochs are 3.6 GB). A finished run
needs them no more, and its folder has none.

Straying is DAgger for trajectory matching: the expert is asked to go on from where the student has really come. An
imitator that only sees where its expert has been does not know the way back from its own errors, and they add up;
DAgger (arXiv:1011.0686) has the expert show it from the imitator's own places. A network that trains on condensed
images leaves the experts' trajectories within some hundred steps in the same way (FTD, arXiv:2211.11004: accumulated
trajectory error). So networks are trained on the generated images as they stand, and then on real ones as experts are:
students may start where the first ended and should come where the second led.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, final

import torch
from torch import Tensor

from hmn.condensation.objectives.student import Weights, new_student
from hmn.condensation.state import CondenseState, new_network
from hmn.containers.container import Container
from hmn.data.real import RealData
from hmn.data.source import Source
from hmn.errors import UserError
from hmn.nets import Net
from hmn.recipes.ranges import Count, Positive, Share
from hmn.recipes.settings import CondenseConfig, TrainConfig
from hmn.runtime.tensor_files import load_checkpoint, save_checkpoint
from hmn.train.evaluation import render
from hmn.train.loop import train

_SEEDS_APART = 1_000_003


@dataclass(frozen=True, kw_only=True)
class TrajectorySettings:
    """Settings of trajectory matching alone; epochs * inner_steps of the condensation are its iterations.

    The defaults are MTT's code's (distill.py, buffer.py). Source: MTT (arXiv:2203.11932).
    """

    student_steps: Count = 20
    """SGD steps of the student on generated images."""
    student_batch: Count = 256
    """Generated images a step (all, where there are fewer)."""
    student_lr: Positive = 0.01
    """Learning rate of the student to begin with: it is learned too."""
    student_lr_rule: Literal["gradient", "nearest"] = "gradient"
    """gradient: by its derivative, with momentum 0.5 (MTT); nearest: towards the rate that, on the same steps, would
    have ended nearest to the expert."""
    student_lr_lr: float = 1e-5
    """Learning rate of that learning rate, or the share of that way, in logarithms, an iteration; 0 keeps it."""
    derivative: Literal["exact", "direct"] = "exact"
    """exact: through all of the student's steps; direct: of every step by itself, later weights held still (TESLA),
    and of kernels and the linear layer's weight alone. A fraction of the time, where a ConvNet runs on a CPU."""
    differentiate_every: Count = 1
    """direct only: one at random of so many successive steps is differentiated, and stands for them."""
    expert_steps: Count | None = None
    """SGD steps of the expert that count as an epoch below, its weights kept after each; None is an epoch."""
    expert_epochs: Count = 3
    """Epochs of the expert between the student's start and its target."""
    averaged: Count = 1
    """The target is the mean of the expert's weights after the last so many of these epochs: SGD at a constant rate
    circles around what it finds, and a mean knows better (SWA, arXiv:1803.05407). 1 is MTT's."""
    max_start_epoch: Count = 25
    """The student starts where the expert was after 0 to this many epochs, exclusive."""
    experts: Count = 100
    expert_lr: Positive = 0.01
    expert_batch: Count = 256
    strayed: int = 0
    """Networks kept that trained on the container's images as they stood, and then on real ones as experts do for
    `expert_epochs`: students start there too. 0 for none, as in MTT."""
    strayed_every: Count = 30
    """Iterations from one such network to the next; the oldest makes way."""
    strayed_share: Share = 0.5
    """Share of the students that start from such a network, as soon as there is one."""
    strayed_steps: Count = 1300
    """Steps on the container's images at most; as many as a random number says, at the student's rate."""

    def __post_init__(self) -> None:
        if self.derivative == "exact" and self.differentiate_every > 1:
            raise UserError(
                f"trajectory.differentiate_every {self.differentiate_every}: an exact derivative goes through every "
                "step; expected 1, or trajectory.derivative direct."
            )
        if self.averaged > self.expert_epochs:
            raise UserError(
                f"trajectory.averaged {self.averaged}: a target is the mean of weights on the way to it; expected at "
                f"most trajectory.expert_epochs, {self.expert_epochs}."
            )

    @property
    def expert_length(self) -> int:
        """Epochs of an expert: as far as students may have to go.

        The learning rate is constant, so MTT's further epochs (it trains 50) would change nothing here.
        """
        return self.max_start_epoch - 1 + self.expert_epochs


class Expert(Protocol):
    """A network that was trained on real images: its weights before training and after each epoch."""

    def __len__(self) -> int: ...
    def __getitem__(self, epochs: int, /) -> Weights: ...


class ExpertEpoch(NamedTuple):
    """An expert after some epochs, and all that the next one depends on: plain SGD keeps nothing else."""

    weights: Weights
    generator: Tensor
    """State of its generator of random numbers."""
    loss: float
    """Mean of the last epoch; 0 before the first."""


@final
class ExpertFiles:
    """An expert that is read when it is asked for, and trained where it is not there."""

    def __init__(self, folder: Path, number: int, state: CondenseState, settings: TrajectorySettings) -> None:
        self.folder, self.number, self.length = folder, number, settings.expert_length
        self.real, self.config, self.device = state.real, state.config, state.device
        self.seed = ((state.seed + 1) * _SEEDS_APART + number) % 2**63
        self.training = expert_training(state.config, settings)

    def __len__(self) -> int:
        return 1 + self.length

    def __getitem__(self, epochs: int, /) -> Weights:
        return self.after(epochs).weights

    def after(self, epochs: int) -> ExpertEpoch:
        """The expert after some epochs."""
        path = self.folder / f"{self.number:04d}-{epochs:03d}.safetensors"
        try:
            return ExpertEpoch(**load_checkpoint(path))
        except UserError:  # not there, or damaged: the seed makes the same again
            pass
        if epochs:
            before, net = self.after(epochs - 1), new_student(self.real, self.config, seed=0)
            found = trained_on(net, self.real, self.training, before, self.device)
        else:
            found = new_expert(self.real, self.config, seed=self.seed)
        self.folder.mkdir(exist_ok=True)
        save_checkpoint(path, found._asdict())
        return found


def new_expert(real: RealData, config: CondenseConfig, *, seed: int) -> ExpertEpoch:
    """An expert before its first epoch."""
    generator = torch.Generator().manual_seed(seed)
    net = new_network(config, real, generator)
    return ExpertEpoch(_weights_of(net), generator.get_state(), 0.0)


def expert_training(config: CondenseConfig, settings: TrajectorySettings) -> TrainConfig:
    """An epoch of an expert, or the steps that count as one. Source: buffer.py of MTT's code."""
    rate, batch = settings.expert_lr, settings.expert_batch
    length = TrainConfig(steps=settings.expert_steps, epochs=1, batch_size=batch, lr=rate, min_lr=rate)
    return replace(length, momentum=0.0, weight_decay=0.0, augment=config.augment, cutmix_probability=0.0)


def trained_on(
    net: Net, source: Source, training: TrainConfig, before: ExpertEpoch, device: torch.device
) -> ExpertEpoch:
    """The network after a training by plain SGD on `source`, of real images or of others of their shape."""
    generator = torch.Generator()
    generator.set_state(before.generator)
    net.load_state_dict(before.weights, strict=False)
    *_, record = train(net, source, training, generator=generator, device=device)
    return ExpertEpoch(_weights_of(net), generator.get_state(), record.loss)


def mean_of(weights: Sequence[Weights]) -> Weights:
    """Every parameter's mean over several networks."""
    return {name: torch.stack([one[name] for one in weights]).mean(0) for name in weights[0]}


class Strayed(NamedTuple):
    """The two ends of a way."""

    start: Weights
    """After training on generated images."""
    target: Weights
    """Where `expert_epochs` of an expert's lead from there, on real ones."""


def is_due(settings: TrajectorySettings, done: int) -> bool:
    """Whether another network strays after so many iterations."""
    return settings.strayed > 0 and done > 0 and done % settings.strayed_every == 0


def stray(
    container: Container, real: RealData, config: CondenseConfig, settings: TrajectorySettings, *, lr: float, seed: int
) -> Strayed:
    """Train a fresh network on the container's images for a random number of steps, then on real images.

    Where the container is learned in few bits, it must show what these hold. `lr` is the student's rate now; `seed` is
    of weights, number of steps, batches and augmentation.
    """
    begun, device = new_expert(real, config, seed=seed), container.labels.device
    generator = torch.Generator()
    generator.set_state(begun.generator)
    steps = 1 + int(torch.randint(settings.strayed_steps, (), generator=generator))
    as_expert = expert_training(config, settings)
    on_generated = replace(as_expert, steps=steps, batch_size=settings.student_batch, lr=lr, min_lr=lr)
    begun = begun._replace(generator=generator.get_state())
    # From there an expert's epochs lead on.
    after = trained_on(new_student(real, config, seed=0), render(container), on_generated, begun, device)
    start, way = after.weights, []
    for _ in range(settings.expert_epochs):
        after = trained_on(new_student(real, config, seed=0), real, as_expert, after, device)
        way.append(after.weights)
    return Strayed(start, mean_of(way[-settings.averaged :]))


def images_seen(settings: TrajectorySettings, generated: int, expert_epoch: int) -> float:
    """Images in all batches of one such network, on average, by those of the container and of an expert's epoch."""
    straying = (1 + settings.strayed_steps) / 2 * min(settings.student_batch, generated)
    return straying + settings.expert_epochs * expert_epoch


def _weights_of(net: Net) -> Weights:
    """Copies of all parameters on the CPU, by name."""
    return {name: value.detach().cpu().clone() for name, value in net.named_parameters()}
