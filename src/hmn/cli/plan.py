"""`hmn plan`: which container fits a data set and a budget, and what condensing into it would take."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

from hmn.cli.flags import (
    CondenseFlags,
    DataParameters,
    MethodFlags,
    SizesFlags,
    Switch,
    data_options,
    given_flags,
    named,
)
from hmn.cli.ledger import environment_ipc
from hmn.cli.shapes import memory_size, price_facts, print_ledger, shape_facts
from hmn.data.known_sizes import PUBLISHED, size_of
from hmn.data.options import DataOptions
from hmn.errors import UserError
from hmn.recipes.kinds import OBJECTIVES
from hmn.recipes.named import DEFAULT_RECIPE
from hmn.recipes.settings import Recipe
from hmn.runtime.console import duration, note, print_facts, print_json

if TYPE_CHECKING:  # they import torch
    from hmn.condensation.cost.operations import Reckoned
    from hmn.data.real import RealData, Splits


ABSENT = Group("Data that are not here", sort_key=12)
GPUS = Group("GPUs that are not here", sort_key=14)


def plan(
    data: str,
    /,
    *,
    ipc: int | None = None,
    images: int | None = None,
    recipe: str = DEFAULT_RECIPE,
    json: Switch = False,
    shape: Annotated[str | None, Parameter(group=ABSENT)] = None,
    classes: Annotated[int | None, Parameter(group=ABSENT)] = None,
    images_per_class: Annotated[int | None, Parameter(group=ABSENT)] = None,
    gpus: Annotated[int | None, Parameter(group=GPUS)] = None,
    tflops: Annotated[float | None, Parameter(group=GPUS)] = None,
    data_flags: DataParameters = None,
    method: MethodFlags | None = None,
    condense: Annotated[CondenseFlags, Parameter(name="condense")] = None,
    sizes: SizesFlags = None,
) -> int:
    """Choose a container for a data set and a budget, and say why and what condensing would take.

    Time and memory are predicted from about ten seconds of trials on this machine.

    Parameters
    ----------
    data
        A data set: a name or a path; or, with the sizes below, any name for data that are not here.
    ipc
        Images per class whose floats are the budget.
    images
        Generated images per class, in the place of as many as fit.
    recipe
        Recipe whose cost is estimated.
    json
        Print JSON.
    shape
        Channels, height and width of the images, such as 3x224x224; the data are then not read.
    classes
        Number of classes; the data are then not read.
    images_per_class
        Training images of a class; the data are then not read.
    gpus
        Also reckon, without measuring, the time on so many GPUs that share the classes.
    tflops
        Rate assumed of each, in 10^12 operations a second (default: 20, in float32).
    """
    from hmn.condensation.cost.operations import DEFAULT_TFLOPS, reckon
    from hmn.condensation.cost.price import price
    from hmn.condensation.job import settle
    from hmn.containers.choose import checked_ipc

    ipc = checked_ipc(data, environment_ipc() if ipc is None else ipc)
    if tflops is not None and gpus is None:
        raise UserError(f"--tflops {tflops}: a rate is assumed of GPUs: give --gpus too.")
    assumed = DEFAULT_TFLOPS if tflops is None else tflops
    if gpus is not None:
        reckon(0, 0, gpus=gpus, tflops=assumed)  # refuse what makes no sense before anything is read
    flags = data_options(data_flags)
    splits, absent = find_data(data, flags, {"shape": shape, "classes": classes, "images_per_class": images_per_class})
    train = splits.train
    given = {**given_flags(condense, "condense"), **given_flags(sizes, "sizes"), **named(method)}
    job = settle(splits, ipc=ipc, recipe=recipe, images=images, settings=given, options=flags)
    chosen, settings = job.chosen, job.recipe
    objective = OBJECTIVES.load(settings.condense.objective)
    if gpus is not None and gpus > 1 and not objective.divisible:
        raise UserError(f"--gpus {gpus}: --objective {settings.condense.objective} runs in one process: give --gpus 1.")
    note("timing parts of a sweep on this machine, about ten seconds ...")
    priced, memory = price(job.splits, job.shape, settings)
    reckoned = None
    gpu_bytes = None
    if gpus is not None:
        reckoned = reckon(priced.operations_per_sweep, priced.total_operations, gpus=gpus, tflops=assumed)
        gpu_bytes = None if memory is None else memory.device(gpus)
    if json:
        about = {"data": splits.name, "data_read": not absent, "ipc": ipc, "reason": chosen.reason}
        run = {"recipe": settings.name, "sweeps": settings.condense.num_sweeps, "estimate": priced._asdict()}
        on_gpus = reckoned and {"measured": False, **reckoned._asdict(), "memory_bytes_per_gpu": gpu_bytes}
        print_json({**about, **shape_facts(chosen.shape), **run, "reckoned": on_gpus})
        return 0
    print_ledger(f"{splits.name} at {ipc} ipc", chosen.shape)
    facts = {
        "data": data_facts(train) + (", planned for without reading them" if absent else ""),
        "sizes": chosen.reason,
        "why": chosen.shape.why(),
        "recipe": f"{settings.name}: {settings.condense.objective}, {settings.condense.num_sweeps:,} {objective.unit}s",
    }
    if not absent:
        facts["next"] = next_command(data, ipc, images, recipe, flags, given)
    print_facts("plan", facts)
    print_facts("estimate for this machine, from parts of a sweep timed just now", price_facts(priced, settings))
    if reckoned is not None:
        print_facts("reckoned, not measured", reckoned_facts(reckoned, gpu_bytes, settings, train))
    return 0


def find_data(data: str, flags: DataOptions, sizes: Mapping[str, Any]) -> tuple[Splits, bool]:
    """The data set, or stand-ins of its size where sizes are given or only the name is known; and which of the two.

    Raises:
        UserError: data that cannot be read, or sizes that are not known.
    """
    from hmn.condensation.cost.trial import blank_splits
    from hmn.containers.artifact.run_data import read_data
    from hmn.data.named import NAMES

    given = any(value is not None for value in sizes.values())
    if not given and (data in NAMES or data not in PUBLISHED):
        return read_data(data, flags), False
    known = size_of(data, **sizes, side=flags.size, channels=flags.channels)
    return blank_splits(data, **known._asdict()), True


def data_facts(train: RealData) -> str:
    """How much data there are, in words."""
    shape = " x ".join(map(str, train.image_shape))
    return f"{len(train):,} training images of {shape}, {train.num_classes:,} classes, smallest {train.fewest:,}"


def reckoned_facts(reckoned: Reckoned, gpu_bytes: int | None, settings: Recipe, train: RealData) -> dict[str, str]:
    """The division of operations by a rate, with its assumptions, in words."""
    gpus = f"{reckoned.gpus} GPU{'s' if reckoned.gpus > 1 else ''}"
    return {
        "assumed": f"{gpus} sustaining {reckoned.tflops_per_gpu:g} TFLOP/s each (--tflops), nothing lost between them",
        "matching": f"{settings.condense.num_sweeps:,} sweeps of {reckoned.seconds_per_sweep:.3g} s",
        "time in all": f"about {duration(reckoned.total_seconds)}",
        "memory": f"{memory_size(gpu_bytes)} on a GPU, as this machine held it; "
        f"{memory_size(train.pixels.numel())} of images in each machine's main memory",
    }


def next_command(
    data: str, ipc: int, images: int | None, recipe: str, flags: DataOptions, settings: Mapping[str, Any] | None = None
) -> str:
    """The condensation that was planned, as a shell reads it: with every flag that shaped the plan."""
    parts = ["hmn", "condense", data, "--ipc", str(ipc), "--recipe", recipe]
    given: dict[str, Any] = {"images": images, **vars(flags)}
    usual = vars(DataOptions())
    for name, value in given.items():
        if value != usual.get(name):
            parts += ["--" + name.replace("_", "-"), *([] if value is True else [str(value)])]
    for path, value in (settings or {}).items():
        parts += ["--" + path.replace("_", "-"), str(value)]
    return shlex.join([*parts, "--out", "DIR"])
