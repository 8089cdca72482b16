"""Where training on generated images leads, and the way on from there that training on real ones takes.

Trajectory matching shows students nothing but places where experts have been. A network that trains on what was
condensed leaves those within some hundred steps, and its errors add up: FTD (arXiv:2211.11004) calls this the
accumulated trajectory error and flattens the experts' ways. Here networks are trained on the generated images as they
stand, and then on real ones, so that students may start where such networks are. DAgger (arXiv:1011.0686) is the same
remedy for imitated drivers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch

from hmn.condense.objectives.exact import Weights
from hmn.condense.objectives.experts import expert_training, grown_on, mean_of, new_expert, next_epoch
from hmn.containers.container import Container
from hmn.data.real import RealData
from hmn.recipes.settings import CondenseConfig, TrajectoryConfig
from hmn.train.evaluation import render


class Strayed(NamedTuple):
    """The two ends of a way."""

    start: Weights
    """After training on generated images."""
    target: Weights
    """Where `expert_epochs` of an expert's lead from there, on real ones."""


def is_due(own: TrajectoryConfig, done: int) -> bool:
    """Whether another network strays after so many iterations."""
    return own.strayed > 0 and done > 0 and done % own.strayed_every == 0


def stray(
    container: Container, real: RealData, config: CondenseConfig, own: TrajectoryConfig, *, lr: float, seed: int
) -> Strayed:
    """Train a fresh network on the container's images for a random number of steps, then on real images.

    Args:
        container: as it stands; where it is learned in few bits, showing what these hold.
        real: the training data.
        config: augmentation and network of students.
        own: lengths of both trainings.
        lr: the student's rate now.
        seed: of weights, number of steps, batches and augmentation.
    """
    begun = new_expert(real, config, seed=seed)
    generator = torch.Generator()
    generator.set_state(begun.generator)
    steps = 1 + int(torch.randint(own.strayed_steps, (), generator=generator))
    on_generated = replace(expert_training(config, own), steps=steps, batch_size=own.student_batch, lr=lr, min_lr=lr)
    begun = begun._replace(generator=generator.get_state())
    device = container.labels.device
    grown = grown_on(render(container), real, config, on_generated, begun, device)
    start, way = grown.weights, []
    for _ in range(own.expert_epochs):
        grown = next_epoch(real, config, own, grown, device)
        way.append(grown.weights)
    return Strayed(start, mean_of(way[-own.averaged :]))


def images_seen(own: TrajectoryConfig, generated: int, expert_epoch: int) -> float:
    """Images in all batches of one such network, on average.

    Args:
        own: lengths of both trainings.
        generated: images of the container.
        expert_epoch: images in all batches of an expert's epoch.
    """
    return (1 + own.strayed_steps) / 2 * min(own.student_batch, generated) + own.expert_epochs * expert_epoch
