"""`hmn compare`: methods x budgets under one evaluation protocol, in one table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter

from hmn.cli_codec_flags import CodecWanted, check_wanted, codec_flags
from hmn.cli_compare_cells import FULL, Wanted, settle
from hmn.cli_compare_methods import CONTAINERS, REAL, read_budgets, read_methods
from hmn.cli_compare_run import Comparison, print_cells, work
from hmn.cli_console import COMMAND
from hmn.cli_coresets import whole
from hmn.cli_data import DataFlags, Switch
from hmn.cli_measure import Training, choose_training
from hmn.cli_settings import (
    CondenseFlags,
    MethodFlags,
    given_environment,
    given_flags,
    named,
    nearest,
)
from hmn.cli_sources import Candidate, read_splits
from hmn.cli_stored import stored_dtypes
from hmn.cli_sweep import absolute, absolute_flags
from hmn.cli_sweep_grid import Given
from hmn.cli_where import Where
from hmn.distributed import launched
from hmn.errors import UserError
from hmn.protocols import protocol as find_protocol
from hmn.recipe import ALIASES, RECIPES

Protocol = Literal["paper", "short", "quick", "dc", "dsa", "idc", "linba"]


@Parameter(name="*", group=Group("Training, the same for every row", sort_key=12))
@dataclass(frozen=True, kw_only=True)
class TrainingFlags:
    """How networks are trained."""

    net: str | None = None
    """convnet3, convnet4, resnetap10, resnet18, vgg11, vgg16, densenet121, timm/NAME (default: by data)."""
    width: int | None = None
    """Channels of its first layer."""
    protocol: Protocol | None = None
    """short (2,000 steps), quick (600 steps), or, with --steps, paper or how other methods' results were taken: dc,
    dsa, idc, linba."""
    steps: int | None = None
    """Optimizer steps, in the place of the protocol's."""
    seeds: int | None = None
    """Networks for each row, each from another seed."""
    schedule: Literal["cosine", "multistep"] | None = None
    """Of the learning rate (default: the protocol's)."""


