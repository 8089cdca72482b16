"""`hmn figure`: a figure from the files of runs and results, with its numbers beside it."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from hmn.cli import flags
from hmn.cli.outputs import need_extra
from hmn.cli.show import chosen_classes
from hmn.errors import UserError, check_at_least
from hmn.runtime.console import print_json, tell

FROM_RESULTS = {
    "pruning-rate": ("accuracy_figures:pruning_rate", "accuracy against pruning rate, of `hmn prune --study`"),
    "iterations": ("accuracy_figures:iterations", "accuracy against training steps, of `hmn evaluate --curve`"),
    "minutes": ("accuracy_figures:minutes", "accuracy against minutes of condensing; equal labels are one line"),
    "schedules": ("accuracy_figures:schedules", "cosine against multi-step, of `hmn evaluate --schedule`"),
    "bytes": ("accuracy_figures:accuracy_by_bytes", "accuracy against bytes stored, of `hmn compare`'s table.json"),
    "generation-time": ("run_figures:generation_time", "seconds to generate, of `benchmarks/bench_generate.py --out`"),
}
"""Figures of result files: the module and function of `hmn.report` that draw them, and what they show."""
FROM_RUNS = {
    "aum-histogram": ("image_figures:aum_histogram", "margins of profiled folders or aum.npz files"),
    "aum-extremes": ("image_figures:aum_extremes", "lowest and highest AUM of a profiled run, a class a row"),
    "aum-grids": ("image_figures:aum_grids", "high, low and random AUM of a profiled run, a class a row"),
    "history": ("run_figures:history", "the loss along condensations"),
}
"""Figures of runs, likewise."""
PER_CLASS = {"aum-extremes": 5, "aum-grids": 8}
"""Figures of one run's images: how many of a class a block shows."""
_KINDS = (("--results", FROM_RESULTS), ("--run", FROM_RUNS))
_SHOWN = (f"{name} ({flag}): {words}." for flag, kind in _KINDS for name, (_, words) in kind.items())
Name: Any = Annotated[Literal[(*FROM_RESULTS, *FROM_RUNS)], Parameter(help=" ".join(_SHOWN))]
SUFFIXES = (".svg", ".png", ".csv")
Paths = Annotated[list[Path] | None, Parameter(consume_multiple=True, negative=())]
Labels = Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())]


def figure(
    name: Name,
    /,
    *,
    out: Path,
    run: Paths = None,
    results_: Annotated[Paths, Parameter(name="--results")] = None,
    label: Labels = None,
    per_class: int | None = None,
    classes: str | None = None,
    force: flags.Force = False,
    json: flags.Json = False,
) -> None:
    """Draw a figure from what runs and evaluations left: SVG, PNG, and the numbers as CSV.

    Parameters
    ----------
    out
        Files to write, without their endings.
    run
        Folders that `hmn condense` wrote, with `aum.npz` of `hmn profile` where margins are drawn.
    results_
        JSON files of results.
    label
        Names for the runs or results, in their order (default: from the files).
    per_class
        Images of a class in a block (default: 5 for aum-extremes, 8 for aum-grids).
    classes
        For images: names or numbers of classes, joined by commas (default: the first ten).
    """
    need_extra("matplotlib", "figures need")
    from hmn.containers.artifact.load import info
    from hmn.containers.artifact.place import need_artifact
    from hmn.report.style import check_free, drawing, write

    stem = out.with_suffix("") if out.suffix.lower() in SUFFIXES else out
    paths = inputs(name, run or [], results_ or [])
    labels = label or []
    check_figure(name, paths, labels, per_class, classes)
    check_free(stem, [*SUFFIXES, *([".md"] if name == "schedules" else [])], force=force)
    # The modules of figures import matplotlib, and each only what it draws.
    module, function = {**FROM_RESULTS, **FROM_RUNS}[name][0].split(":")
    draw = getattr(import_module(f"hmn.report.{module}"), function)
    with drawing():
        if name in PER_CLASS:
            folder = need_artifact(paths[0])
            chosen = None if classes is None else chosen_classes(classes, info(folder).class_names)
            drawn = draw(folder, classes=chosen, number=per_class or PER_CLASS[name])
        else:
            drawn = draw(paths, labels)
        written = write(drawn, stem)
    if json:
        print_json({"figure": name, "written": [str(path) for path in written]})
    else:
        for path in written:
            tell(str(path))


def inputs(name: str, runs: list[Path], result_files: list[Path]) -> list[Path]:
    """The files or folders that a figure is of.

    Raises:
        UserError: none, or of the other kind.
    """
    wanted, other = (result_files, runs) if name in FROM_RESULTS else (runs, result_files)
    flag, other_flag = ("--results", "--run") if name in FROM_RESULTS else ("--run", "--results")
    if other or not wanted:
        got = f"got {other_flag}" if other else "got none"
        raise UserError(f"hmn figure {name} is drawn from {flag}: {got}; see hmn figure --help.")
    if name in PER_CLASS and len(wanted) > 1:
        raise UserError(f"hmn figure {name} is of one run, got {len(wanted)}: draw them one by one.")
    return wanted


def check_figure(
    name: str, paths: Sequence[Path], labels: Sequence[str], per_class: int | None, classes: str | None
) -> None:
    """Refuse flags that would do nothing.

    Raises:
        UserError: a flag of figures of images for another figure, too many labels, or no images.
    """
    for flag, value in (("--per-class", per_class), ("--classes", classes)):
        if value is not None and name not in PER_CLASS:
            raise UserError(f"{flag} {value}: hmn figure {name} shows no images; it is for {' and '.join(PER_CLASS)}.")
    check_at_least(1, per_class=per_class)
    if labels and name in PER_CLASS:
        raise UserError(f"--label {labels[0]}: hmn figure {name} names classes alone.")
    if name != "generation-time" and len(labels) > len(paths):
        raise UserError(f"--label: got {len(labels)} names for {len(paths)} files.")
