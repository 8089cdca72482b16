"""`hmn sweep`: condense and evaluate over a grid of settings, many runs at a time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from hmn.cli import flags
from hmn.errors import check_at_least
from hmn.recipes.settings import Dtype
from hmn.recipes.values import given_environment
from hmn.runtime.console import as_table, note, print_json, print_table, tell
from hmn.runtime.launched import COMMAND
from hmn.studies.where import Where

if TYPE_CHECKING:
    from hmn.studies.sweep.table import Sweep


def sweep(
    data: flags.Data,
    /,
    *,
    out: Path,
    vary: Annotated[list[str] | None, Parameter(negative=())] = None,
    ipc: flags.Ipc = None,
    recipe: flags.RecipeName = None,
    config: Path | None = None,
    seed: int | None = None,
    images: flags.Images = None,
    dtype: Dtype | None = None,
    on: flags.On = "validation",
    steps: int | None = None,
    each: flags.Switch = False,
    folder: flags.FolderFlags = flags.FolderFlags(),
    data_flags: flags.DataFlags = flags.DataFlags(),
    where: Where = Where(),
    method: flags.MethodFlags = flags.MethodFlags(),
) -> int:
    """Condense and evaluate over a grid of settings, many runs at a time, and print one table.

    Every run has a folder in --out, with what `hmn condense` and `hmn evaluate` write. A run that fails stops no other.

    Parameters
    ----------
    out
        Folder of the sweep. Where several machines work, all of them must see it under this path.
    vary
        setting=value,value,... where the setting is seed, ipc, recipe, container, images, dtype or any flag with a dot,
        such as condense.lr or evaluate.net. May be given several times: every combination is a run. Runs that differ in
        evaluate.* alone share a condensation.
    config
        TOML file of settings; its table [vary] holds lists of values.
    seed
        Seed of everything random in condensing.
    dtype
        How values are stored (default: float32); int4 is also learned so.
    on
        validation: a tenth of the training images, kept from condensing too; choose settings by it. test: the test
        split, for settings that have been chosen.
    steps
        Optimizer steps of the evaluation, in the place of the protocol's.
    each
        Print a row a run where seeds are varied, too.
    """
    from hmn.data.named import absolute
    from hmn.studies.sweep.grid import check_conflicts, read_config, read_flags, settle_runs
    from hmn.studies.sweep.table import Sweep, failures, write_sweep
    from hmn.studies.tasks import RunSettings, StudyData

    how: dict[str, Any] = {"resume": folder.resume, "force": folder.force}
    where.check("a sweep", **how, checkpoint_seconds=folder.checkpoint_seconds)
    check_at_least(1, steps=steps)
    from_file, grid = read_config(config)
    grid |= read_flags(vary or [])
    asked = method.given(seed=seed, ipc=ipc)
    check_conflicts(grid, {**asked, "recipe": recipe, "images": images, "dtype": dtype})
    given = RunSettings(
        data=StudyData(name=absolute(data), options=flags.data_options(data_flags).absolute(), on=on),
        recipe=recipe,
        from_file=from_file,
        settings=given_environment() | asked,
        images=images,
        dtype=dtype or "float32",
        steps=steps,
        checkpoint_seconds=folder.checkpoint_seconds,
        command=tuple(COMMAND.get()),
    )
    splits = given.data.splits()
    runs, points = settle_runs(grid, given, splits)
    whole = Sweep(out=out, runs=runs, points=points, grid=grid, splits=splits, where=where)
    if folder.dry_run:
        print_runs(whole, as_json=folder.json)
        return 0
    table, facts = whole.run(**how)
    # First the screen: a disk that is full must not cost the result.
    if folder.json:
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
    # A row for each evaluation, with the values that vary in columns of their own.
    payloads = {run.name: run.payload for run in whole.runs}
    names = short_names(whole.grid)
    heads = ("run", *names.values(), "ipc", "images per class", "floats", "sweeps", "evaluated on")
    rows = []
    for point in whole.points:
        run = payloads[point.run]
        shape, recipe, how = run.chosen.shape, run.recipe, run.evaluations[point.evaluation]
        sizes = f"{shape.images_each()}", f"{shape.ledger().num_floats:,}", f"{recipe.condense.num_sweeps:,}"
        values = (text(point.values[path]) for path in names)
        rows.append((point.run, *values, str(recipe.ipc), *sizes, f"{how.net}, {how.protocol}, {how.seeds} networks"))
    title = f"{len(whole.runs)} condensations, {len(whole.points)} evaluations"
    print_table(title, as_table(heads, rows, left=heads))
    tell(f"{workers} at a time, {threads} threads each; --backend {whole.where.backend}")


def print_sweep(table: Mapping[str, Any], *, each: bool) -> None:
    """The groups where seeds were varied, else the runs; both with `each`."""
    from hmn.studies.sweep.table import failures, parts_of, sweep_title

    parts = parts_of(table)
    for name in list(parts) if each else list(parts)[:1]:
        print_table(sweep_title(table), as_table(*parts[name], left=("run", "status")))
    for line in failures(table):
        tell(line)
