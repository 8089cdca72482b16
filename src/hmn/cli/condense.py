"""`hmn condense`: resolve a recipe, choose a container, and run the condensation."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hmn.cli import flags
from hmn.cli.plan import print_plan, shape_facts
from hmn.recipes.settings import Dtype
from hmn.runtime.console import duration, print_facts, print_json

if TYPE_CHECKING:  # it imports torch
    from hmn.condensation.job import Condensed


def condense(
    data: flags.Data,
    /,
    *,
    out: Path,
    ipc: flags.Ipc = None,
    recipe: flags.RecipeName = None,
    minutes: float | None = None,
    config: Path | None = None,
    seed: int | None = None,
    images: flags.Images = None,
    over_budget: str | None = None,
    prune: str | None = None,
    hold_out: flags.Switch = False,
    dtype: Dtype = "float32",
    dry_run: flags.Switch = False,
    force: flags.Force = False,
    resume: flags.Switch = False,
    checkpoint_seconds: float | None = None,
    json: flags.Json = False,
    data_flags: flags.DataFlags = flags.DataFlags(),
    method: flags.MethodFlags = flags.MethodFlags(),
) -> None:
    """Condense a data set into a folder.

    Settings come from flags, then environment variables (HMN_SEED, HMN_CONDENSE_LR), then --config, then the recipe.
    Several processes, each with its own classes: torchrun --nproc-per-node N -m hmn condense ...

    Parameters
    ----------
    out
        Folder to write.
    minutes
        How long fast may take, in minutes of this machine, experts included: some steps are timed, and recipe.toml
        keeps the number of iterations. Without it: 400, a quarter of an hour.
    config
        TOML file of settings, such as a recipe.toml that a run wrote.
    seed
        Seed of everything random.
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
    resume
        Go on from the folder's checkpoint.
    checkpoint_seconds
        Seconds between two checkpoints (default: 30, or 120 times what one takes, where that is more).
    """
    import hmn
    from hmn.cli.prune import checked_beta, print_pruned
    from hmn.runtime.processes import is_first, joined

    how: dict[str, Any] = {"ipc": ipc, "recipe": recipe, "minutes": minutes, "config": config, "seed": seed}
    how |= {"images": images, "over_budget": over_budget, "hold_out": hold_out, "dtype": dtype}
    how |= {"options": flags.data_options(data_flags), "settings": method.given()}
    run: dict[str, Any] = {"out": out, "resume": resume, "force": force, "checkpoint_seconds": checkpoint_seconds}
    # One of three: a plan, a container with the pruning after it, or a container.
    beta = checked_beta(prune, flag="--prune")
    with joined():
        if dry_run:
            print_plan(hmn.plan(data, **how), {"out": str(out)}, as_json=json, toml=True)
        elif beta is not None:
            print_pruned(hmn.condense_and_prune(data, beta=beta, **run, **how), as_json=json)
        else:
            done = hmn.condense(data, **run, **how)
            if is_first():
                summarise(done, as_json=json)


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
    # On the screen, with the command that comes next.
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
