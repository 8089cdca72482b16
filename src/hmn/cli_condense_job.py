"""A condensation as the command line runs it: its settings resolved, its plan or its run, its record and summary."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, get_args

from hmn.cli_console import ProgressView, command_line, duration, note, print_facts, print_json, results
from hmn.cli_container import Chosen
from hmn.cli_data import DEFAULT_RECIPE, SHAPING_FLAGS, DataFlags
from hmn.cli_ledger import images_per_class, memory_size, print_ledger, shape_facts
from hmn.cli_objective import check_used
from hmn.cli_record import WHAT_FROM
from hmn.cli_settings import changed, content, settings_of
from hmn.cli_sources import read_run
from hmn.distributed import is_first
from hmn.over_budget import OverBudget
from hmn.settings import OWN_LOOPS, Dtype, Recipe, SizesConfig

if TYPE_CHECKING:
    from hmn.data.real import Splits
    from hmn.price import Estimate
    from hmn.run import Progress

PHASES = {"experts": "experts' epochs", "start": "fitting", "condense": "matching"}
SIZES = [setting.path for setting in settings_of(SizesConfig, "sizes.")]


@dataclass(frozen=True, kw_only=True)
class Job:
    """A condensation with everything settled."""

    data: str
    data_flags: DataFlags
    splits: Splits
    chosen: Chosen
    recipe: Recipe
    out: Path
    dtype: Dtype
    over_budget: OverBudget | None = None
    hold_out: bool = False
    """Whether `splits` lacks the validation tenth of the training images."""


def told_about_skipped(splits: Splits) -> None:
    """Say how many bad images were left out."""
    if splits.skipped:
        note(f"{splits.skipped:,} bad {'image was' if splits.skipped == 1 else 'images were'} skipped.")


def resolve(name: str | None, from_file: Mapping[str, Any], own: Mapping[str, Any], splits: Splits, ipc: int) -> Recipe:
    """The recipe with the file's settings, then one's own, put over it.

    Raises:
        UserError: no such recipe, or a setting of one's own that its objective does not read.
    """
    found = _resolved(name, from_file, own, splits, ipc)
    check_used(found, own)
    return found


def _resolved(
    name: str | None, from_file: Mapping[str, Any], own: Mapping[str, Any], splits: Splits, ipc: int
) -> Recipe:
    from hmn.recipe import ALIASES, RECIPES
    from hmn.recipe import recipe as named_recipe

    def named(name: str) -> Recipe:
        train = splits.train
        return named_recipe(
            name, dataset=splits.name, ipc=ipc, image_shape=train.image_shape, num_classes=train.num_classes,
            std=train.normalisation.std,
        )  # fmt: skip

    if "cost" not in from_file:
        base = named(name or from_file.get("name", DEFAULT_RECIPE))
        given = {**{path: value for path, value in from_file.items() if path not in ("name", "ipc")}, **own}
        if given.get("container", base.container) != base.container:
            given = {**dict.fromkeys(SIZES), **given}  # the recipe's sizes are of its own container
        return changed(base, given)
    whole = whole_recipe({**from_file, "ipc": ipc})
    title = whole.name
    # Settings may have been edited in the file: it keeps a recipe's name only where it holds that recipe's settings.
    edited = title in (*RECIPES, *ALIASES) and content(named(title)) != content(whole)
    return changed(replace(whole, name=f"{title}-changed" if edited else title), own)


def learned_as_stored(recipe: Recipe, dtype: str, given: Mapping[str, Any]) -> Recipe:
    """The recipe for values that are stored as `dtype`: int4 is also learned so, where `given` does not say how."""
    if dtype != "int4" or recipe.container == "hmn" or "condense.learned_as" in given:
        return recipe
    return changed(recipe, {"condense.learned_as": dtype})


def whole_recipe(values: Mapping[str, Any]) -> Recipe:
    """The recipe in a file of all settings, as a run writes it; TOML has no null, so what is absent is None."""
    absent = {
        setting.path: None
        for setting in settings_of(Recipe)
        if NoneType in get_args(setting.kind) and setting.path not in values
    }
    title = values.get("name", "file")
    found = changed(Recipe(name=title, cost=values["cost"], ipc=values["ipc"]), {**absent, **values})
    return replace(found, name=title, cost=values["cost"])


def print_plan(job: Job, *, as_json: bool) -> None:
    """What would be done, and what it would take."""
    from hmn.price import estimate
    from hmn.recipe import recipe_to_toml

    note("timing parts of a sweep on this machine, about ten seconds ...")
    priced = estimate(job.splits, job.chosen.shape, job.recipe)
    toml = recipe_to_toml(job.recipe)
    if as_json:
        print_json({
            "data": job.splits.name, "ipc": job.recipe.ipc, "out": str(job.out), "reason": job.chosen.reason,
            "over_budget": None if job.over_budget is None else asdict(job.over_budget),
            **shape_facts(job.chosen.shape), "recipe_toml": toml, "estimate": priced._asdict(),
        })  # fmt: skip
        return
    console = results()
    console.print(toml, markup=False, soft_wrap=True)
    print_ledger(f"{job.splits.name} at {job.recipe.ipc} ipc", job.chosen.shape)
    console.print()
    print_facts(
        "estimate for this machine, from parts of a sweep timed just now",
        {"sizes": job.chosen.reason, **price_facts(priced, job.recipe)},
    )


def price_facts(priced: Estimate, recipe: Recipe) -> dict[str, str]:
    """What a run takes, in words."""
    matching = f"{recipe.condense.num_sweeps:,} sweeps of {priced.seconds_per_sweep:.3g} s "
    matching += f"({priced.update_seconds:.2g} s of it the network's own training)"
    unit = "a sweep"
    if recipe.condense.objective in OWN_LOOPS:
        matching = f"{recipe.condense.num_sweeps:,} iterations of {priced.seconds_per_sweep:.3g} s"
        unit = "an iteration"
    experts = {"experts": duration(priced.expert_seconds)} if recipe.condense.objective == "trajectory" else {}
    return {
        "fitting": duration(priced.start_seconds),
        **experts,
        "matching": matching,
        "time in all": f"about {duration(priced.total_seconds)}",
        "peak memory": memory_size(priced.peak_memory_bytes),
        "operations": f"{priced.operations_per_sweep:.3g} {unit}, {priced.total_operations:.3g} in all "
        "(convolutions and matrix products, a multiply-add counted as two)",
    }


def run(job: Job, *, resume: bool, force: bool, checkpoint_seconds: float | None, as_json: bool) -> int:
    """Condense, with progress on stderr and a summary on stdout; returns the exit code."""
    done = condensed(job, resume=resume, force=force, checkpoint_seconds=checkpoint_seconds)
    if done and is_first():
        summarise(job, as_json=as_json)
    return 0 if done else 130


def condensed(job: Job, *, resume: bool, force: bool, checkpoint_seconds: float | None) -> bool:
    """Condense into the job's folder, with progress on stderr; False where a signal stopped it at a checkpoint."""
    from hmn.run import Interrupted, condense_run

    shape = job.chosen.shape
    if is_first():
        note(
            f"{job.splits.name}: {len(job.splits.train):,} images -> {images_per_class(shape)} per class in "
            f"{shape.ledger().num_floats:,} of {shape.budget:,} floats; recipe {job.recipe.name}: "
            f"{job.recipe.cost}"
        )
        if job.over_budget is not None:
            note(f"{job.over_budget}.")
    with ProgressView(quiet=not is_first()) as view:

        def show(progress: Progress) -> None:
            view.show(
                PHASES.get(progress.phase, progress.phase),
                progress.done,
                progress.total,
                f"loss {progress.loss:.4g}",
            )

        try:
            condense_run(
                job.splits, shape, job.recipe, job.out, resume=resume, force=force, dtype=job.dtype,
                command=command_line(), on_progress=show, checkpoint_seconds=checkpoint_seconds,
                record=record_data(job), over_budget=job.over_budget is not None,
            )  # fmt: skip
        except Interrupted:
            interrupted = True
        else:
            interrupted = False
    if interrupted and is_first():
        print(
            f"hmn: interrupted; a checkpoint is in {job.out}: run the same command with --resume to go on.",
            file=sys.stderr,
        )
    return not interrupted


