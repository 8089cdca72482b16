"""Figures of runs: how the loss fell, and how long stored containers take to generate their images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hmn.containers.artifact.place import read_run
from hmn.report.history import MAX_POINTS, PHASE_AXES, binned, read_history
from hmn.report.results import TIMING, Spread, read_result, same_n, spread_of
from hmn.report.style import Drawn, caption, dots_by_category, new_figure, plain_ticks, series, single

TIMING_COLUMNS = ("results", "label", "images", "form", "mean_seconds", "std_seconds", "n", "seconds")


def history(paths: Sequence[Path], labels: Sequence[str]) -> Drawn:
    """The loss of every record along one condensation or several."""
    histories = [read_history(path) for path in paths]
    names = [*labels, *(run_words(path) for path in paths[len(labels) :])]
    phases = [phase for phase in PHASE_AXES if any(phase in found for found in histories)]
    figure, axes = new_figure(3.8 * len(phases), 3.2, 1, len(phases))
    rows: list[tuple[Any, ...]] = []
    together = 1
    for axis, phase in zip(axes.flat, phases, strict=True):
        title, x_label, y_label = PHASE_AXES[phase]
        for position, (path, found, name) in enumerate(zip(paths, histories, names, strict=True)):
            points = found.get(phase, [])
            rows += [(str(path), name, phase, step, loss) for step, loss in points]
            if not points:
                continue
            look, groups = series(position), binned(points)
            together = max(together, -(-len(points) // MAX_POINTS))
            x, middle, low, high = zip(*groups, strict=True)
            axis.fill_between(x, low, high, color=look.colour, alpha=0.2, linewidth=0)
            axis.plot(x, middle, **look.style, label=name, markevery=max(1, len(x) // 6))
        # Losses of 0 cannot lie on a logarithmic axis.
        axis.set(title=title, xlabel=x_label, ylabel=y_label)
        if min(row[4] for row in rows if row[2] == phase) > 0:
            axis.set_yscale("log")
            plain_ticks(axis.yaxis)
    handles, shown = axes.flat[-1].get_legend_handles_labels()
    figure.legend(handles, shown, loc="outside upper center", ncols=min(2, len(shown)))
    medians = f"Lines: medians of up to {together} records; bands: their 5th to 95th percentile."
    caption(figure, medians if together > 1 else "Lines: every record.")
    return Drawn(figure=figure, columns=("run", "label", "phase", "step", "loss"), rows=rows)


def run_words(path: Path) -> str:
    """A run's data, budget, recipe and time, else its folder's name."""
    facts = read_run(path)
    if "data" not in facts:
        return path.name
    parts = [
        Path(str(facts["data"])).name,
        f"{facts['ipc']} IPC" if "ipc" in facts else "",
        str(facts.get("recipe", "")),
    ]
    seconds = facts.get("condense_seconds")
    took = "" if seconds is None else f" ({seconds / 60:,.1f} min)"
    return ", ".join(part for part in parts if part) + took


def generation_time(paths: Sequence[Path], labels: Sequence[str]) -> Drawn:
    """Seconds to generate the training set of a stored container, by budget and by way of computing it.

    Source: supplement B, whose own times are a form of their own, measured once.
    """
    rows: list[tuple[Any, ...]] = []
    groups: dict[str, dict[str, Spread]] = {}
    machines = []
    for path in paths:
        result = read_result(path, TIMING)
        machines.append(machine_words(result.get("hardware", {})))
        for row in result["rows"]:
            spread = spread_of({"values": row["seconds"]})
            budget = f"{row['label']}\n{row['images']:,} images"
            groups.setdefault(row["form"], {})[budget] = spread
            about = (path.name, row["label"], row["images"], row["form"])
            rows.append((*about, *spread, " ".join(map(str, row["seconds"]))))
    # Where several were timed, each form says how often.
    names = dict(zip(groups, labels, strict=False))
    named = {f"{names.get(form, form)} ({same_n(list(group.values()))})": group for form, group in groups.items()}
    budgets = {budget for group in groups.values() for budget in group}
    figure, axis = single(max(3.8, 1.5 * len(budgets) + 1), 3.3)
    dots_by_category(axis, named, gap=0.22, number=".2g", offset=(6, -2))
    axis.set_yscale("log")
    plain_ticks(axis.yaxis)
    axis.set_ylabel("Time to generate all images (s)")
    figure.legend(loc="outside upper center", ncols=len(groups))
    where = "; ".join(dict.fromkeys(machine for machine in machines if machine))
    caption(figure, f"Points: mean ± 1 sd over n repeats{f'; hmn on {where}' if where else ''}.")
    return Drawn(figure=figure, columns=TIMING_COLUMNS, rows=rows)


def machine_words(hardware: Mapping[str, Any]) -> str:
    """The processor or accelerator of a machine; nothing where it is not known."""
    if hardware.get("accelerator"):
        return str(hardware["accelerator"])
    return f"{hardware['cpu']}, {hardware.get('threads', '?')} threads" if hardware.get("cpu") else ""
