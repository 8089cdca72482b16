"""int4 by hand: one row at a time, every scale tried, in Python's own float64."""

from __future__ import annotations


def scale_slow(row: list[float]) -> float:
    """The one of 1, 0.95, ... 0.3 times the largest magnitude over 7 with the least squared error; 1 for zeros."""
    largest = max(abs(value) for value in row) / 7
    if largest == 0:
        return 1.0
    scales = [largest * step / 20 for step in range(20, 5, -1)]
    return min(scales, key=lambda scale: squared_error(row, scale))


def squared_error(row: list[float], scale: float) -> float:
    """Squared error of a row against what 15 levels of this scale give back."""
    return sum((value - scale * level) ** 2 for value, level in zip(row, levels_slow(row, scale), strict=True))


def levels_slow(row: list[float], scale: float) -> list[int]:
    """The nearest of -7..7 times the scale."""
    return [min(range(-7, 8), key=lambda level: abs(value - scale * level)) for value in row]


def packed_slow(levels: list[int]) -> list[int]:
    """Two levels a byte, the first one in the low half, 8 added to each; half a byte of zero after an odd number."""
    halves = [level + 8 for level in levels] + [0] * (len(levels) % 2)
    return [low + 16 * high for low, high in zip(halves[::2], halves[1::2], strict=True)]
