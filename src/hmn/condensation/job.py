"""`hmn.condense` and `hmn.plan`: a condensation settled from what was asked for, priced, or run in its folder."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, final

from hmn.condensation.check import check_recipe
from hmn.condensation.cost.operations import DEFAULT_TFLOPS, Reckoned, reckon
from hmn.condensation.cost.price import Estimate, in_minutes, price
from hmn.condensation.run import condense_run
from hmn.condensation.state import CondenseRecord
from hmn.containers.artifact.load import CondensedImages, load
from hmn.containers.artifact.place import RECIPE, WHAT_FROM, read_run
from hmn.containers.artifact.run_data import read_splits
from hmn.containers.choose import Chosen, OverBudget, checked_ipc, choose_shape, enlarged_shape, learned_as_stored
from hmn.containers.shape import Shape
from hmn.data.named import NAMES
from hmn.data.options import DataOptions
from hmn.data.real import Splits
from hmn.errors import UserError
from hmn.recipes.kinds import OBJECTIVES
from hmn.recipes.named import resolve
from hmn.recipes.settings import Dtype, Recipe
from hmn.recipes.values import given_environment, given_file, given_table
from hmn.runtime.console import OnProgress, ProgressView, note, reported_to
from hmn.runtime.launched import check_alone, check_flags
from hmn.runtime.processes import in_turn, is_first

PHASES = {"experts": "experts' epochs", "start": "fitting", "condense": "matching"}
"""Phases of a run as progress names them."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A condensation with everything settled."""

    data: Any
    """As it was given: a name, a path, or images in memory."""
    options: DataOptions
    splits: Splits
    chosen: Chosen
    recipe: Recipe
    dtype: Dtype
    over_budget: OverBudget | None = None
    hold_out: bool = False
    """Whether `splits` lacks the validation tenth of the training images."""

    @property
    def shape(self) -> Shape:
        return self.chosen.shape

    def run(self, out: Path, *, resume: bool, force: bool, checkpoint_seconds: float | None) -> None:
        """Condense into a folder, with progress. Raises UserError, Interruption, ProcessLost: as
        `hmn.condensation.run.condense_run`.
        """
        if is_first():
            about = f"{self.splits.name}: {len(self.splits.train):,} images -> {self.shape.images_each()} per class"
            floats = f"{self.shape.ledger().num_floats:,} of {self.shape.budget:,} floats"
            note(f"{about} in {floats}; recipe {self.recipe.name}: {self.recipe.cost}")
            if self.over_budget is not None:
                note(f"{self.over_budget}.")
        how: dict[str, Any] = {"resume": resume, "force": force, "checkpoint_seconds": checkpoint_seconds}
        how |= {"dtype": self.dtype, "record": self.record(), "over_budget": self.over_budget is not None}
        with ProgressView(quiet=not is_first()) as view:

            def show(step: CondenseRecord) -> None:
                view.show(PHASES.get(step.phase, step.phase), step.done, step.total, f"loss {step.loss:.4g}")

            condense_run(self.splits, self.shape, self.recipe, out, on_progress=show, **how)

    def record(self) -> dict[str, Any]:
        """What the run's record says of the data, so that `hmn evaluate` finds them again from any folder."""
        data = None
        if isinstance(self.data, str | PathLike):
            path = Path(self.data).expanduser()
            data = str(self.data if self.data in NAMES or not path.exists() else path.resolve())
        return {
            "data": data,
            "data_flags": self.options.recorded(),
            "recipe": self.recipe.name,
            "ipc": self.recipe.ipc,
            "condensed_from": WHAT_FROM["validation" if self.hold_out else "test"],
            "over_budget": None if self.over_budget is None else asdict(self.over_budget),
        }


@final
@dataclass(frozen=True, kw_only=True)
class Condensed:
    """A folder that was condensed; it may stand for the folder's path."""

    folder: Path
    job: Job

    def __fspath__(self) -> str:
        return str(self.folder)

    @property
    def images(self) -> CondensedImages:
        """What the container generates, as a torch Dataset of images and labels."""
        return load(self.folder)

    @property
    def recipe(self) -> Recipe:
        return self.job.recipe

    @property
    def seconds(self) -> float:
        """How long it took, all attempts together."""
        return float(read_run(self.folder).get("condense_seconds", 0.0))


