"""Figures of accuracies: against pruning rate, training iterations, time and bytes, and by learning-rate schedule."""

import math
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from hmn.errors import UserError
from hmn.pruning.survivors import METHODS
from hmn.report import results, style
from hmn.report.results import Spread
from hmn.report.style import SERIES, Drawn, Series, series

METHOD_WORDS = {"hard": "hardest first", "easy": "easiest first"}
"""Methods of pruning that a legend calls by other names than their own."""
SCHEDULES = {"cosine": "cosine", "multistep": "multi-step"}
ABOUT, SPREAD = ("results", "label", "data", "ipc"), ("mean", "std", "n")
PRUNING_COLUMNS = (*ABOUT, "method", "rate", "images_per_class", "in_budget", "beta", *SPREAD)
ITERATION_COLUMNS = (*ABOUT, "step", *SPREAD, "test_images")
MINUTE_COLUMNS = (*ABOUT, "tested_on", "width", "train_steps", "minutes", *SPREAD)
SCHEDULE_COLUMNS = (*ABOUT, "schedule", "lr", "train_steps", *SPREAD)
BYTES_COLUMNS = ("results", "method", "kind", "ipc", "stored_as", "bytes", "images", *SPREAD)
CODEC = Series("#000000", "X", "-", "")
"""The line to beat looks like no other."""
MAX_CURVES, MAX_LINES = 12, 16
"""Lines that are told apart in a figure of iterations and in one of bytes."""


def setting_words(result: Mapping[str, Any]) -> str:
    """Data and budget of a result: "cifar10, 1 IPC"."""
    return f"{result['data']}, {result['ipc']} IPC"


def pruning_rate(paths: Sequence[Path], labels: Sequence[str]) -> Drawn:
    """Test accuracy against the share of images removed, a panel a study. Source: Fig. 2 of the supplement."""
    studies = [results.read_result(path, results.STUDY) for path in paths]
    figure, axes = style.panels(len(studies), most=3, each=(3.4, 3.1))
    rows, spreads = [], []
    for axis, (path, label), study in zip(axes.flat, zip_longest(paths, labels), studies, strict=False):
        found = [(row, results.spread_of(row)) for row in study["rows"]]
        spreads += [spread for _, spread in found]
        title = label or setting_words(study)
        _pruning_panel(axis, study, found, title)
        about = (path.name, title, study["data"], study["ipc"])
        for row, spread in found:
            counts = results.span(row["images_per_class"])
            rows.append((*about, row["method"], row["rate"], counts, row["in_budget"], row["beta"], *spread))
    # All panels show the same methods, so one legend serves them.
    for axis in axes[:, 0]:
        axis.set_ylabel("Test accuracy (%)")
    note = f"Points: {results.means_words(spreads)}."
    return style.captioned(figure, axes.flat[0], PRUNING_COLUMNS, rows, note, across=len(SERIES))


def _pruning_panel(axis: Any, study: Mapping[str, Any], found: list[tuple[Any, Spread]], title: str) -> None:
    whole = next((spread for row, spread in found if row["method"] == "unpruned"), None)
    if whole is not None:
        axis.axhline(whole.mean, color=style.GREY, linewidth=0.9, linestyle=(0, (1, 2)), label="unpruned")
    for method, points in results.study_lines(study).items():
        style.error_line(axis, points, SERIES[METHODS.index(method)], METHOD_WORDS.get(method, method))
    # What fits into the budget is a line across all methods.
    title += f": {results.span(study['images_per_class'])} images a class"
    budget = next((row for row, _ in found if row["in_budget"]), None)
    if budget is not None:
        axis.axvline(100 * budget["rate"], color=style.GREY, linewidth=0.8)
        title += f"\nin budget (grey line): {results.span(budget['images_per_class'])} images a class"
    axis.set_title(title, loc="left")
    axis.set_xlabel("Pruning rate (% of images removed)")


