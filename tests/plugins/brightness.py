"""A toy objective: classes should be as bright as real ones are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hmn.condensation.objectives.base import Objective
from hmn.condensation.state import CondenseState


@dataclass(frozen=True, kw_only=True)
class BrightnessSettings:
    """What only this objective reads."""

    weight: float = 1.0
    """What the squared difference is multiplied with."""


class Brightness(Objective):
    """Match the mean brightness of every class."""

    Settings = BrightnessSettings

    def step(self, state: CondenseState) -> Tensor:
        shown = state.container.images(torch.arange(len(state.labels)))
        loss = torch.zeros(())
        for label, members in enumerate(state.members):
            missed = shown[state.labels == label].mean() - state.real.images(members).mean()
            loss = loss + self.settings.weight * missed.square()
        state.optimizer.zero_grad()
        loss.backward()
        return loss.detach()

    def operations(self, state: CondenseState, net: object) -> int:
        return len(state.labels)
