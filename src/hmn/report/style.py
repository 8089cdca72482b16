"""How figures look, and how they are written: SVG, PNG and the data as CSV beside each other.

Colours are Okabe and Ito's, which people with any common colour blindness tell apart; every series also has a marker,
a line style and a hatch of its own, so that it is known in grey.
"""

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from hmn.errors import UserError
from hmn.report.results import Spread
from hmn.runtime.files import write_output


class Series(NamedTuple):
    """What tells one series from another."""

    colour: str
    marker: str
    line: Any
    hatch: str

    @property
    def style(self) -> dict[str, Any]:
        """Matplotlib's arguments of a line in these looks."""
        return {"color": self.colour, "marker": self.marker, "linestyle": self.line}


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
WHITE_EDGES: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.5}
"""Edges of markers, which keep markers that lie on each other apart."""
_STYLE = Path(__file__).with_name("figures.mplstyle")


class Drawn(NamedTuple):
    """A figure with the numbers that it shows."""

    figure: Figure
    columns: tuple[str, ...]
    rows: Sequence[Sequence[Any]]
    markdown: str | None = None
    """The numbers as a table for people, where the figure has one."""


@contextmanager
def drawing() -> Iterator[None]:
    """Inside, matplotlib draws in this module's style, whatever the user's own settings are."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(matplotlib.rc_params_from_file(_STYLE, use_default_template=False))
        yield


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
    """A figure of so many inches and an array [rows, columns] of its axes. pyplot's global state is not touched."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def single(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of so many inches with one panel."""
    figure, axes = new_figure(width, height)
    return figure, axes[0, 0]


def panels(
    count: int, *, most: int, each: tuple[float, float], margins: tuple[float, float] = (0, 0), **options: Any
) -> tuple[Figure, Any]:
    """A figure of `count` panels, at most `most` side by side; a panel's size and the margins' in inches."""
    columns = min(most, count)
    rows = -(-count // columns)
    width, height = (margin + side * times for margin, side, times in zip(margins, each, (columns, rows), strict=True))
    figure, axes = new_figure(width, height, rows, columns, **options)
    for unused in axes.flat[count:]:
        unused.set_visible(False)
    return figure, axes


def series(position: int) -> Series:
    """The looks of the series at a position; they repeat after the seventh."""
    return SERIES[position % len(SERIES)]


def error_line(axis: Axes, points: Sequence[tuple[float, Spread]], look: Series, label: str, **options: Any) -> None:
    """A line through means at x with bars of one standard deviation; none where it is 0, as for one value."""
    x, y = [x for x, _ in points], [spread.mean for _, spread in points]
    bars = [spread.std or math.nan for _, spread in points]
    options = {**look.style, **WHITE_EDGES, **options}
    axis.errorbar(x, y, yerr=bars, label=label, capsize=2.5, elinewidth=0.9, **options)


def band_line(axis: Axes, points: Sequence[Sequence[float]], look: Series, label: str, **options: Any) -> None:
    """A line through points (x, y, low, high) on the band from low to high."""
    x, y, low, high = zip(*points, strict=True)
    axis.fill_between(x, low, high, color=look.colour, linewidth=0, alpha=options.pop("alpha"))
    axis.plot(x, y, **look.style, label=label, **options)


def dots_by_category(
    axis: Axes, groups: Mapping[str, Mapping[str, Spread]], *, gap: float, number: str, offset: tuple[float, float]
) -> None:
    """Means with bars and their numbers beside them, a series a group, its dots beside the other groups'.

    Args:
        axis: with the categories on x.
        groups: by the name of the series, its values by category.
        gap: between the dots of a category, of the distance between categories.
        number: format of a mean.
        offset: of the number from its dot, in points.
    """
    categories = list(dict.fromkeys(category for group in groups.values() for category in group))
    for position, (name, group) in enumerate(groups.items()):
        shift = gap * (position - (len(groups) - 1) / 2)
        points = [(categories.index(category) + shift, spread) for category, spread in group.items()]
        error_line(axis, points, series(position)._replace(line="none"), name)
        for x, spread in points:
            text = format(spread.mean, number)
            axis.annotate(text, (x, spread.mean), xytext=offset, textcoords="offset points", fontsize=7)
    axis.set_xticks(range(len(categories)), categories)
    axis.grid(axis="x", visible=False)


def plain_ticks(axis: Any) -> None:
    """Ticks of a logarithmic axis as plain numbers at 1, 2 and 5."""
    axis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, position: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def captioned(
    figure: Figure, axis: Axes, columns: tuple[str, ...], rows: Sequence[Sequence[Any]], note: str, *, across: int
) -> Drawn:
    """A figure with its numbers, a legend of one of its axes above, at most `across` names wide, and a note below."""
    handles, names = axis.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=min(across, len(names)))
    caption(figure, note)
    return Drawn(figure, columns, rows)


def caption(figure: Figure, text: str) -> None:
    """A line below the axes: what points and bars are."""
    figure.supxlabel(text, fontsize=8, color=GREY)


def check_free(stem: Path, suffixes: Sequence[str], *, force: bool) -> None:
    """Refuse to write over files, before anything is read. Raises UserError: one of them is there and `force` is not
    given.
    """
    for suffix in suffixes:
        path = stem.with_name(stem.name + suffix)
        if path.is_dir() or (path.exists() and not force):
            remedy = "choose another name." if path.is_dir() else "choose another name or pass --force."
            raise UserError(f"--out {stem}: {path.name} is already there: {remedy}")


def write(drawn: Drawn, stem: Path) -> list[Path]:
    """Write `stem` with .svg, .png and .csv (and .md where there is a table); returns the paths.

    The same numbers give the same bytes on the same version of matplotlib. Raises UserError: the folder cannot be
    written.
    """
    contents = {".svg": _rendered(drawn.figure, "svg"), ".png": _rendered(drawn.figure, "png"), ".csv": _csv(drawn)}
    if drawn.markdown is not None:
        contents[".md"] = drawn.markdown.encode()
    files = {stem.with_name(stem.name + suffix): content for suffix, content in contents.items()}
    for path, content in files.items():
        write_output(path, content, stem)
    return list(files)


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