def record_data(job: Job) -> dict[str, Any]:
    """What the run's record says of the data, so that `hmn evaluate` finds them again from any folder."""
    from hmn.data.named import NAMES

    path = Path(job.data).expanduser()
    data = job.data if job.data in NAMES or not path.exists() else str(path.resolve())
    flags = {name: getattr(job.data_flags, name) for name in SHAPING_FLAGS}
    shaping = {name: str(value.resolve()) if isinstance(value, Path) else value for name, value in flags.items()}
    return {
        "data": data, "data_flags": shaping, "recipe": job.recipe.name, "ipc": job.recipe.ipc,
        "condensed_from": WHAT_FROM["validation" if job.hold_out else "test"],
        "over_budget": None if job.over_budget is None else asdict(job.over_budget),
    }  # fmt: skip


def summarise(job: Job, *, as_json: bool) -> None:
    """Where the result is and what it holds."""
    from hmn.artifact_load import info

    written, record = job.out, read_run(job.out)
    seconds = float(record.get("condense_seconds", 0.0))
    stored = info(written)
    if as_json:
        print_json({
            "out": str(written), "data": job.splits.name, "recipe": job.recipe.name, "dtype": stored.dtype,
            "condense_seconds": seconds, "processor_seconds": record.get("processor_seconds"),
            "preview": str(written / "preview.png"),
            "bytes_stored": stored.value_bytes,
            "quantisation_error": stored.quantisation_error,
            "over_budget": None if job.over_budget is None else asdict(job.over_budget), **shape_facts(stored.shape),
        })  # fmt: skip
        return
    facts = {
        "images": f"{stored.shape.num_images:,} ({images_per_class(stored.shape)} per class)",
        "floats": f"{stored.ledger.num_floats:,} of {stored.ledger.budget:,}"
        + ("" if job.over_budget is None else f", {job.over_budget.excess_floats:,} over: prune it"),
        "bytes": f"{stored.value_bytes:,} as {stored.dtype}",
    }
    if stored.quantisation_error is not None:
        facts["rounding"] = ", ".join(f"{name} {value:.4f}" for name, value in stored.quantisation_error.items())
    facts |= {
        "time": duration(seconds),
        "preview": str(written / "preview.png"),
        "next": f"hmn {'evaluate' if job.over_budget is None else 'profile'} {shlex.quote(str(written))}",
    }
    print_facts(f"condensed {job.splits.name} into {written}", facts)
