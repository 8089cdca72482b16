"""`hmn sweep`: condense and evaluate over a grid of settings, many runs at a time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

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
from hmn.containers.shape import images_per_class
from hmn.data.named import absolute
from hmn.errors import UserError
from hmn.measure.candidates import read_splits
from hmn.recipes.values import given_environment
from hmn.runtime.console import COMMAND, print_json, print_table, results
from hmn.runtime.launched import launched
from hmn.studies.sweep.grid import Dtype, Given, check_conflicts, plan_of, read_config, read_flags, settle
from hmn.studies.sweep.run import Sweep, work
from hmn.studies.sweep.table import failures, parts_of, short_names, text, title
from hmn.studies.where import Where


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
    sizes: Annotated[SizesFlags, Parameter(name="sizes")] = None,
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
    if force and resume:
        raise UserError("--force begins anew and --resume goes on: give one of them.")
    if launched().size > 1:
        raise UserError("a sweep starts processes of its own: give the same command to hmn, without torchrun.")
    if steps is not None and steps < 1:
        raise UserError(f"--steps {steps}: expected at least 1.")
    if not checkpoint_seconds >= 0:
        raise UserError(f"--checkpoint-seconds {checkpoint_seconds}: expected 0 or more.")
    where = where or Where()
    where.check()
    from_file, grid = read_config(config)
    grid |= read_flags(vary or [])
    flags = {**given_flags(condense, "condense"), **given_flags(evaluate, "evaluate")}
    flags |= {**given_flags(sizes, "sizes"), **named(method, seed=seed, ipc=ipc)}
    check_conflicts(grid, {**flags, "recipe": recipe, "images": images, "dtype": dtype})
    own = {**given_environment(), **{path: value for path, value in flags.items() if value is not None}}
    shaping = data_options(data_flags).absolute()
    given = Given(
        data=absolute(data), data_flags=shaping, on=on, recipe=recipe, from_file=from_file, own=own, images=images,
        dtype=dtype or "float32", steps=steps, checkpoint_seconds=checkpoint_seconds, command=tuple(COMMAND.get()),
    )  # fmt: skip
    splits = read_splits(given.data, shaping, on)
    runs, points = settle(grid, given, splits)
    wanted = Sweep(out=out, runs=runs, points=points, grid=grid, splits=splits, where=where)
    if dry_run:
        print_runs(wanted, as_json=json)
        return 0
    return work(wanted, resume=resume, force=force, each=each, as_json=json)


def print_runs(wanted: Sweep, *, as_json: bool) -> None:
    """What would be done."""
    workers = wanted.where.workers_for(len(wanted.runs))
    threads = wanted.where.threads_for(workers)
    payloads = {run.name: run.payload for run in wanted.runs}
    if as_json:
        plan = plan_of(wanted.runs, wanted.points, wanted.grid, wanted.splits)
        print_json({"out": str(wanted.out), "workers": workers, "threads_per_run": threads, **plan})
        return
    names = short_names(wanted.grid)
    table = Table(header_style="cyan")
    for head in ("run", *names.values(), "ipc", "images per class", "floats", "sweeps", "evaluated on"):
        table.add_column(escape(head))
    for point in wanted.points:
        payload = payloads[point.run]
        shape, evaluate = payload.chosen.shape, payload.evaluations[point.evaluation]
        table.add_row(
            escape(point.run), *(escape(text(point.values[path])) for path in names), str(payload.recipe.ipc),
            str(images_per_class(shape)), f"{shape.ledger().num_floats:,}", f"{payload.recipe.condense.num_sweeps:,}",
            escape(f"{evaluate.net}, {evaluate.protocol}, {evaluate.seeds} networks"),
        )  # fmt: skip
    print_table(f"{len(wanted.runs)} condensations, {len(wanted.points)} evaluations", table)
    results().print(f"{workers} at a time, {threads} threads each; --backend {wanted.where.backend}", markup=False)


def print_tables(table: Mapping[str, Any], *, each: bool) -> None:
    """The groups where seeds were varied, else the runs; both with `each`."""
    parts = parts_of(table)
    wanted = list(parts) if each else list(parts)[:1]
    for name in wanted:
        head, rows = parts[name]
        shown = Table(header_style="cyan")
        for column in head:
            shown.add_column(escape(column), justify="left" if column in ("run", "status") else "right")
        for cells in rows:
            shown.add_row(*map(escape, cells))
        print_table(title(table), shown)
    for line in failures(table):
        results().print(line, markup=False, soft_wrap=True)