@final
@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a condensation would be, and what it would take on this machine."""

    job: Job
    estimate: Estimate
    """Seconds, bytes of memory and operations, from some steps that were timed."""
    reckoned: Reckoned | None = None
    """What it would take on GPUs that are not here, where that was asked for."""

    @property
    def recipe(self) -> Recipe:
        return self.job.recipe

    @property
    def shape(self) -> Shape:
        """Sizes of the container; `shape.ledger()` counts them."""
        return self.job.shape


def condense(
    data: Any,
    *,
    out: str | PathLike[str],
    resume: bool = False,
    force: bool = False,
    checkpoint_seconds: float | None = None,
    on_progress: OnProgress | None = None,
    **asked: Any,
) -> Condensed:
    """Condense a data set into a folder, or go on with that.

    Interrupted (Ctrl-C, SIGTERM) and resumed, it ends with the same container to the bit.

    Args:
        data: a name, a path, or images in memory, as `hmn.load_data` takes them.
        out: the folder to write.
        resume: go on from the folder's checkpoint.
        force: write over what the folder holds.
        checkpoint_seconds: between two checkpoints; None is 30, or 120 times what one takes, where that is more.
        on_progress: called with an `hmn.Progress` after every step, in the place of progress on stderr.
        asked: what to condense into and how, as for `hmn.condensation.job.settle`: ipc, recipe, minutes, config,
            settings, seed, images, over_budget, hold_out, dtype, options.

    Raises:
        UserError: the data cannot be read, a setting makes no sense, or the folder is in use; before it is touched.
        Interruption: a signal came; a checkpoint is in the folder.
    """
    check_flags(resume=resume, force=force, checkpoint_seconds=checkpoint_seconds)
    folder = Path(out)
    with reported_to(on_progress):
        job = settle(data, begun=None if force else folder, **asked)
        job.run(folder, resume=resume, force=force, checkpoint_seconds=checkpoint_seconds)
    return Condensed(folder=folder, job=job)


def plan(data: Any, *, gpus: int | None = None, tflops: float | None = None, **asked: Any) -> Plan:
    """What `hmn.condense` would do with the same arguments, and what it would take on this machine; writes nothing.

    Args:
        data, asked: as for `hmn.condense`.
        gpus: also reckon, without measuring, the time on so many GPUs that share the classes.
        tflops: rate assumed of each, in 10^12 operations a second; None is DEFAULT_TFLOPS.

    Raises:
        UserError: as `hmn.condense`, or GPUs or a rate that make no sense.
    """
    check_alone("--dry-run times one process")
    if tflops is not None and gpus is None:
        raise UserError(f"--tflops {tflops}: a rate is assumed of GPUs: give --gpus too.")
    assumed = DEFAULT_TFLOPS if tflops is None else tflops
    if gpus is not None:
        reckon(0, 0, gpus=gpus, tflops=assumed)  # refuse what makes no sense before anything is read
    job = settle(data, **asked)
    objective = job.recipe.condense.objective
    if gpus is not None and gpus > 1 and not OBJECTIVES.load(objective).divisible:
        raise UserError(f"--gpus {gpus}: --objective {objective} runs in one process: give --gpus 1.")
    note("timing parts of a sweep on this machine, about ten seconds ...")
    priced = price(job.splits, job.shape, job.recipe)
    reckoned = None if gpus is None else priced.reckoned(gpus=gpus, tflops=assumed)
    return Plan(job=job, estimate=priced.estimate, reckoned=reckoned)


def settle(
    data: Any,
    *,
    ipc: int | None = None,
    recipe: str | None = None,
    minutes: float | None = None,
    config: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int | None = None,
    images: int | None = None,
    over_budget: str | None = None,
    hold_out: bool = False,
    dtype: Dtype = "float32",
    options: DataOptions | None = None,
    begun: Path | None = None,
) -> Job:
    """Read the data, and settle the recipe and the container's sizes. What is given goes before HMN_* variables, these
    before `config`, that before the recipe.

    Args:
        data: as for `hmn.condense`.
        ipc: images per class whose floats are the budget.
        recipe: a name of `hmn list`; None for the default.
        minutes: how long a recipe with a dial may take on this machine, which is found by timing some steps.
        config: a TOML file of settings, such as a recipe.toml that a run wrote.
        settings: single settings by their paths, such as {"condense.lr": 0.02, "sizes.coefficients": 128}.
        seed: of everything random.
        images: generated images per class, in the place of as many as fit.
        over_budget: more images than fit, to be pruned: a count, a per cent of those that fit ("10%"), or "preset".
        hold_out: leave a tenth of the training images out, for `on="validation"`.
        dtype: how values are stored: "float32", "float16", "int8" or "int4".
        options: how to find and read the data.
        begun: a run's folder whose number of iterations is taken where its minutes are these.

    Raises:
        UserError: as it says.
    """
    if images is not None and over_budget is not None:
        raise UserError("--over-budget adds to as many images as fit, --images replaces them: give one of them.")
    if minutes is not None:
        check_alone("--minutes times one process")
    from_file = given_file(config) if config is not None else {}
    if "cost" in from_file and recipe is not None:
        raise UserError(f"--recipe {recipe} and --config {config}, which is a whole recipe: give one of them.")
    if "cost" in from_file and minutes is not None:
        what = f"--config {config}, which says how many iterations"
        raise UserError(f"--minutes {minutes:g} and {what}: give one of them.")
    named = {"seed": seed, "minutes": minutes}
    given = {**given_environment(), **given_table(settings or {}, origin="settings")}
    given |= {key: value for key, value in named.items() if value is not None}
    asked_ipc = (ipc, given.pop("ipc", None), from_file.get("ipc"))
    words = data if isinstance(data, str | PathLike) else getattr(data, "name", "the data")
    ipc = checked_ipc(str(words), next((value for value in asked_ipc if value is not None), None))

    # The data, one process of a machine after the other: they share a cache.
    options = options or DataOptions()
    splits = in_turn(lambda: read_splits(data, options, "validation" if hold_out else "test"))
    if splits.skipped and is_first():
        note(f"{splits.skipped:,} bad {'image was' if splits.skipped == 1 else 'images were'} skipped.")

    # The recipe, and the container that it names.
    found, chosen = recipe_and_sizes(splits, ipc, recipe, from_file, given, dtype=dtype, images=images)
    over = None
    if over_budget is not None:
        larger, over = enlarged_shape(chosen.shape, over_budget, data=splits.name, ipc=ipc)
        chosen = replace(chosen, shape=larger, reason=f"{chosen.reason}; {over}")
    if found.minutes is not None and "cost" not in from_file and "condense.epochs" not in {**from_file, **given}:
        found = in_minutes(found, splits, chosen.shape, begun=None if begun is None else begun / RECIPE)
    about: dict[str, Any] = {"data": data, "options": options, "splits": splits, "hold_out": hold_out}
    return Job(chosen=chosen, recipe=found, dtype=dtype, over_budget=over, **about)


def recipe_and_sizes(
    splits: Splits,
    ipc: int,
    name: str | None,
    from_file: Mapping[str, Any],
    given: Mapping[str, Any],
    *,
    dtype: Dtype,
    images: int | None,
) -> tuple[Recipe, Chosen]:
    """The recipe for these data and this budget, checked, and the sizes of the container that it names; as `settle`."""
    found = resolve(name, from_file, given, splits.fitted(ipc))
    found = learned_as_stored(found, dtype, {**from_file, **given})
    train = splits.train
    about: dict[str, Any] = {"image_shape": train.image_shape, "num_classes": train.num_classes}
    check_recipe(found, **about)
    about |= {"real_per_class": train.fewest, "container": found.container, "sizes": found.sizes}
    return found, choose_shape(splits.name, ipc, images=images, **about)
