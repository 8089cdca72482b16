"""`hmn condense`: resolve a recipe, choose a container, and run the condensation."""

from __future__ import annotations

import json as json_module
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from cyclopts import Parameter

from hmn.cli_console import ProgressView, command_line, duration, note, print_facts, print_json, results, size
from hmn.cli_data import DEFAULT_RECIPE, RUN_FILE, SHAPING_FLAGS, DataFlags, Switch, read_data
from hmn.cli_ledger import Chosen, choose_shape, images_per_class, print_ledger, shape_facts
from hmn.cli_settings import (
    CondenseFlags,
    EvaluateFlags,
    changed,
    given_environment,
    given_file,
    given_flags,
    settings_of,
)
from hmn.errors import UserError
from hmn.settings import Recipe

if TYPE_CHECKING:
    from hmn.data.real import Splits
    from hmn.run import Progress

PHASES = {"start": "fitting", "condense": "matching"}


def condense(
    data: str,
    /,
    *,
    out: Path,
    ipc: int | None = None,
    recipe: str | None = None,
    config: Path | None = None,
    seed: int | None = None,
    images: int | None = None,
    dtype: Literal["float32", "float16", "int8"] = "float32",
    dry_run: Switch = False,
    force: Switch = False,
    resume: Switch = False,
    checkpoint_seconds: float = 30.0,
    json: Switch = False,
    data_flags: DataFlags | None = None,
    condense: Annotated[CondenseFlags, Parameter(name="condense")] = None,
    evaluate: Annotated[EvaluateFlags, Parameter(name="evaluate")] = None,
) -> int:
    """Condense a data set into a folder.

    Settings come from flags, then environment variables (HMN_CONDENSE_LR), then --config, then the recipe.

    Parameters
    ----------
    data
        A data set: a name (digits, cifar10, ...) or a path to class folders, Parquet or .npz.
    out
        Folder to write.
    ipc
        Images per class whose floats are the budget.
    recipe
        Named settings: paper, cpu (the default) or quick; each states its cost with --dry-run.
    config
        TOML file of settings, such as a recipe.toml that a run wrote.
    seed
        Seed of everything random.
    images
        Generated images per class, in the place of as many as fit.
    dtype
        How values are stored.
    dry_run
        Print the resolved settings, floats, memory and an estimate of the time; condense nothing.
    force
        Write over what the folder holds.
    resume
        Go on from the folder's checkpoint.
    checkpoint_seconds
        Seconds between two checkpoints.
    json
        Print JSON.
    """
    if force and resume:
        raise UserError("--force begins anew and --resume goes on: give one of them.")
    from_file = given_file(config) if config is not None else {}
    own = {**given_environment(), **given_flags(condense, "condense"), **given_flags(evaluate, "evaluate")}
    own |= {} if seed is None else {"seed": seed}
    ipc = ipc if ipc is not None else from_file.get("ipc")
    if ipc is None:
        raise UserError(f"{data}: give --ipc, the images per class whose floats are the budget.")
    if ipc < 1:
        raise UserError(f"--ipc {ipc}: expected at least 1 image per class.")
    if not checkpoint_seconds >= 0:
        raise UserError(f"--checkpoint-seconds {checkpoint_seconds}: expected 0 or more.")
    flags = data_flags or DataFlags()
    splits = read_data(data, flags)
    told_about_skipped(splits)
    train = splits.train
    chosen = choose_shape(
        splits.name, ipc, image_shape=train.image_shape, num_classes=train.num_classes,
        real_per_class=int(train.labels.bincount(minlength=train.num_classes).min()), images=images,
    )  # fmt: skip
    settings = resolve(recipe, from_file, own, splits, ipc)
    job = Job(data=data, data_flags=flags, splits=splits, chosen=chosen, recipe=settings, out=out, dtype=dtype)
    if dry_run:
        print_plan(job, as_json=json)
        return 0
    return run(job, resume=resume, force=force, checkpoint_seconds=checkpoint_seconds, as_json=json)


@dataclass(frozen=True, kw_only=True)
class Job:
    """A condensation with everything settled."""

    data: str
    data_flags: DataFlags
    splits: Splits
    chosen: Chosen
    recipe: Recipe
    out: Path
    dtype: Literal["float32", "float16", "int8"]


def told_about_skipped(splits: Splits) -> None:
    """Say how many bad images were left out."""
    if splits.skipped:
        note(f"{splits.skipped:,} bad images were skipped.")


def resolve(name: str | None, from_file: Mapping[str, Any], own: Mapping[str, Any], splits: Splits, ipc: int) -> Recipe:
    """The recipe with the file's settings, then one's own, put over it."""
    from hmn.recipe import recipe as named_recipe

    if "cost" in from_file:  # a whole recipe, as a run writes it; TOML has no null, so what is absent is None
        absent = {
            setting.path: None
            for setting in settings_of(Recipe)
            if NoneType in get_args(setting.kind) and setting.path not in from_file
        }
        whole = {**absent, **from_file, "ipc": ipc}
        base = Recipe(name=from_file.get("name", "file"), cost=from_file["cost"], ipc=ipc)
        return changed(replace(changed(base, whole), name=base.name), own)
    base = named_recipe(
        name or from_file.get("name", DEFAULT_RECIPE),
        dataset=splits.name,
        ipc=ipc,
        image_shape=splits.train.image_shape,
        num_classes=splits.train.num_classes,
    )
    return changed(base, {**{path: value for path, value in from_file.items() if path not in ("name", "ipc")}, **own})