def compare(
    data: str,
    /,
    *,
    methods: str,
    ipc: str,
    out: Path,
    recipe: str | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative=())] = None,
    seed: int | None = None,
    stored: str | None = None,
    codec_quality: str | None = None,
    codec_side: str | None = None,
    on: Literal["test", "validation"] = "test",
    sort: Literal["accuracy", "method"] = "accuracy",
    resume: Switch = False,
    force: Switch = False,
    dry_run: Switch = False,
    checkpoint_seconds: float = 30.0,
    json: Switch = False,
    data_flags: DataFlags | None = None,
    training: TrainingFlags | None = None,
    where: Where | None = None,
    method: MethodFlags | None = None,
    condense: Annotated[CondenseFlags, Parameter(name="condense")] = None,
) -> int:
    """Compare methods at several budgets under one training protocol: one table, also as Markdown, JSON and HTML.

    Every row trains the same networks for the same steps. Published numbers stand beside measured ones, marked as such.

    Parameters
    ----------
    data
        A data set: a name (digits, cifar10, ...) or a path to class folders, Parquet or .npz.
    methods
        Joined by commas: random, herding, k-center (real images, at the budget's floats); webp, jpeg, avif (real
        images, at the bytes of those floats); a recipe; with --recipe a container (pixels, mosaic, factorized, linear,
        inr, frequency, hmn), all under that one recipe; LABEL=PATH, a folder (or a folder of folders) that
        `hmn condense` wrote, or a TOML recipe. whole (all training images) and random are always there: the
        label-robust score needs them.
    ipc
        Images per class whose floats are the budget, several joined by commas.
    out
        Folder of the comparison. Where several machines work, all of them must see it under this path.
    recipe
        Settings that the containers in --methods share; the container alone then differs.
    set_
        METHOD:setting=value, such as mosaic:condense.lr=0.005, for one method. May be given several times.
    seed
        Seed of everything random in condensing.
    stored
        float16, int8, int4, joined by commas: what containers reach and take when they are stored so, and codecs in
        those bytes.
    codec_quality
        Of webp, jpeg and avif: one, or several joined by commas or auto, to be chosen from on validation images
        (default: 20, or more where bytes are left).
    codec_side
        Shorter side in pixels that images are shrunk to, as for the quality (default: their own).
    on
        test: the test split. validation: a tenth of the training images, kept from condensing too; tune by it.
    sort
        Rows within a budget by accuracy, or in the order of --methods.
    resume
        Go on with the comparison in the folder. Further methods, budgets and seeds are added to it.
    force
        Remove the comparison in the folder and begin anew.
    dry_run
        Print what would be made and trained; do nothing.
    checkpoint_seconds
        Seconds between two checkpoints of a condensation.
    json
        Print JSON.
    """
    if force and resume:
        raise UserError("--force begins anew and --resume goes on: give one of them.")
    if launched().size > 1:
        raise UserError("a comparison starts processes of its own: give the same command to hmn, without torchrun.")
    training, where = training or TrainingFlags(), where or Where()
    check_counts(training)
    if not checkpoint_seconds >= 0:
        raise UserError(f"--checkpoint-seconds {checkpoint_seconds}: expected 0 or more.")
    if recipe is not None and recipe not in (*RECIPES, *ALIASES):
        raise UserError(f"--recipe {recipe}: no recipe is called so{nearest(recipe, RECIPES)}")
    where.check()
    budgets = read_budgets(ipc)
    rows = read_methods(methods, recipe=recipe, overrides=set_ or [])
    if recipe is not None and not any(row.kind in ("container", "file") for row in rows):
        raise UserError(f"--recipe {recipe}: is for containers, and --methods names none of {', '.join(CONTAINERS)}.")
    codecs = wanted_codecs([row.name for row in rows if REAL.get(row.name) == "codec"], codec_quality, codec_side)
    flags = {**given_flags(condense, "condense"), **named(method, seed=seed)}
    if "container" in flags:
        raise UserError(f"--container {flags['container']}: name containers in --methods.")
    shaping = absolute_flags(data_flags or DataFlags())
    given = Given(
        data=absolute(data), data_flags=shaping, on=on, recipe=None, from_file={},
        own={**condensing_environment(), **flags}, images=None, dtype="float32", steps=None,
        checkpoint_seconds=checkpoint_seconds, command=tuple(COMMAND.get()),
    )  # fmt: skip
    splits = read_splits(given.data, shaping, on)
    for codec in codecs.values():
        check_wanted(codec, splits.train)
    wanted = Wanted(
        given=given, recipe=recipe, training=one_training(whole(splits, on), training), codecs=codecs,
        stored=tuple(dtype for dtype in stored_dtypes(stored) if dtype != FULL),
    )  # fmt: skip
    comparison = Comparison(
        out=out, wanted=wanted, cells=settle(rows, budgets, wanted, splits), splits=splits, where=where, sort=sort
    )
    if dry_run:
        print_cells(comparison, as_json=json)
        return 0
    return work(comparison, resume=resume, force=force, as_json=json)


def wanted_codecs(names: list[str], quality: str | None, side: str | None) -> dict[str, CodecWanted]:
    """How the codecs among the methods are to compress.

    Raises:
        UserError: flags of codecs, and no codec; or a number that is none.
    """
    if not names:
        for flag, value in (("quality", quality), ("side", side)):
            if value is not None:
                raise UserError(
                    f"--codec-{flag} {value}: is for webp, jpeg and avif, and --methods names none of them."
                )
        return {}
    return {found.format: found for found in codec_flags(",".join(names), quality, side, None)}


def condensing_environment() -> dict[str, Any]:
    """Settings from HMN_* variables, but for those that methods and budgets decide."""
    decided = ("ipc", "container")
    return {path: value for path, value in given_environment().items()
            if path not in decided and not path.startswith(("sizes.", "evaluate."))}  # fmt: skip


def check_counts(training: TrainingFlags) -> None:
    """Refuse numbers below 1.

    Raises:
        UserError: as it says.
    """
    for name in ("width", "steps", "seeds"):
        value = getattr(training, name)
        if value is not None and value < 1:
            raise UserError(f"--{name} {value}: expected at least 1.")


def one_training(of_all: Candidate, flags: TrainingFlags) -> Training:
    """How every network is trained.

    Raises:
        UserError: no protocol of this name, or one that counts passes over each set, so that steps would differ.
    """
    name = flags.protocol or given_environment().get("evaluate.protocol") or of_all.settings.protocol
    if flags.steps is None and find_protocol(name, of_all.data, of_all.ipc).steps is None:
        raise UserError(f"--protocol {name} counts passes over each set's own images: give --steps, the same for all.")
    own = {"net": flags.net, "width": flags.width, "protocol": flags.protocol, "seeds": flags.seeds}
    return choose_training(of_all, own, flags.steps, schedule=flags.schedule)