def iterations(paths: Sequence[Path], labels: Sequence[str]) -> Drawn:
    """Test accuracy against training iterations, a line a method and budget. Source: Fig. 1 of the supplement. Raises
    UserError: an evaluation was made without --curve, or there are too many lines to tell apart.
    """
    curves, rows, spreads = [], [], []
    for path, given in zip_longest(paths, labels):
        result = results.read_result(path, results.EVALUATION)
        found = [row for row in results.rows_of(result) if row.get("curve")]
        if not found:
            raise UserError(f"{path}: holds no accuracies on the way: evaluate with --curve N.")
        for row in found:
            name = row["method"] if given is None or row is not found[0] else given
            points = [(point["step"], results.spread_of(point)) for point in row["curve"]]
            label = f"{name}, {result['ipc']} IPC" if name != given else name
            curves.append((label, points))
            spreads += [spread for _, spread in points]
            about, images = (path.name, label, result["data"], result["ipc"]), result["curve_images"]
            rows += [(*about, step, *spread, images) for step, spread in points]
    # A line a curve, with its deviation as a band.
    if len(curves) > MAX_CURVES:
        many = f"{len(curves)} lines in one figure cannot be told apart"
        raise UserError(f"{many}: give results of at most {MAX_CURVES}.")
    figure, axis = style.single(5.6, 3.6)
    for position, (label, points) in enumerate(curves):
        bands = [spread.band(step) for step, spread in points]
        every = max(1, len(points) // 10)
        style.band_line(axis, bands, series(position), label, alpha=0.18, markevery=every, **style.WHITE_EDGES)
    axis.set(xlabel="Training iterations (optimizer steps)", ylabel="Test accuracy (%)", xlim=(0, None))
    tested = results.span([row[-1] for row in rows])
    note = f"Lines and bands: {results.means_words(spreads)}; tested on {tested} images."
    return style.captioned(figure, axis, ITERATION_COLUMNS, rows, note, across=2)


def minutes(paths: Sequence[Path], labels: Sequence[str]) -> Drawn:
    """Accuracy against the processor's minutes of condensing, a line a label: a recipe, where none is given. Raises
    UserError: a result is not of a condensation, or they were not all taken alike.
    """
    lines: dict[str, list[tuple[float, Spread]]] = {}
    taken: dict[tuple[Any, ...], Path] = {}
    rows = []
    for path, given in zip_longest(paths, labels):
        result = results.read_result(path, results.EVALUATION)
        if not result.get("processor_seconds"):
            raise UserError(f"{path}: tells no processor time of condensing: evaluate a folder of `hmn condense`.")
        about = (result["data"], result["ipc"], result["tested_on"], result["width"], result["train_steps"])
        taken.setdefault(about, path)
        label, spread = given or str(result["recipe"]), results.spread_of(result["accuracy_percent"])
        spent = result["processor_seconds"] / 60
        lines.setdefault(label, []).append((spent, spread))
        rows.append((path.name, label, *about, round(spent, 2), *spread))
    if len(taken) > 1:
        one, other = list(taken.values())[:2]
        raise UserError(f"{one} and {other}: data, budget, test images, width and training steps must be the same.")
    # Minutes double from tick to tick, as budgets of time do.
    figure, axis = style.single(5.6, 3.6)
    axis.set_xscale("log", base=2)
    for position, (label, points) in enumerate(lines.items()):
        style.error_line(axis, sorted(points), series(position), label)
    powers = [math.log2(x) for points in lines.values() for x, _ in points]
    marks = [2.0**power for power in range(math.floor(min(powers)), math.ceil(max(powers)) + 1)]
    axis.set_xticks(marks, [f"{mark:g}" for mark in marks])
    data, ipc, tested_on, width, steps = next(iter(taken))
    axis.set(xlabel="Minutes of condensing (processor time)", ylabel=f"{tested_on.capitalize()} accuracy (%)")
    words = results.means_words([spread for points in lines.values() for _, spread in points])
    network = "" if width is None else f", networks of width {width}"
    note = f"{data}, {ipc} IPC: {words}{network}, {steps:,} steps."
    return style.captioned(figure, axis, MINUTE_COLUMNS, rows, note, across=3)


def schedules(paths: Sequence[Path], labels: Sequence[str]) -> Drawn:
    """Accuracy by learning-rate schedule, cosine against multi-step. Source: Table 2 of the supplement. Raises
    UserError: a set was trained with one of the schedules alone, or twice with the same.
    """
    groups: dict[str, dict[str, Spread]] = {}
    rows = []
    for path, given in zip_longest(paths, labels):
        result = results.read_result(path, results.EVALUATION)
        schedule = result.get("schedule", "cosine")  # results of versions that had no other
        label = given or f"{result['method']}, {setting_words(result)}"
        group = groups.setdefault(label, {})
        if schedule in group:
            raise UserError(f"{path}: {label} with {schedule} is there already: name sets apart with --label.")
        group[schedule] = results.spread_of(result["accuracy_percent"])
        about = (path.name, label, result["data"], result["ipc"])
        rows.append((*about, schedule, result.get("lr"), result["train_steps"], *group[schedule]))
    # Only sets trained with both can be compared.
    for label, group in groups.items():
        for schedule in SCHEDULES:
            if schedule not in group:
                raise UserError(f"{label}: no result with {schedule}: evaluate it with --schedule {schedule} as well.")
    figure, axis = style.single(max(3.6, 1.5 * len(groups) + 1.6), 3.2)
    by_schedule = {
        name: {label.replace(", ", "\n"): group[schedule] for label, group in groups.items()}
        for schedule, name in SCHEDULES.items()
    }
    style.dots_by_category(axis, by_schedule, gap=0.32, number=".1f", offset=(5, 3))
    axis.set(xlim=(-0.6, len(groups) - 0.4), ylabel="Test accuracy (%)")
    note = f"Points: {results.means_words([spread for group in groups.values() for spread in group.values()])}."
    drawn = style.captioned(figure, axis, SCHEDULE_COLUMNS, rows, note, across=2)
    return drawn._replace(markdown=_schedule_table(groups))


def _schedule_table(groups: Mapping[str, Mapping[str, Spread]]) -> str:
    lines = ["| trained on | cosine (%) | multi-step (%) | difference |", "|---|---:|---:|---:|"]
    for label, group in groups.items():
        cosine, multistep = group["cosine"], group["multistep"]
        safe = " ".join(label.split()).replace("|", "\\|").replace("<", "&lt;")
        lines.append(f"| {safe} | {cosine} | {multistep} | {multistep.mean - cosine.mean:+.1f} |")
    return "\n".join([*lines, "", "Mean ± sample standard deviation over trainings from n seeds.", ""])


def accuracy_by_bytes(paths: Sequence[Path], labels: Sequence[str]) -> Drawn:
    """Test accuracy against bytes stored: a line a method and budget, from float32 on the right to the fewest bits.

    The whole training set is left out. Labels name the comparisons, where there are several. Raises UserError: nothing
    is done yet, or there are too many lines to tell apart.
    """
    lines: list[tuple[str, str, list[tuple[float, Spread]]]] = []
    rows: list[Sequence[Any]] = []
    for path, label in zip_longest(paths, labels):
        table = results.read_result(path, results.COMPARISON)
        several = len({row["ipc"] for row in table["rows"]} - {None}) > 1
        for row in table["rows"]:
            if row["kind"] == "whole" or row["accuracy_percent"] is None:
                continue
            name = f"{row['method']}, {row['ipc']} IPC" if several else row["method"]
            about, points = (path.name, row["method"], row["kind"], row["ipc"]), []
            for dtype, one in stored_sets(row):
                points.append((one["bytes"], results.spread_of(one["accuracy_percent"])))
                stored_as = "files" if row["kind"] == "codec" else dtype
                rows.append((*about, stored_as, one["bytes"], one["images"], *points[-1][1]))
            lines.append((f"{label}: {name}" if label else name, row["kind"], points))
    # The codec is the line to beat: drawn above the others, and in its own looks.
    if not lines:
        raise UserError(f"{paths[0]}: no method is done in it yet.")
    if len(lines) > MAX_LINES:
        raise UserError(f"{len(lines)} lines in one figure cannot be told apart: compare at most {MAX_LINES}.")
    figure, axis = style.single(7.2, 4.4)
    axis.set_xscale("log", base=2)
    others = 0
    for name, kind, points in lines:
        look, above = (CODEC, 3) if kind == "codec" else (look_of(others), 2)
        others += kind != "codec"
        style.error_line(axis, points, look, name, zorder=above)
    # Ticks are the sizes that occur, not round numbers.
    every = [point for _, _, points in lines for point in points]
    ticks = budget_ticks([size for size, _ in every])
    axis.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axis.minorticks_off()
    axis.set(xlim=(0.8 * ticks[0], 1.2 * ticks[-1]), xlabel="Bytes stored", ylabel="Test accuracy (%)")
    figure.legend(loc="outside right upper", fontsize=7)
    words = "Along a line: the same container in other number formats; a codec in as many bytes"
    axis.set_title(words, loc="left", color=style.GREY, fontsize=8)
    style.caption(figure, f"Points: {results.means_words([spread for _, spread in every])}.")
    return Drawn(figure, BYTES_COLUMNS, rows)


def stored_sets(row: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """A comparison's row in every format in which it was trained on, by name; the most bytes first."""
    forms = {row.get("stored_as") or "uint8": row, **row["stored"]}
    found = [(name, one) for name, one in forms.items() if one["accuracy_percent"] is not None]
    return sorted(found, key=lambda form: -form[1]["bytes"])


def look_of(position: int) -> Series:
    """The looks of a line: after the sixth, colours come again with other markers and dashes. Black is the codec's."""
    looks = SERIES[:-1]
    first, again = position % len(looks), position // len(looks)
    marker, line = (looks[(first + shift * again) % len(looks)] for shift in (2, 1))
    return looks[first]._replace(marker=marker.marker, line=line.line)


def budget_ticks(sizes: Sequence[float]) -> list[float]:
    """The largest of those sizes that lie within a fifth of each other."""
    ticks: list[float] = []
    for size in sorted(sizes, reverse=True):
        if not ticks or size < 0.8 * ticks[-1]:
            ticks.append(size)
    return ticks[::-1]
