"""What a container stores, counted part by part in floats and in bytes."""

from __future__ import annotations

from typing import NamedTuple

from hmn.errors import UserError

FLOAT_BYTES = 4
BITS_PER_VALUE = {"float32": 32, "float16": 16, "int8": 8, "int4": 4}


def bytes_of(values: int, dtype: str) -> int:
    """Bytes of so many values, whole ones, without scales."""
    return (values * BITS_PER_VALUE[dtype] + 7) // 8


class LedgerPart(NamedTuple):
    """One part of a container: floats in the field's account, and floats that its file holds."""

    name: str
    num_floats: int
    stored_floats: int


class Ledger(NamedTuple):
    """Everything that generating the images needs, part by part, against the budget in floats."""

    parts: tuple[LedgerPart, ...]
    budget: int

    @property
    def num_floats(self) -> int:
        """Floats in the field's account (BatchNorm weights counted)."""
        return sum(part.num_floats for part in self.parts)

    @property
    def stored_floats(self) -> int:
        """Floats in the finalised file, where BatchNorm is folded into the layer before it."""
        return sum(part.stored_floats for part in self.parts)

    def num_bytes(self, dtype: str = "float32") -> int:
        """Bytes of the stored values at `dtype`, a key of `BITS_PER_VALUE` (scales come on top)."""
        return bytes_of(self.stored_floats, dtype)

    def check(self) -> None:
        """Refuse a container over its budget.

        Raises:
            UserError: more floats than the budget, with the excess named.
        """
        if self.num_floats > self.budget:
            excess = self.num_floats - self.budget
            raise UserError(
                f"the container needs {self.num_floats:,} floats, {excess:,} more than the budget of {self.budget:,}: "
                "store fewer images, or raise --ipc."
            )
