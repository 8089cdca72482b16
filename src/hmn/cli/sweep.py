"""`hmn sweep`: condense and evaluate over a grid of settings, many runs at a time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from rich.markup import escape
from rich.table import Table

from hmn.cli.flags import (
    CondenseFlags,
    DataParameters,
    EvaluateFlags,
    MethodFlags,
    SizesFlags,
    Switch,
    data_options,
    given_flags,
    named,
)
from hmn.errors import check_at_least
from hmn.recipes.settings import Dtype
from hmn.recipes.values import given_environment
from hmn.runtime.console import note, print_json, print_table, results
from hmn.runtime.launched import COMMAND
from hmn.studies.where import Where

if TYPE_CHECKING:
    from hmn.studies.sweep.table import Sweep


def sweep(
    data: str,
    /,
    *,
    out: Path,
    vary: Annotated[list[str] | None, Parameter(negative=())] = None,
    ipc: int | None = None,
    recipe: str | None = None,
    config: Path | None = None,
    seed: int | None = None,
    images: int | None = None,
    dtype: Dtype | None = None,
    on: Literal["test", "validation"] = "validation",
    steps: int | None = None,
    resume: Switch = False,
    force: Switch = False,
    dry_run: Switch = False,
    each: Switch = False,
    checkpoint_seconds: float = 30.0,
    json: Switch = False,
    data_flags: DataParameters = None,
    where: Where | None = None,
    method: MethodFlags | None = None,
    condense: Annotated[CondenseFlags, Parameter(name="condense")] = None,
    evaluate: Annotated[EvaluateFlags, Parameter(name="evaluate")] = None,
    sizes: SizesFlags = None,
) -> int:
    """Condense and evaluate over a grid of settings, many runs at a time, and print one table.

    Every run has a folder in --out, with what `hmn condense` and `hmn evaluate` write. A run that fails stops no other.

    Parameters
    ----------
    data
        A data set: a name (digits, cifar10, ...) or a path to class folders, Parquet or .npz.
    out
        Folder of the sweep. Where several machines work, all of them must see it under this path.
    vary
        setting=value,value,... where the setting is seed, ipc, recipe, container, images, dtype or any flag with a dot,
        such as condense.lr or evaluate.net. May be given several times: every combination is a run. Runs that differ in
        evaluate.* alone share a condensation.
    ipc
        Images per class whose floats are the budget.
    recipe
        Named settings, as for `hmn condense` (default: cpu).
    config
        TOML file of settings; its table [vary] holds lists of values.
    seed
        Seed of everything random in condensing.
    images
        Generated images per class, in the place of as many as fit.
    dtype
        How values are stored: float32 (the default), float16, int8, or int4, which is also learned so.
    on
        validation: a tenth of the training images, kept from condensing too; choose settings by it. test: the test
        split, for settings that have been chosen.
    steps
        Optimizer steps of the evaluation, in the place of the protocol's.
    resume
        Go on with the sweep in the folder: what is done is kept, what was stopped goes on, what failed is tried again.
    force
        Remove the sweep in the folder and begin anew.
    dry_run
        Print the runs; run none.
    each
        Print a row a run where seeds are varied, too.
    checkpoint_seconds
        Seconds between two checkpoints of a run.
    json
        Print JSON.
    """
    from hmn.data.named import absolute
    from hmn.studies.condensation import RunSettings, StudyData
    from hmn.studies.sweep.grid import check_conflicts, read_config, read_flags, settle_runs
    from hmn.studies.sweep.table import Sweep, failures, write_sweep

    where = where or Where()
    where.check("a sweep", resume=resume, force=force, checkpoint_seconds=checkpoint_seconds)
    check_at_least(1, steps=steps)
    from_file, grid = read_config(config)
    grid |= read_flags(vary or [])
    flags = {**given_flags(condense, "condense"), **given_flags(evaluate, "evaluate")}
    flags |= {**given_flags(sizes, "sizes"), **named(method, seed=seed, ipc=ipc)}
    check_conflicts(grid, {**flags, "recipe": recipe, "images": images, "dtype": dtype})
    given = RunSettings(
        data=StudyData(name=absolute(data), options=data_options(data_flags).absolute(), on=on),
        recipe=recipe,
        from_file=from_file,
        settings={**given_environment(), **{path: value for path, value in flags.items() if value is not None}},
        images=images,
        dtype=dtype or "float32",
        steps=steps,
        checkpoint_seconds=checkpoint_seconds,
        command=tuple(COMMAND.get()),
    )
    splits = given.data.splits()
    runs, points = settle_runs(grid, given, splits)
    whole = Sweep(out=out, runs=runs, points=points, grid=grid, splits=splits, where=where)
    if dry_run:
        print_runs(whole, as_json=json)
        return 0
    table, facts = whole.run(resume=resume, force=force)
    # First the screen: a disk that is full must not cost the result.
    if json:
        print_json({"out": str(out), **table})
    else:
        print_sweep(table, each=each)
    write_sweep(out, table, facts)
    note(f"written: {out / 'table.json'}, with table.md and table.csv beside it")
    return 1 if failures(table) else 0


def print_runs(whole: Sweep, *, as_json: bool) -> None:
    """What would be done."""
    from hmn.studies.sweep.grid import short_names, text

    workers = whole.where.workers_for(len(whole.runs))
    threads = whole.where.threads_for(workers)
    if as_json:
        print_json({"out": str(whole.out), "workers": workers, "threads_per_run": threads, **whole.plan()})
        return
    # A row a point of the grid.
    payloads = {run.name: run.payload for run in whole.runs}
    names = short_names(whole.grid)
    table = Table(header_style="cyan")
    for head in ("run", *names.values(), "ipc", "images per class", "floats", "sweeps", "evaluated on"):
        table.add_column(escape(head))
    for point in whole.points:
        run = payloads[point.run]
        shape, recipe, how = run.chosen.shape, run.recipe, run.evaluations[point.evaluation]
        sizes = f"{shape.images_each()}", f"{shape.ledger().num_floats:,}", f"{recipe.condense.num_sweeps:,}"
        values = (escape(text(point.values[path])) for path in names)
        networks = escape(f"{how.net}, {how.protocol}, {how.seeds} networks")
        table.add_row(escape(point.run), *values, str(recipe.ipc), *sizes, networks)
    print_table(f"{len(whole.runs)} condensations, {len(whole.points)} evaluations", table)
    results().print(f"{workers} at a time, {threads} threads each; --backend {whole.where.backend}", markup=False)


def print_sweep(table: Mapping[str, Any], *, each: bool) -> None:
    """The groups where seeds were varied, else the runs; both with `each`."""
    from hmn.studies.sweep.table import failures, parts_of, sweep_title

    parts = parts_of(table)
    for name in list(parts) if each else list(parts)[:1]:
        head, rows = parts[name]
        shown = Table(header_style="cyan")
        for column in head:
            shown.add_column(escape(column), justify="left" if column in ("run", "status") else "right")
        for cells in rows:
            shown.add_row(*map(escape, cells))
        print_table(sweep_title(table), shown)
    for line in failures(table):
        results().print(line, markup=False, soft_wrap=True)
