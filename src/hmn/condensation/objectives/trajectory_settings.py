"""The settings of trajectory matching."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hmn.errors import UserError
from hmn.recipes.ranges import Count, Positive, Share


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
    """Of the students, as soon as there is one."""
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
