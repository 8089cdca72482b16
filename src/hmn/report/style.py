"""How figures look, and how they are written: SVG, PNG and the data as CSV beside each other.

Colours are Okabe and Ito's, which people with any common colour blindness tell apart; every series also has a marker,
a line style and a hatch of its own, so that it is known in grey.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, final

from hmn.errors import UserError
from hmn.runtime.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Series(NamedTuple):
    """What tells one series from another."""

    colour: str
    marker: str
    line: Any
    hatch: str


SERIES = (
    Series("#0072B2", "o", "-", ""),
    Series("#D55E00", "s", (0, (5, 2)), "///"),
    Series("#009E73", "^", (0, (1, 1.3)), "..."),
    Series("#CC79A7", "D", (0, (6, 2, 1, 2)), "xxx"),
    Series("#E69F00", "v", (0, (3, 1, 1, 1, 1, 1)), "\\\\\\"),
    Series("#56B4E9", "P", (0, (8, 3)), "+++"),
    Series("#000000", "X", (0, (2, 2)), "ooo"),
)
"""Okabe and Ito, "Color Universal Design" (2008), without its yellow, which white paper swallows."""
GREY = "#5A5A5A"
PIXELS_PER_INCH = 160
_STYLE: dict[Any, Any] = {
    "font.size": 9, "axes.titlesize": 9, "axes.labelsize": 9, "legend.fontsize": 8, "legend.frameon": False,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6, "axes.axisbelow": True, "lines.linewidth": 1.4, "lines.markersize": 4.5,
    "hatch.linewidth": 0.6, "svg.hashsalt": "hmn", "figure.facecolor": "white", "savefig.facecolor": "white",
    "text.parse_math": False,  # names may hold dollar signs
}  # fmt: skip


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """A figure with the numbers that it shows."""

    figure: Figure
    columns: tuple[str, ...]
    rows: Sequence[Sequence[Any]]
    markdown: str | None = None
    """The numbers as a table for people, where the figure has one."""


@contextmanager
def drawing() -> Iterator[None]:
    """Inside, matplotlib draws in this module's style, whatever the user's own settings are.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise UserError("figures need matplotlib: pip install 'hmn[report]'") from None
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
    """A figure of so many inches and an array [rows, columns] of its axes. pyplot's global state is not touched."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def series(position: int) -> Series:
    """The looks of the series at a position; they repeat after the seventh."""
    return SERIES[position % len(SERIES)]


def error_line(axes: Axes, x: Sequence[float], y: Sequence[float], spread: Sequence[float], look: Series,
               label: str, **options: Any) -> None:  # fmt: skip
    """A line through means with bars of one standard deviation; none where it is 0, as for one value."""
    spread = [deviation or math.nan for deviation in spread]
    axes.errorbar(
        x, y, yerr=spread, label=label, color=look.colour, marker=look.marker, linestyle=look.line, capsize=2.5,
        elinewidth=0.9, markeredgecolor="white", markeredgewidth=0.5, **options,
    )  # fmt: skip


def caption(figure: Figure, text: str) -> None:
    """A line below the axes: what points and bars are."""
    figure.supxlabel(text, fontsize=8, color=GREY)


def check_free(stem: Path, suffixes: Sequence[str], *, force: bool) -> None:
    """Refuse to write over files, before anything is read.

    Raises:
        UserError: one of them is there and `force` is not given.
    """
    for suffix in suffixes:
        path = stem.with_name(stem.name + suffix)
        if path.is_dir() or (path.exists() and not force):
            remedy = "choose another name." if path.is_dir() else "choose another name or pass --force."
            raise UserError(f"--out {stem}: {path.name} is already there: {remedy}")


def write(drawn: Drawn, stem: Path) -> list[Path]:
    """Write `stem` with .svg, .png and .csv (and .md where there is a table); returns the paths.

    The same numbers give the same bytes on the same version of matplotlib.

    Raises:
        UserError: the folder cannot be written.
    """
    contents = {".svg": _rendered(drawn.figure, "svg"), ".png": _rendered(drawn.figure, "png"), ".csv": _csv(drawn)}
    if drawn.markdown is not None:
        contents[".md"] = drawn.markdown.encode()
    written = []
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        for suffix, content in contents.items():
            path = stem.with_name(stem.name + suffix)
            write_atomically(path, content)
            written.append(path)
    except OSError as error:
        raise UserError(f"cannot write {stem}: {error.strerror or error}.") from None
    return written


def _rendered(figure: Figure, format: str) -> bytes:
    buffer = io.BytesIO()
    metadata = {"Date": None} if format == "svg" else {"Software": None}
    figure.savefig(buffer, format=format, dpi=PIXELS_PER_INCH, metadata=metadata, bbox_inches="tight", pad_inches=0.08)
    return buffer.getvalue()


def _csv(drawn: Drawn) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(drawn.columns)
    writer.writerows([[round(value, 6) if isinstance(value, float) else value for value in row] for row in drawn.rows])
    return text.getvalue().encode()
