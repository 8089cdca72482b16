"""Ranges of settings, which stand in their annotations: `lr: Positive = 0.01`."""

import math
from typing import Annotated, NamedTuple

MAX_COUNT, MAX_NUMBER = 2**31 - 1, 10**6
"""Largest whole number and largest other one: above it no learning rate, weight or factor makes sense, and float32 runs
out of numbers in a step or two."""


class Range(NamedTuple):
    """The numbers that a setting takes, where it is not any number from 0."""

    low: int = 0
    high: int | None = None
    """None for the largest that makes sense."""
    above: bool = False
    """Without `low` itself."""
    below: bool = False
    """Without `high` itself."""

    def expected(self, value: float, *, whole: bool) -> str | None:
        """What is expected in the place of a value that is out of the range; None where it is in it."""
        if not whole and not math.isfinite(value):  # a whole number may be too large for isfinite
            return "a finite number"
        high = self.high if self.high is not None else MAX_COUNT if whole else MAX_NUMBER
        if (self.low < value if self.above else self.low <= value) and (value < high if self.below else value <= high):
            return None
        first = f"above {self.low}, up to" if self.above else f"from {self.low} to"
        return f"a {'whole ' if whole else ''}number {first} {'below ' if self.below else ''}{high:,}"


Count = Annotated[int, Range(1)]
"""A whole number from 1; a plain int is one from 0."""
Positive = Annotated[float, Range(above=True)]
"""A number above 0; a plain float is one from 0."""
Momentum = Annotated[float, Range(0, 1, below=True)]
Share = Annotated[float, Range(0, 1)]
Seed = Annotated[int, Range(0, 2**63 - 1)]
