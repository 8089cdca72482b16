"""What objectives have in common that differentiate the training of a student."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch

from hmn.condensation.objectives.base import Objective
from hmn.condensation.state import CondenseState, new_network
from hmn.containers.shape import FLOAT_BYTES


class StudentObjective(Objective):
    """An objective whose step is `settings.student_steps` steps of a student, there and back."""

    @property
    def together(self) -> int:
        """Steps of the student that must be timed together."""
        return 1

    def sizes(self, state: CondenseState) -> Sequence[int]:
        """Steps of the student: 1, 2, 4 ..."""
        longest = -(-self.settings.student_steps // self.together)
        return [self.together * 2**power for power in range(longest.bit_length())]

    @contextmanager
    def reduced(self, state: CondenseState, size: int) -> Iterator[None]:
        """Within, a student takes so many steps."""
        whole = self.settings
        self.settings = replace(whole, student_steps=size)
        try:
            yield
        finally:
            self.settings = whole

    def step_bytes(self, state: CondenseState, above: Mapping[int, float], held: float, processes: int) -> float:
        """The longest timed student's, and the weights before every further step, kept for the way back."""
        steps, highest = max(above.items())
        net = new_network(state.config, state.real, torch.Generator().manual_seed(0))
        weights = sum(parameter.numel() for parameter in net.parameters())
        return highest + max(0, self.settings.student_steps - steps) * weights * FLOAT_BYTES
