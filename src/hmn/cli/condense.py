"""`hmn condense`: resolve a recipe, choose a container, and run the condensation."""

from __future__ import annotations

import shlex
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hmn.cli.flags import (
    CondenseFlags,
    DataParameters,
    EvaluateFlags,
    MethodFlags,
    RecipeName,
    SizesFlags,
    Switch,
    data_options,
    given_flags,
    named,
)
from hmn.cli.ledger import shape_facts
from hmn.cli.plan import print_plan
from hmn.cli.prune import checked_beta, print_pruned
from hmn.condensation.job import Job, condensed, told_about_skipped
from hmn.containers.artifact.place import PREVIEW, RECIPE, read_run
from hmn.containers.choose import checked_ipc, choose_shape, learned_as_stored
from hmn.containers.over_budget import enlarged
from hmn.errors import UserError
from hmn.measure.candidates import read_splits
from hmn.recipes.resolve import resolve
from hmn.recipes.settings import Dtype
from hmn.recipes.values import given_environment, given_file
from hmn.runtime.console import duration, print_facts, print_json
from hmn.runtime.launched import launched
from hmn.runtime.processes import in_turn, is_first, joined
from hmn.studies.pruning.condense_first import OVER, condense_and_prune


@joined()
def condense(
    data: str,
    /,
    *,
    out: Path,
    ipc: int | None = None,
    recipe: RecipeName = None,
    minutes: float | None = None,
    config: Path | None = None,
    seed: int | None = None,
    images: int | None = None,
    over_budget: str | None = None,
    prune: str | None = None,
    hold_out: Switch = False,
    dtype: Dtype = "float32",
    dry_run: Switch = False,
    force: Switch = False,
    resume: Switch = False,
    checkpoint_seconds: float | None = None,
    json: Switch = False,
    data_flags: DataParameters = None,
    method: MethodFlags | None = None,
    condense: Annotated[CondenseFlags, Parameter(name="condense")] = None,
    evaluate: Annotated[EvaluateFlags, Parameter(name="evaluate")] = None,
    sizes: SizesFlags = None,
) -> int:
    """Condense a data set into a folder.

    Settings come from flags, then environment variables (HMN_SEED, HMN_CONDENSE_LR), then --config, then the recipe.
    Several processes, each with its own classes: torchrun --nproc-per-node N -m hmn condense ...

    Parameters
    ----------
    data
        A data set: a name (digits, cifar10, ...) or a path to class folders, Parquet or .npz.
    out
        Folder to write.
    ipc
        Images per class whose floats are the budget.
    minutes
        How long fast may take, in minutes of this machine, experts included: some steps are timed, and recipe.toml
        keeps the number of iterations. Without it: 400, a quarter of an hour.
    config
        TOML file of settings, such as a recipe.toml that a run wrote.
    seed
        Seed of everything random.
    images
        Generated images per class, in the place of as many as fit.
    over_budget
        More images per class than fit, to be pruned: a count, a per cent of those that fit (10%), or preset, the
        published number.
    prune
        With --over-budget: condense into the folder over-budget in --out, profile it, and write the pruned container
        to --out. A share beta from 0 to 1, or auto, which trains 30 networks by the evaluation settings to choose it.
    hold_out
        Condense nine tenths of the training images. The tenth that `--on validation` tests on stays unseen.
    dtype
        How values are stored. int4 is also learned so (--condense.learned-as), but in an hmn container.
    dry_run
        Print the resolved settings, floats, and an estimate of time, memory and operations; condense nothing.
    force
        Write over what the folder holds.
    resume
        Go on from the folder's checkpoint.
    checkpoint_seconds
        Seconds between two checkpoints (default: 30, or 120 times what one takes, where that is more).
    json
        Print JSON.
    """
    from hmn.condensation.check import check_recipe
    from hmn.condensation.dial import in_minutes

    _check_modes(force=force, resume=resume, dry_run=dry_run, minutes=minutes, checkpoint_seconds=checkpoint_seconds)
    _check_counts(images=images, over_budget=over_budget, prune=prune)
    from_file = given_file(config) if config is not None else {}
    _check_settled(config if "cost" in from_file else None, recipe, minutes)
    own = {
        **given_environment(), **given_flags(condense, "condense"), **given_flags(evaluate, "evaluate"),
        **given_flags(sizes, "sizes"), **named(method, seed=seed, minutes=minutes),
    }  # fmt: skip
    given_ipc = (ipc, own.pop("ipc", None), from_file.get("ipc"))
    ipc = checked_ipc(data, next((value for value in given_ipc if value is not None), None))
    beta = checked_beta(prune, flag="--prune")
    flags = data_options(data_flags)
    splits = in_turn(lambda: read_splits(data, flags, "validation" if hold_out else "test"))
    if is_first():
        told_about_skipped(splits)
    train = splits.train
    settings = resolve(recipe, from_file, own, splits, ipc)
    settings = learned_as_stored(settings, dtype, {**from_file, **own})
    chosen = choose_shape(
        splits.name, ipc, image_shape=train.image_shape, num_classes=train.num_classes,
        real_per_class=int(train.labels.bincount(minlength=train.num_classes).min()), images=images,
        container=settings.container, sizes=settings.sizes,
    )  # fmt: skip
    over = None
    if over_budget is not None:
        larger, over = enlarged(chosen.shape, over_budget, data=splits.name, ipc=ipc)
        chosen = replace(chosen, shape=larger, reason=f"{chosen.reason}; {over}")
    check_recipe(settings, image_shape=train.image_shape, num_classes=train.num_classes)
    if settings.minutes is not None and "cost" not in from_file and "condense.epochs" not in {**from_file, **own}:
        begun = (out if beta is None else out / OVER) / RECIPE if not force else None
        settings = in_minutes(settings, splits, chosen.shape, begun=begun)
    job = Job(
        data=data, data_flags=flags, splits=splits, chosen=chosen, recipe=settings, out=out, dtype=dtype,
        over_budget=over, hold_out=hold_out,
    )  # fmt: skip
    if dry_run:
        print_plan(job, as_json=json)
        return 0
    if beta is not None:
        done = condense_and_prune(job, beta, resume=resume, force=force, checkpoint_seconds=checkpoint_seconds)
        return 130 if done is None else print_pruned(done, as_json=json)
    return run(job, resume=resume, force=force, checkpoint_seconds=checkpoint_seconds, as_json=json)


