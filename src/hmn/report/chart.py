"""Line charts as SVG for the page: no library, no fixed colours, so that they follow light and dark."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from hmn.report.results import spread_of, study_lines

CHART_WIDTH, CHART_HEIGHT = 440, 250
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 10, 42
MAX_TICKS = 6
MAX_DOTS = 40
"""Points of a line that are drawn one by one; a line of more goes without dots."""
_DOT = Markup('<circle class="dot k{}" cx="{:.1f}" cy="{:.1f}" r="3"/>')
_STRIP_DOT = Markup('<circle class="dot k0" cx="{:.1f}" cy="10" r="2.6"/>')
_GRID = Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>')
_AXIS = Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>')
_LEFT_WORDS = Markup('<text x="{}" y="{:.1f}" text-anchor="end">{}</text>')
_LOW_WORDS = Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>')
_TURNED_WORDS = Markup('<text transform="translate(12 {}) rotate(-90)" text-anchor="middle">{}</text>')


class Line(NamedTuple):
    """A series: x, y, and the band around y, which may be y itself."""

    name: str
    points: Sequence[tuple[float, float, float, float]]
    """x, y, low, high; by x."""


class Axis(NamedTuple):
    """A scale from values to pixels."""

    low: float
    high: float
    start: float
    end: float
    log: bool

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            value, low, high = map(math.log, (value, low, high))
        return self.start + (value - low) / (high - low) * (self.end - self.start)


def line_chart(lines: Sequence[Line], *, title: str, x_label: str, y_label: str, log_y: bool = False) -> Markup:
    """An SVG of several lines with their bands, labelled for people who do not see it.

    Args:
        lines: at most seven are told apart.
        title: what a screen reader says.
        x_label: with the unit.
        y_label: with the unit.
        log_y: a logarithmic y axis, where all values are above 0.
    """
    points = [point for line in lines for point in line.points]
    log_y = log_y and min(low for _, _, low, _ in points) > 0
    x_axis = _axis([x for x, *_ in points], LEFT, CHART_WIDTH - RIGHT, log=False, tight=True)
    y_axis = _axis([value for _, *band in points for value in band], CHART_HEIGHT - BOTTOM, TOP, log=log_y, tight=False)
    # Every line lies on its band, and later lines on earlier ones.
    parts = [_frame(x_axis, y_axis, x_label, y_label)]
    for position, line in enumerate(lines):
        along = " ".join(f"{x_axis(x):.1f},{y_axis(y):.1f}" for x, y, _, _ in line.points)
        upper = [f"{x_axis(x):.1f},{y_axis(high):.1f}" for x, _, _, high in line.points]
        lower = [f"{x_axis(x):.1f},{y_axis(low):.1f}" for x, _, low, _ in reversed(line.points)]
        parts.append(Markup('<polygon class="band k{}" points="{}"/>').format(position % 7, " ".join(upper + lower)))
        parts.append(Markup('<polyline class="line k{}" points="{}"/>').format(position % 7, along))
        if len(line.points) <= MAX_DOTS:
            parts += [_DOT.format(position % 7, x_axis(x), y_axis(y)) for x, y, _, _ in line.points]
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        CHART_WIDTH, CHART_HEIGHT, title, Markup("").join(parts)
    )


def pruning_chart(study: Mapping[str, Any]) -> tuple[list[Line], Markup]:
    """The lines of a pruning study and their chart: accuracy against pruning rate, a line a method."""
    lines = [Line(name, [spread.band(x) for x, spread in points]) for name, points in study_lines(study).items()]
    title = "Test accuracy against pruning rate; the numbers are in the table below"
    x_label, y_label = "Pruning rate (% of images removed)", "Test accuracy (%)"
    return lines, line_chart(lines, title=title, x_label=x_label, y_label=y_label) if lines else Markup("")


def scale_of(rows: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """One scale for the accuracies of rows, in per cent: 0 to 100 where there are none."""
    values = [value for row in rows if row["accuracy_percent"] for value in row["accuracy_percent"]["values"]]
    if not values:
        return 0.0, 100.0
    return max(0.0, math.floor(min(values)) - 1.0), min(100.0, math.ceil(max(values)) + 1.0)


def strip(accuracy: Mapping[str, Any], low: float, high: float) -> Markup:
    """Accuracies on a scale from low to high: a dot a training, a line at the mean, a band of one deviation."""
    axis = Axis(low, high, 4, 176, False)
    _, mean, lowest, highest = spread_of(accuracy).band(0)
    left, right = axis(max(low, lowest)), axis(min(high, highest))
    dots = [_STRIP_DOT.format(axis(value)) for value in accuracy["values"]]
    return Markup(
        '<svg class="strip" viewBox="0 0 180 20" aria-hidden="true">'
        '<line class="axis" x1="4" x2="176" y1="10" y2="10"/>'
        '<rect class="band k0" x="{:.1f}" y="5" width="{:.1f}" height="10"/>'
        '<line class="mean" x1="{:.1f}" x2="{:.1f}" y1="3" y2="17"/>{}</svg>'
    ).format(left, max(0.0, right - left), axis(mean), axis(mean), Markup("").join(dots))


def _axis(values: Sequence[float], start: float, end: float, *, log: bool, tight: bool) -> Axis:
    low, high = min(values), max(values)
    if low == high:
        low, high = (low / 2, high * 2) if log else (low - 1, high + 1)
    elif not tight:
        margin = (high / low) ** 0.06 if log else 0.06 * (high - low)
        low, high = (low / margin, high * margin) if log else (low - margin, high + margin)
    return Axis(low, high, start, end, log)


def ticks(axis: Axis) -> list[float]:
    """Round values on an axis, at most `MAX_TICKS` of them."""
    if axis.log:
        powers = range(math.floor(math.log10(axis.low)), math.ceil(math.log10(axis.high)) + 1)
        for digits in ((1, 2, 5), (1, 3), (1,)):
            found = [digit * 10.0**power for power in powers for digit in digits]
            found = [value for value in found if axis.low <= value <= axis.high]
            if len(found) <= MAX_TICKS:
                break
        if len(found) > 1:
            return found[:: -(-len(found) // MAX_TICKS)]
    span = axis.high - axis.low
    power = 10.0 ** math.floor(math.log10(span / MAX_TICKS))
    step = next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= MAX_TICKS)
    first = math.ceil(axis.low / step - 1e-9)
    return [step * number for number in range(first, math.floor(axis.high / step + 1e-9) + 1)]


def _frame(x_axis: Axis, y_axis: Axis, x_label: str, y_label: str) -> Markup:
    right, bottom = CHART_WIDTH - RIGHT, CHART_HEIGHT - BOTTOM
    parts = []
    for value in ticks(y_axis):
        y = y_axis(value)
        parts += [_GRID.format(LEFT, right, y, y), _LEFT_WORDS.format(LEFT - 6, y + 4, _number(value))]
    parts += [_LOW_WORDS.format(x_axis(value), bottom + 16, _number(value)) for value in ticks(x_axis)]
    parts.append(_AXIS.format(LEFT, right, bottom, bottom))
    parts.append(_LOW_WORDS.format((LEFT + right) / 2, CHART_HEIGHT - 8, x_label))
    parts.append(_TURNED_WORDS.format((TOP + bottom) / 2, y_label))
    return Markup("").join(parts)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
