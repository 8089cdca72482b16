"""Figures of runs: how the loss fell, and how long stored containers take to generate their images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hmn.containers.artifact.place import read_run
from hmn.report import results, style
from hmn.report.results import Spread
from hmn.report.style import Drawn

HISTORY_COLUMNS = ("run", "label", "phase", "step", "loss")
TIMING_COLUMNS = ("results", "label", "images", "form", "mean_seconds", "std_seconds", "n", "seconds")


def history(paths: Sequence[Path], labels: Sequence[str]) -> Drawn:
    """The loss of every record along one condensation or several."""
    histories = [results.read_history(path) for path in paths]
    names = [*labels, *(run_words(path) for path in paths[len(labels) :])]
    phases = [phase for phase in results.PHASE_AXES if any(phase in found for found in histories)]
    figure, axes = style.new_figure(3.8 * len(phases), 3.2, 1, len(phases))
    rows: list[tuple[Any, ...]] = []
    together = 1
    for axis, phase in zip(axes.flat, phases, strict=True):
        title, x_label, y_label = results.PHASE_AXES[phase]
        for position, (path, found, name) in enumerate(zip(paths, histories, names, strict=True)):
            points = found.get(phase, [])
            rows += [(str(path), name, phase, step, loss) for step, loss in points]
            if points:
                together, groups = max(together, -(-len(points) // results.MAX_POINTS)), results.binned(points)
                every = max(1, len(groups) // 6)
                style.band_line(axis, groups, style.series(position), name, alpha=0.2, markevery=every)
        # Losses of 0 cannot lie on a logarithmic axis.
        axis.set(title=title, xlabel=x_label, ylabel=y_label)
        if min(row[4] for row in rows if row[2] == phase) > 0:
            axis.set_yscale("log")
            style.plain_ticks(axis.yaxis)
    medians = f"Lines: medians of up to {together} records; bands: their 5th to 95th percentile."
    note = medians if together > 1 else "Lines: every record."
    return style.captioned(figure, axes.flat[-1], HISTORY_COLUMNS, rows, note, across=2)


def run_words(path: Path) -> str:
    """A run's data, budget, recipe and time, else its folder's name."""
    facts = read_run(path)
    if "data" not in facts:
        return path.name
    budget = f"{facts['ipc']} IPC" if "ipc" in facts else ""
    parts = [Path(str(facts["data"])).name, budget, str(facts.get("recipe", ""))]
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
        result = results.read_result(path, results.TIMING)
        machines.append(machine_words(result.get("hardware", {})))
        for row in result["rows"]:
            spread = results.spread_of({"values": row["seconds"]})
            budget = f"{row['label']}\n{row['images']:,} images"
            groups.setdefault(row["form"], {})[budget] = spread
            about = (path.name, row["label"], row["images"], row["form"])
            rows.append((*about, *spread, " ".join(map(str, row["seconds"]))))
    # Where several were timed, each form says how often.
    names = dict(zip(groups, labels, strict=False))
    often = {form: results.same_n(list(group.values())) for form, group in groups.items()}
    named = {f"{names.get(form, form)} ({often[form]})": group for form, group in groups.items()}
    budgets = {budget for group in groups.values() for budget in group}
    figure, axis = style.single(max(3.8, 1.5 * len(budgets) + 1), 3.3)
    style.dots_by_category(axis, named, gap=0.22, number=".2g", offset=(6, -2))
    axis.set(yscale="log", ylabel="Time to generate all images (s)")
    style.plain_ticks(axis.yaxis)
    where = "; ".join(dict.fromkeys(machine for machine in machines if machine))
    note = f"Points: mean ± 1 sd over n repeats{f'; hmn on {where}' if where else ''}."
    return style.captioned(figure, axis, TIMING_COLUMNS, rows, note, across=len(groups))


def machine_words(hardware: Mapping[str, Any]) -> str:
    """The processor or accelerator of a machine; nothing where it is not known."""
    if hardware.get("accelerator"):
        return str(hardware["accelerator"])
    return f"{hardware['cpu']}, {hardware.get('threads', '?')} threads" if hardware.get("cpu") else ""