def print_plan(job: Job, *, as_json: bool) -> None:
    """What would be done, and what it would take."""
    from hmn.recipe import recipe_to_toml
    from hmn.run import estimate

    note("timing a few steps on this machine ...")
    timed = estimate(job.splits, job.chosen.shape, job.recipe)
    toml = recipe_to_toml(job.recipe)
    if as_json:
        print_json({
            "data": job.splits.name, "ipc": job.recipe.ipc, "out": str(job.out), "reason": job.chosen.reason,
            **shape_facts(job.chosen.shape), "recipe_toml": toml, "estimate": timed._asdict(),
        })  # fmt: skip
        return
    console = results()
    console.print(toml, markup=False, soft_wrap=True)
    print_ledger(f"{job.splits.name} at {job.recipe.ipc} ipc", job.chosen.shape)
    facts = {
        "sizes": job.chosen.reason,
        "fitting": duration(timed.start_seconds),
        "matching": f"{job.recipe.condense.num_sweeps:,} sweeps of {timed.seconds_per_sweep:.2f} s",
        "time in all": f"about {duration(timed.total_seconds)}",
        "peak memory": size(timed.peak_memory_bytes),
    }
    console.print()
    print_facts("estimate on this machine", facts)


def run(job: Job, *, resume: bool, force: bool, checkpoint_seconds: float, as_json: bool) -> int:
    """Condense, with progress on stderr and a summary on stdout."""
    from hmn.run import Interrupted, condense_run

    shape = job.chosen.shape
    note(
        f"{job.splits.name}: {len(job.splits.train):,} images -> {images_per_class(shape)} per class in "
        f"{shape.ledger().num_floats:,} of {shape.budget:,} floats; recipe {job.recipe.name}: "
        f"{job.recipe.cost}"
    )
    with ProgressView() as view:

        def show(progress: Progress) -> None:
            view.show(
                PHASES.get(progress.phase, progress.phase),
                progress.done,
                progress.total,
                f"loss {progress.loss:.4g}",
            )

        try:
            written = condense_run(
                job.splits, shape, job.recipe, job.out, resume=resume, force=force, dtype=job.dtype,
                command=command_line(), on_progress=show, checkpoint_seconds=checkpoint_seconds,
            )  # fmt: skip
        except Interrupted:
            interrupted = True
        else:
            interrupted = False
    if interrupted:
        print(
            f"hmn: interrupted; a checkpoint is in {job.out}: run the same command with --resume to go on.",
            file=sys.stderr,
        )
        return 130
    summarise(job, record_data(job, written), as_json=as_json)
    return 0


def record_data(job: Job, written: Path) -> dict[str, Any]:
    """Add to the run's record where `hmn evaluate` finds the data again; the whole record."""
    from hmn.runtime import write_atomically

    path = written / RUN_FILE
    record = dict(json_module.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}
    shaping = {name: value for name, value in asdict(job.data_flags).items() if name in SHAPING_FLAGS}
    record |= {"data": job.data, "data_flags": shaping, "recipe": job.recipe.name, "ipc": job.recipe.ipc}
    write_atomically(path, (json_module.dumps(record, indent=2, sort_keys=True) + "\n").encode())
    return record


def summarise(job: Job, record: dict[str, Any], *, as_json: bool) -> None:
    """Where the result is and what it holds."""
    from hmn.artifact_load import info

    written, seconds = job.out, float(record.get("condense_seconds", 0.0))
    stored = info(written)
    if as_json:
        print_json({
            "out": str(written), "data": job.splits.name, "recipe": job.recipe.name, "dtype": stored.dtype,
            "condense_seconds": seconds, "preview": str(written / "preview.png"),
            "bytes_stored": stored.value_bytes,
            "quantisation_error": stored.quantisation_error, **shape_facts(stored.shape),
        })  # fmt: skip
        return
    facts = {
        "images": f"{stored.shape.num_images:,} ({images_per_class(stored.shape)} per class)",
        "floats": f"{stored.ledger.num_floats:,} of {stored.ledger.budget:,}",
        "bytes": f"{stored.value_bytes:,} as {stored.dtype}",
    }
    if stored.quantisation_error is not None:
        facts["rounding"] = ", ".join(f"{name} {value:.4f}" for name, value in stored.quantisation_error.items())
    facts |= {
        "time": duration(seconds),
        "preview": str(written / "preview.png"),
        "next": f"hmn evaluate {shlex.quote(str(written))}",
    }
    print_facts(f"condensed {job.splits.name} into {written}", facts)
