"""A comparison of methods as a figure: accuracy against the bytes that each takes, in every format it was stored in."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from hmn.errors import UserError
from hmn.report.results import COMPARISON, Spread, means_words, read_result, spread_of
from hmn.report.style import GREY, SERIES, Drawn, Series, caption, error_line, single

BYTES_COLUMNS = ("results", "method", "kind", "ipc", "stored_as", "bytes", "images", "mean", "std", "n")
CODEC = Series("#000000", "X", "-", "")
"""The line to beat looks like no other."""
MOST_LINES = 16


class StoredSet(NamedTuple):
    """A set as it is stored, and what networks trained on it reach."""

    stored_as: str
    bytes: int
    images: int
    spread: Spread


def stored_sets(row: dict[str, Any]) -> list[StoredSet]:
    """The points of a comparison's row, the most bytes first; none where it failed."""
    if row["accuracy_percent"] is None:
        return []
    found = []
    for dtype, one in {row.get("stored_as") or "uint8": row, **row["stored"]}.items():
        if one["accuracy_percent"] is not None:
            stored_as = "files" if row["kind"] == "codec" else dtype
            found.append(StoredSet(stored_as, one["bytes"], one["images"], spread_of(one["accuracy_percent"])))
    return sorted(found, key=lambda point: -point.bytes)


def accuracy_by_bytes(paths: Sequence[Path], labels: Sequence[str]) -> Drawn:
    """Test accuracy against bytes stored: a line a method and budget, from float32 on the right to the fewest bits.

    The whole training set is left out. Labels name the comparisons, where there are several.

    Raises:
        UserError: nothing is done yet, or there are too many lines to tell apart.
    """
    lines: list[tuple[str, str, list[StoredSet]]] = []
    rows: list[Sequence[Any]] = []
    for path, label in zip_longest(paths, labels):
        table = read_result(path, COMPARISON)
        several = len({row["ipc"] for row in table["rows"]} - {None}) > 1
        for row in table["rows"]:
            points = [] if row["kind"] == "whole" else stored_sets(row)
            if not points:
                continue
            name = f"{row['method']}, {row['ipc']} IPC" if several else row["method"]
            lines.append((f"{label}: {name}" if label else name, row["kind"], points))
            about = (path.name, row["method"], row["kind"], row["ipc"])
            rows += [(*about, *point[:-1], *point.spread) for point in points]
    # The codec is the line to beat: drawn above the others, and in its own looks.
    if not lines:
        raise UserError(f"{paths[0]}: no method is done in it yet.")
    if len(lines) > MOST_LINES:
        raise UserError(f"{len(lines)} lines in one figure cannot be told apart: compare at most {MOST_LINES}.")
    figure, axis = single(7.2, 4.4)
    axis.set_xscale("log", base=2)
    others = 0
    for name, kind, points in lines:
        look, above = (CODEC, 3) if kind == "codec" else (look_of(others), 2)
        others += kind != "codec"
        error_line(axis, [(point.bytes, point.spread) for point in points], look, name, zorder=above)
    # Ticks are the sizes that occur, not round numbers.
    every = [point for _, _, points in lines for point in points]
    ticks = budget_ticks([point.bytes for point in every])
    axis.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axis.minorticks_off()
    axis.set(xlim=(0.8 * ticks[0], 1.2 * ticks[-1]), xlabel="Bytes stored", ylabel="Test accuracy (%)")
    figure.legend(loc="outside right upper", fontsize=7)
    words = "Along a line: the same container in other number formats; a codec in as many bytes"
    axis.set_title(words, loc="left", color=GREY, fontsize=8)
    caption(figure, f"Points: {means_words([point.spread for point in every], 'trainings')}.")
    return Drawn(figure=figure, columns=BYTES_COLUMNS, rows=rows)


def look_of(position: int) -> Series:
    """The looks of a line: after the sixth, colours come again with other markers and dashes. Black is the codec's."""
    looks = SERIES[:-1]
    first, again = position % len(looks), position // len(looks)
    marker, line = (looks[(first + shift * again) % len(looks)] for shift in (2, 1))
    return looks[first]._replace(marker=marker.marker, line=line.line)


def budget_ticks(sizes: Sequence[int]) -> list[int]:
    """The largest of those sizes that lie within a fifth of each other."""
    ticks: list[int] = []
    for size in sorted(sizes, reverse=True):
        if not ticks or size < 0.8 * ticks[-1]:
            ticks.append(size)
    return ticks[::-1]
