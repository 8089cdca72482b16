"""`hmn sweep`: condense and evaluate over a grid of settings, many runs at a time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from hmn.cli_console import COMMAND
from hmn.cli_data import DataFlags, Switch
from hmn.cli_settings import (
    CondenseFlags,
    EvaluateFlags,
    MethodFlags,
    SizesFlags,
    given_environment,
    given_flags,
    named,
)
from hmn.cli_sources import read_splits
from hmn.cli_sweep_grid import Dtype, Given, check_conflicts, read_config, read_flags, settle
from hmn.cli_sweep_run import Sweep, print_runs, work
from hmn.cli_where import Where
from hmn.distributed import launched
from hmn.errors import UserError


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
    data_flags: DataFlags | None = None,
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
    shaping = absolute_flags(data_flags or DataFlags())
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


def absolute(data: str) -> str:
    """A data set's name as it is, its path from the root: runs may work in another folder, or on another machine."""
    from hmn.data.named import NAMES

    path = Path(data).expanduser()
    return data if data in NAMES or not path.exists() else str(path.resolve())


def absolute_flags(flags: DataFlags) -> DataFlags:
    """The same flags with the path from the root."""
    return flags if flags.data_dir is None else replace(flags, data_dir=flags.data_dir.expanduser().resolve())
