"""What `hmn evaluate` trains on: a condensed folder, a data set, or other images."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from hmn.containers.artifact.load import info, load
from hmn.containers.artifact.place import RECIPE, check_finished, held_out, is_artifact, need_artifact, read_run
from hmn.containers.artifact.run_data import Split, read_splits
from hmn.containers.shape import Ledger
from hmn.data.load import load_images
from hmn.data.options import DataOptions
from hmn.data.real import RealData, Splits, balanced_indices
from hmn.data.source import Source
from hmn.errors import UserError
from hmn.recipes.named import DEFAULT_RECIPE, recipe
from hmn.recipes.settings import EvaluateConfig
from hmn.recipes.values import given_file

SUBSET_SEED = 0
"""Seed of every choice of random real images: the same images for every network."""
RECORDED = ("command", "commit", "versions", "hardware")
"""What results repeat of the run that condensed."""
WHOLE = {"test": "whole training set", "validation": "training set less validation"}


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Something to train on, with what its storage costs."""

    name: str
    detail: str
    source: Source
    test: RealData
    data: str
    num_floats: int
    num_bytes: int
    ipc: int
    settings: EvaluateConfig
    recipe: str | None = None
    condense_seconds: float | None = None
    processor_seconds: float | None = None
    condensed: dict[str, Any] | None = None
    """Checksum of the container, and what its run says of itself: command, commit, versions, hardware."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """What its row of the report says besides: how images were chosen or stored."""


def target_of(
    target: Any, *, data: Any = None, subset: int | None = None, flags: DataOptions | None = None, on: Split = "test"
) -> tuple[Candidate, Splits]:
    """The target, and the data that it is tested on: its own where `data` names no other.

    With on="validation" that is a tenth of the training images, which real images to train on then lack. A container
    that was condensed from the whole training split has seen that tenth. Raises UserError: the target or its data
    cannot be read.
    """
    flags = flags or DataOptions()
    if isinstance(target, str | PathLike):
        target = os.fspath(target)
        if is_artifact(Path(target)):
            if subset is not None:
                raise UserError(f"--subset {subset}: {target} is a condensed folder; --subset is for real data.")
            return condensed(Path(target), data, flags, on)
        check_finished(Path(target))
    return real(target, data, subset, flags, on)


def condensed(path: Path, data: Any, flags: DataOptions, on: Split) -> tuple[Candidate, Splits]:
    """A condensed folder, and the data to test it on. Raises UserError: the folder or the data cannot be read, or the
    data have other classes.
    """
    stored = info(need_artifact(path))
    run = read_run(path)
    name = run.get("data") or stored.data_name if data is None else data
    try:
        splits = read_splits(name, flags.completed(run.get("data_flags"), same_place=data is None), on)
    except UserError as error:
        if data is not None:
            raise
        raise UserError(f"{str(error).rstrip('.')}; name the container's data with --data") from None
    # The data are there: are they those of the container?
    shown = name if isinstance(name, str) else splits.name
    check_classes(path, stored.class_names, shown, splits.train.class_names)
    per_image = math.prod(stored.shape.image_shape)
    candidate = Candidate(
        name=stored.shape.kind,
        detail="; ".join([f"stored as {stored.dtype}", *remarks(run, stored.ledger, on)]),
        source=load(path),
        test=splits.test,
        data=splits.name,
        num_floats=stored.ledger.num_floats,
        num_bytes=stored.value_bytes,
        ipc=max(1, stored.ledger.budget // (len(stored.class_names) * per_image)),
        settings=stored_settings(path, splits),
        recipe=run.get("recipe"),
        condense_seconds=run.get("condense_seconds"),
        processor_seconds=run.get("processor_seconds"),
        condensed={"sha256": stored.checksum} | {key: run[key] for key in RECORDED if key in run},
        record={"stored": stored.dtype},
    )
    return candidate, splits


def default_settings(splits: Splits) -> EvaluateConfig:
    """How networks are trained on data of this kind where nobody says otherwise."""
    return recipe(DEFAULT_RECIPE, dataset=splits.name, ipc=1, image_shape=splits.train.image_shape).evaluate


def stored_settings(path: Path, splits: Splits) -> EvaluateConfig:
    """How the recipe of a condensed folder says that networks are trained on it."""
    settings = default_settings(splits)
    if not (path / RECIPE).exists():
        return settings
    return replace(settings, **{"width": None, **of_evaluation(given_file(path / RECIPE))})


def of_evaluation(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of evaluation among settings by path, by their names."""
    prefix = "evaluate."
    return {path.removeprefix(prefix): value for path, value in values.items() if path.startswith(prefix)}


def check_classes(path: Path, made_from: Sequence[str], name: str, tested_on: Sequence[str]) -> None:
    """Refuse test data of other classes than the container's. Plain numbers may stand for any names. Raises UserError:
    another number of classes, or other names.
    """
    named = [names for names in (made_from, tested_on) if not all(text.isdigit() for text in names)]
    if len(made_from) != len(tested_on) or (len(named) == 2 and list(made_from) != list(tested_on)):
        raise UserError(
            f"{path} was made from {len(made_from)} classes ({some(made_from)}), {name} has {len(tested_on)} "
            f"({some(tested_on)}): name the container's own data with --data."
        )


def some(names: Sequence[str]) -> str:
    """The first few names."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def real(target: Any, data: Any, subset: int | None, flags: DataOptions, on: Split) -> tuple[Candidate, Splits]:
    """Real data as the training set, or a folder of images to be tested on other data."""
    splits = read_splits(target if data is None else data, flags, on)
    train, name, detail = splits.train, WHOLE[on], ""
    if data is not None:
        if not isinstance(target, str):
            raise UserError("images in memory are tested on their own data: leave data out, or give them as a path.")
        name = Path(target).name or target
        train = load_images(target, flags, like=splits.train)
    if subset is not None:
        index = balanced_indices(train.labels, subset, torch.Generator().manual_seed(SUBSET_SEED))
        train, name = train.subset(index), f"{subset} real per class" if data is None else name
        detail = f"{subset} per class at random, seed {SUBSET_SEED}"
    return real_candidate(name, train, splits, detail=detail), splits


def real_candidate(
    name: str, train: RealData, splits: Splits, *, detail: str = "", record: Mapping[str, Any] | None = None
) -> Candidate:
    """Real images, stored as they are: a float or a byte for every value."""
    values, ipc = len(train) * math.prod(train.image_shape), max(1, len(train) // train.num_classes)
    about: dict[str, Any] = {"name": name, "detail": detail, "source": train, "record": record or {}}
    about |= {"num_floats": values, "num_bytes": values, "ipc": ipc}
    return Candidate(test=splits.test, data=splits.name, settings=default_settings(splits), **about)


def remarks(run: Mapping[str, Any], account: Ledger, on: Split) -> list[str]:
    """A budget that is exceeded, and whether the images tested on were seen before."""
    found = []
    if account.num_floats > account.budget:
        found.append(f"{account.num_floats - account.budget:,} floats over its budget of {account.budget:,}")
    if on == "validation":
        words = "never seen" if held_out(run) else "seen"
        found.append(f"the validation images were {words} in its condensation")
    return found
