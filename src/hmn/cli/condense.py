"""`hmn condense`: resolve a recipe, choose a container, and run the condensation."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from hmn.cli.shapes import price_facts, print_ledger, shape_facts
from hmn.recipes.settings import Dtype
from hmn.recipes.values import recipe_to_toml
from hmn.runtime.console import duration, print_facts, print_json, results

if TYPE_CHECKING:  # it imports torch
    from hmn.condensation.job import Condensed, Plan


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
    import hmn
    from hmn.cli.prune import checked_beta, print_pruned
    from hmn.runtime.processes import is_first, joined

    settings = {**given_flags(condense, "condense"), **given_flags(evaluate, "evaluate"), **given_flags(sizes, "sizes")}
    how: dict[str, Any] = {"ipc": ipc, "recipe": recipe, "minutes": minutes, "config": config, "seed": seed}
    how |= {"images": images, "over_budget": over_budget, "hold_out": hold_out, "dtype": dtype}
    how |= {"options": data_options(data_flags), "settings": {**settings, **named(method)}}
    run: dict[str, Any] = {"out": out, "resume": resume, "force": force, "checkpoint_seconds": checkpoint_seconds}
    beta = checked_beta(prune, flag="--prune")
    with joined():
        if dry_run:
            print_plan(hmn.plan(data, **how), out, as_json=json)
        elif beta is not None:
            return print_pruned(hmn.condense_and_prune(data, beta=beta, **run, **how), as_json=json)
        else:
            done = hmn.condense(data, **run, **how)
            if is_first():
                summarise(done, as_json=json)
    return 0


def print_plan(planned: Plan, out: Path, *, as_json: bool) -> None:
    """What would be done, and what it would take."""
    job, toml = planned.job, recipe_to_toml(planned.recipe)
    if as_json:
        over = None if job.over_budget is None else asdict(job.over_budget)
        about = {"data": job.splits.name, "ipc": job.recipe.ipc, "out": str(out), "reason": job.chosen.reason}
        priced = {"recipe_toml": toml, "estimate": planned.estimate._asdict()}
        print_json({**about, "over_budget": over, **shape_facts(planned.shape), **priced})
        return
    console = results()
    console.print(toml, markup=False, soft_wrap=True)
    print_ledger(f"{job.splits.name} at {job.recipe.ipc} ipc", planned.shape)
    console.print()
    print_facts(
        "estimate for this machine, from parts of a sweep timed just now",
        {"sizes": job.chosen.reason, **price_facts(planned.estimate, planned.recipe)},
    )


def summarise(done: Condensed, *, as_json: bool) -> None:
    """Where the result is and what it holds."""
    from hmn.containers.artifact.load import info
    from hmn.containers.artifact.place import PREVIEW, read_run

    job, stored = done.job, info(done.folder)
    over, preview = job.over_budget, str(done.folder / PREVIEW)
    if as_json:
        about: dict[str, Any] = {
            "out": str(done.folder),
            "data": job.splits.name,
            "recipe": job.recipe.name,
            "dtype": stored.dtype,
        }
        about |= {"condense_seconds": done.seconds, "processor_seconds": read_run(done.folder).get("processor_seconds")}
        about |= {"preview": preview, "bytes_stored": stored.value_bytes}
        about |= {"quantisation_error": stored.quantisation_error}
        print_json({**about, "over_budget": None if over is None else asdict(over), **shape_facts(stored.shape)})
        return
    excess = "" if over is None else f", {over.excess_floats:,} over: prune it"
    facts = {
        "images": f"{stored.shape.num_images:,} ({stored.shape.images_each()} per class)",
        "floats": f"{stored.ledger.num_floats:,} of {stored.ledger.budget:,}{excess}",
        "bytes": f"{stored.value_bytes:,} as {stored.dtype}",
    }
    if stored.quantisation_error is not None:
        facts["rounding"] = ", ".join(f"{name} {value:.4f}" for name, value in stored.quantisation_error.items())
    verb = "evaluate" if over is None else "profile"
    facts |= {
        "time": duration(done.seconds),
        "preview": preview,
        "next": f"hmn {verb} {shlex.quote(str(done.folder))}",
    }
    print_facts(f"condensed {job.splits.name} into {done.folder}", facts)
