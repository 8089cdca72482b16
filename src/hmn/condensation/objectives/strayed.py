"""DAgger for trajectory matching: the expert is asked to go on from where the student has really come.

An imitator that only sees where its expert has been does not know the way back from its own errors, and they add up;
DAgger (arXiv:1011.0686) has the expert show it from the imitator's own places. A network that trains on condensed
images leaves the experts' trajectories within some hundred steps in the same way (FTD, arXiv:2211.11004: accumulated
trajectory error). So networks are trained on the generated images as they stand, and then on real ones as experts are:
students may start where the first ended and should come where the second led.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch

from hmn.condensation.objectives.exact import Weights
from hmn.condensation.objectives.experts import expert_training, mean_of, new_expert, next_epoch, trained_on
from hmn.condensation.objectives.trajectory_settings import TrajectorySettings
from hmn.containers.container import Container
from hmn.data.real import RealData
from hmn.recipes.settings import CondenseConfig
from hmn.train.evaluation import render


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

    Args:
        container: as it stands; where it is learned in few bits, showing what these hold.
        real: the training data.
        config: augmentation and network of students.
        settings: lengths of both trainings.
        lr: the student's rate now.
        seed: of weights, number of steps, batches and augmentation.
    """
    begun = new_expert(real, config, seed=seed)
    generator = torch.Generator()
    generator.set_state(begun.generator)
    steps = 1 + int(torch.randint(settings.strayed_steps, (), generator=generator))
    as_expert = expert_training(config, settings)
    on_generated = replace(as_expert, steps=steps, batch_size=settings.student_batch, lr=lr, min_lr=lr)
    begun, device = begun._replace(generator=generator.get_state()), container.labels.device
    # From there an expert's epochs lead on.
    after = trained_on(render(container), real, config, on_generated, begun, device)
    start, way = after.weights, []
    for _ in range(settings.expert_epochs):
        after = next_epoch(real, config, settings, after, device)
        way.append(after.weights)
    return Strayed(start, mean_of(way[-settings.averaged :]))


def images_seen(settings: TrajectorySettings, generated: int, expert_epoch: int) -> float:
    """Images in all batches of one such network, on average.

    Args:
        settings: lengths of both trainings.
        generated: images of the container.
        expert_epoch: images in all batches of an expert's epoch.
    """
    straying = (1 + settings.strayed_steps) / 2 * min(settings.student_batch, generated)
    return straying + settings.expert_epochs * expert_epoch