def _check_modes(
    *, force: bool, resume: bool, dry_run: bool, minutes: float | None, checkpoint_seconds: float | None
) -> None:
    if force and resume:
        raise UserError("--force begins anew and --resume goes on: give one of them.")
    if (dry_run or minutes is not None) and launched().size > 1:
        flag = "--dry-run" if dry_run else "--minutes"
        raise UserError(f"{flag} times one process: give the same command to hmn, without torchrun.")
    if checkpoint_seconds is not None and not checkpoint_seconds >= 0:
        raise UserError(f"--checkpoint-seconds {checkpoint_seconds}: expected 0 or more.")


def _check_settled(whole: Path | None, recipe: str | None, minutes: float | None) -> None:
    if whole is not None and recipe is not None:
        raise UserError(f"--recipe {recipe} and --config {whole}, which is a whole recipe: give one of them.")
    if whole is not None and minutes is not None:
        raise UserError(
            f"--minutes {minutes:g} and --config {whole}, which says how many iterations: give one of them."
        )


def _check_counts(*, images: int | None, over_budget: str | None, prune: str | None) -> None:
    if images is not None and over_budget is not None:
        raise UserError("--over-budget adds to as many images as fit, --images replaces them: give one of them.")
    if prune is not None and over_budget is None:
        raise UserError(f"--prune {prune}: prunes into the budget; give --over-budget too, such as 10%.")
    if prune is not None and launched().size > 1:
        raise UserError("--prune starts processes of its own: condense under torchrun, then run hmn prune.")


def run(job: Job, *, resume: bool, force: bool, checkpoint_seconds: float | None, as_json: bool) -> int:
    """Condense, with progress on stderr and a summary on stdout; returns the exit code."""
    done = condensed(job, resume=resume, force=force, checkpoint_seconds=checkpoint_seconds)
    if done and is_first():
        summarise(job, as_json=as_json)
    return 0 if done else 130


def summarise(job: Job, *, as_json: bool) -> None:
    """Where the result is and what it holds."""
    from hmn.containers.artifact.load import info

    written, record = job.out, read_run(job.out)
    seconds = float(record.get("condense_seconds", 0.0))
    stored = info(written)
    if as_json:
        print_json({
            "out": str(written), "data": job.splits.name, "recipe": job.recipe.name, "dtype": stored.dtype,
            "condense_seconds": seconds, "processor_seconds": record.get("processor_seconds"),
            "preview": str(written / PREVIEW),
            "bytes_stored": stored.value_bytes,
            "quantisation_error": stored.quantisation_error,
            "over_budget": None if job.over_budget is None else asdict(job.over_budget), **shape_facts(stored.shape),
        })  # fmt: skip
        return
    facts = {
        "images": f"{stored.shape.num_images:,} ({stored.shape.images_each()} per class)",
        "floats": f"{stored.ledger.num_floats:,} of {stored.ledger.budget:,}"
        + ("" if job.over_budget is None else f", {job.over_budget.excess_floats:,} over: prune it"),
        "bytes": f"{stored.value_bytes:,} as {stored.dtype}",
    }
    if stored.quantisation_error is not None:
        facts["rounding"] = ", ".join(f"{name} {value:.4f}" for name, value in stored.quantisation_error.items())
    facts |= {
        "time": duration(seconds),
        "preview": str(written / PREVIEW),
        "next": f"hmn {'evaluate' if job.over_budget is None else 'profile'} {shlex.quote(str(written))}",
    }
    print_facts(f"condensed {job.splits.name} into {written}", facts)
