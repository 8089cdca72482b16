"""Figures of accuracies: against pruning rate, training iterations and time, and by learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from hmn.errors import UserError
from hmn.report.results import STUDY, Spread, means_words, per_class, read_result, rows_of, spread_of
from hmn.report.style import (
    GREY,
    SERIES,
    WHITE_EDGES,
    Drawn,
    caption,
    dots_by_category,
    error_line,
    panels,
    series,
    single,
)

METHOD_WORDS = {"double-end": "double-end", "random": "random", "hard": "hardest first", "easy": "easiest first"}
SCHEDULES = {"cosine": "cosine", "multistep": "multi-step"}
ABOUT, SPREAD = ("results", "label", "data", "ipc"), ("mean", "std", "n")
PRUNING_COLUMNS = (*ABOUT, "method", "rate", "images_per_class", "in_budget", "beta", *SPREAD)
ITERATION_COLUMNS = (*ABOUT, "step", *SPREAD, "test_images")
MINUTE_COLUMNS = (*ABOUT, "tested_on", "width", "train_steps", "minutes", *SPREAD)
SCHEDULE_COLUMNS = (*ABOUT, "schedule", "lr", "train_steps", *SPREAD)
MAX_CURVES = 12


def setting_words(result: Mapping[str, Any]) -> str:
    """Data and budget of a result: "cifar10, 1 IPC"."""
    return f"{result['data']}, {result['ipc']} IPC"


def pruning_rate(paths: Sequence[Path], labels: Sequence[str]) -> Drawn:
    """Test accuracy against the share of images removed, a panel a study. Source: Fig. 2 of the supplement."""
    studies = [read_result(path, STUDY) for path in paths]
    figure, axes = panels(len(studies), most=3, each=(3.4, 3.1))
    rows, spreads = [], []
    for axis, (path, label), study in zip(axes.flat, zip_longest(paths, labels), studies, strict=False):
        found = [(row, spread_of(row)) for row in study["rows"]]
        spreads += [spread for _, spread in found]
        title = label or setting_words(study)
        _pruning_panel(axis, study, found, title)
        about = (path.name, title, study["data"], study["ipc"])
        for row, spread in found:
            counts = per_class(row["images_per_class"])
            rows.append((*about, row["method"], row["rate"], counts, row["in_budget"], row["beta"], *spread))
    # All panels show the same methods, so one legend serves them.
    for axis in axes[:, 0]:
        axis.set_ylabel("Test accuracy (%)")
    handles, names = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names))
    caption(figure, f"Points: {means_words(spreads, 'trainings')}.")
    return Drawn(figure=figure, columns=PRUNING_COLUMNS, rows=rows)


def _pruning_panel(axis: Any, study: Mapping[str, Any], found: list[tuple[Any, Spread]], title: str) -> None:
    whole = [spread for row, spread in found if row["method"] == "unpruned"]
    if whole:
        axis.axhline(whole[0].mean, color=GREY, linewidth=0.9, linestyle=(0, (1, 2)), label="unpruned")
    for (method, name), look in zip(METHOD_WORDS.items(), SERIES, strict=False):
        points = sorted((100 * row["rate"], spread) for row, spread in found if row["method"] == method)
        if whole and points and points[0][0] > 0:
            points.insert(0, (0.0, whole[0]))
        if points:
            error_line(axis, points, look, name)
    # What fits into the budget is a line across all methods.
    title += f": {per_class(study['images_per_class'])} images a class"
    budget = next((row for row, _ in found if row["in_budget"]), None)
    if budget is not None:
        axis.axvline(100 * budget["rate"], color=GREY, linewidth=0.8)
        title += f"\nin budget (grey line): {per_class(budget['images_per_class'])} images a class"
    axis.set_title(title, loc="left")
    axis.set_xlabel("Pruning rate (% of images removed)")


def iterations(paths: Sequence[Path], labels: Sequence[str]) -> Drawn:
    """Test accuracy against training iterations, a line a method and budget. Source: Fig. 1 of the supplement.

    Raises:
        UserError: an evaluation was made without --curve, or there are too many lines to tell apart.
    """
    curves, rows, spreads = [], [], []
    for path, given in zip_longest(paths, labels):
        result = read_result(path, "evaluation")
        found = [row for row in rows_of(result) if row.get("curve")]
        if not found:
            raise UserError(f"{path}: holds no accuracies on the way: evaluate with --curve N.")
        for row in found:
            name = row["method"] if given is None or row is not found[0] else given
            points = [(point["step"], spread_of(point)) for point in row["curve"]]
            label = f"{name}, {result['ipc']} IPC" if name != given else name
            curves.append((label, points))
            spreads += [spread for _, spread in points]
            about, images = (path.name, label, result["data"], result["ipc"]), result["curve_images"]
            rows += [(*about, step, *spread, images) for step, spread in points]
    # A line a curve, with its deviation as a band.
    if len(curves) > MAX_CURVES:
        many = f"{len(curves)} lines in one figure cannot be told apart"
        raise UserError(f"{many}: give results of at most {MAX_CURVES}.")
    figure, axis = single(5.6, 3.6)
    for position, (label, points) in enumerate(curves):
        look, x = series(position), [step for step, _ in points]
        mean, low, high = zip(*((s.mean, s.mean - s.std, s.mean + s.std) for _, s in points), strict=True)
        axis.fill_between(x, low, high, color=look.colour, alpha=0.18, linewidth=0)
        axis.plot(x, mean, **look.style, **WHITE_EDGES, label=label, markevery=max(1, len(x) // 10))
    axis.set(xlabel="Training iterations (optimizer steps)", ylabel="Test accuracy (%)", xlim=(0, None))
    figure.legend(loc="outside upper center", ncols=min(2, len(curves)))
    tested = sorted({row[-1] for row in rows})
    images = f"{tested[0]:,}" if len(tested) == 1 else f"{tested[0]:,} to {tested[-1]:,}"
    caption(figure, f"Lines and bands: {means_words(spreads, 'trainings')}; tested on {images} images.")
    return Drawn(figure=figure, columns=ITERATION_COLUMNS, rows=rows)


def minutes(paths: Sequence[Path], labels: Sequence[str]) -> Drawn:
    """Accuracy against the processor's minutes of condensing, a line a label: a recipe, where none is given.

    Raises:
        UserError: a result is not of a condensation, or they were not all taken alike.
    """
    lines: dict[str, list[tuple[float, Spread]]] = {}
    taken: dict[tuple[Any, ...], Path] = {}
    rows = []
    for path, given in zip_longest(paths, labels):
        result = read_result(path, "evaluation")
        if not result.get("processor_seconds"):
            raise UserError(f"{path}: tells no processor time of condensing: evaluate a folder of `hmn condense`.")
        about = (result["data"], result["ipc"], result["tested_on"], result["width"], result["train_steps"])
        taken.setdefault(about, path)
        label, spread = given or str(result["recipe"]), spread_of(result["accuracy_percent"])
        spent = result["processor_seconds"] / 60
        lines.setdefault(label, []).append((spent, spread))
        rows.append((path.name, label, *about, round(spent, 2), *spread))
    if len(taken) > 1:
        one, other = list(taken.values())[:2]
        raise UserError(f"{one} and {other}: data, budget, test images, width and training steps must be the same.")
    # Minutes double from tick to tick, as budgets of time do.
    figure, axis = single(5.6, 3.6)
    axis.set_xscale("log", base=2)
    for position, (label, points) in enumerate(lines.items()):
        error_line(axis, sorted(points), series(position), label)
    powers = [math.log2(x) for points in lines.values() for x, _ in points]
    marks = [2.0**power for power in range(math.floor(min(powers)), math.ceil(max(powers)) + 1)]
    axis.set_xticks(marks, [f"{mark:g}" for mark in marks])
    data, ipc, tested_on, width, steps = next(iter(taken))
    axis.set(xlabel="Minutes of condensing (processor time)", ylabel=f"{tested_on.capitalize()} accuracy (%)")
    figure.legend(loc="outside upper center", ncols=min(3, len(lines)))
    words = means_words([spread for points in lines.values() for _, spread in points], "trainings")
    network = "" if width is None else f", networks of width {width}"
    caption(figure, f"{data}, {ipc} IPC: {words}{network}, {steps:,} steps.")
    return Drawn(figure=figure, columns=MINUTE_COLUMNS, rows=rows)


def schedules(paths: Sequence[Path], labels: Sequence[str]) -> Drawn:
    """Accuracy by learning-rate schedule, cosine against multi-step. Source: Table 2 of the supplement.

    Raises:
        UserError: a set was trained with one of the schedules alone, or twice with the same.
    """
    groups: dict[str, dict[str, Spread]] = {}
    rows = []
    for path, given in zip_longest(paths, labels):
        result = read_result(path, "evaluation")
        schedule = result.get("schedule", "cosine")  # results of versions that had no other
        label = given or f"{result['method']}, {setting_words(result)}"
        group = groups.setdefault(label, {})
        if schedule in group:
            raise UserError(f"{path}: {label} with {schedule} is there already: name sets apart with --label.")
        group[schedule] = spread_of(result["accuracy_percent"])
        about = (path.name, label, result["data"], result["ipc"])
        rows.append((*about, schedule, result.get("lr"), result["train_steps"], *group[schedule]))
    # Only sets trained with both can be compared.
    for label, group in groups.items():
        for schedule in SCHEDULES:
            if schedule not in group:
                raise UserError(f"{label}: no result with {schedule}: evaluate it with --schedule {schedule} as well.")
    figure, axis = single(max(3.6, 1.5 * len(groups) + 1.6), 3.2)
    by_schedule = {
        name: {label.replace(", ", "\n"): group[schedule] for label, group in groups.items()}
        for schedule, name in SCHEDULES.items()
    }
    dots_by_category(axis, by_schedule, gap=0.32, number=".1f", offset=(5, 3))
    axis.set(xlim=(-0.6, len(groups) - 0.4), ylabel="Test accuracy (%)")
    figure.legend(loc="outside upper center", ncols=2)
    caption(figure, f"Points: {means_words([s for group in groups.values() for s in group.values()], 'trainings')}.")
    return Drawn(figure=figure, columns=SCHEDULE_COLUMNS, rows=rows, markdown=_schedule_table(groups))


def _schedule_table(groups: Mapping[str, Mapping[str, Spread]]) -> str:
    lines = ["| trained on | cosine (%) | multi-step (%) | difference |", "|---|---:|---:|---:|"]
    for label, group in groups.items():
        cosine, multistep = group["cosine"], group["multistep"]
        safe = " ".join(label.split()).replace("|", "\\|").replace("<", "&lt;")
        lines.append(f"| {safe} | {cosine} | {multistep} | {multistep.mean - cosine.mean:+.1f} |")
    return "\n".join([*lines, "", "Mean ± sample standard deviation over trainings from n seeds.", ""])
