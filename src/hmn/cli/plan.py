"""`hmn plan`: what a container stores, why it is that one, and what condensing into it would take."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

from hmn.cli import flags
from hmn.containers.shape import BITS_PER_VALUE, Shape, bytes_of
from hmn.data.known_sizes import PUBLISHED, size_of
from hmn.data.options import DataOptions
from hmn.errors import UserError
from hmn.recipes.kinds import OBJECTIVES
from hmn.recipes.named import DEFAULT_RECIPE
from hmn.recipes.values import recipe_to_toml
from hmn.runtime.console import as_table, duration, print_facts, print_json, print_table, size, tell

if TYPE_CHECKING:  # they import torch
    from hmn.condensation.cost.price import Estimate
    from hmn.condensation.job import Plan
    from hmn.data.real import Splits
    from hmn.recipes.settings import Recipe

ABSENT = Group("Data that are not here", sort_key=12)
GPUS = Group("GPUs that are not here", sort_key=14)


def plan(
    target: str,
    /,
    *,
    ipc: flags.Ipc = None,
    images: flags.Images = None,
    recipe: flags.RecipeName = None,
    ledger: flags.Switch = False,
    json: flags.Json = False,
    shape: Annotated[str | None, Parameter(group=ABSENT)] = None,
    classes: Annotated[int | None, Parameter(group=ABSENT)] = None,
    images_per_class: Annotated[int | None, Parameter(group=ABSENT)] = None,
    gpus: Annotated[int | None, Parameter(group=GPUS)] = None,
    tflops: Annotated[float | None, Parameter(group=GPUS)] = None,
    data_flags: flags.DataFlags = flags.DataFlags(),
    method: flags.MethodFlags = flags.MethodFlags(),
) -> None:
    """Choose a container for a data set and a budget, count what it stores, and say why and what condensing would take.

    Time and memory are predicted from about ten seconds of trials on this machine.

    Parameters
    ----------
    target
        A data set: a name or a path; or, with the sizes below, any name for data that are not here; or a folder that
        `hmn condense` wrote, whose container is counted.
    ledger
        Count what is stored, part by part, and no more: nothing is timed, and no data are read whose sizes are known
        by name.
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
    import hmn
    from hmn.containers.artifact.place import is_artifact

    absent = {"shape": shape, "classes": classes, "images_per_class": images_per_class}
    how: dict[str, Any] = {"ipc": ipc, "images": images, "settings": method.given()}
    options = flags.data_options(data_flags)
    if ledger or is_artifact(Path(target)):
        if gpus is not None or tflops is not None:
            raise UserError("--gpus and --tflops are for an estimate of time, and a ledger has none: leave them out.")
        print_account(target, options, absent, recipe=recipe, **how, as_json=json)
        return
    # Data that are not here are stood in for by blank images of their sizes.
    splits = stand_ins(target, options, absent)
    how |= {"recipe": recipe, "options": options, "gpus": gpus, "tflops": tflops}
    planned = hmn.plan(splits or target, **how)
    about: dict[str, Any] = {"data_read": splits is None, "reckoned": None}
    if planned.reckoned is not None:
        about["reckoned"] = {"measured": False, **planned.reckoned._asdict()}
    following = None
    if splits is None:
        following = next_command(target, planned.recipe.ipc, images, recipe or DEFAULT_RECIPE, options, how["settings"])
    print_plan(planned, about, as_json=json, following=following)


def print_account(target: str, options: DataOptions, absent: Mapping[str, Any], *, as_json: bool, **how: Any) -> None:
    """What a folder's container stores, or one that is chosen for data.

    Raises:
        UserError: a folder, whose sizes are settled, and flags that would change them; or as `hmn.plan`.
    """
    from hmn.condensation.job import settle
    from hmn.containers.artifact.load import info
    from hmn.containers.artifact.place import is_artifact

    # A folder has its sizes; for data a container is chosen.
    facts: dict[str, Any]
    if is_artifact(Path(target)):
        if how["ipc"] is not None or how["images"] is not None or how["settings"]:
            raise UserError(
                f"{target} is a condensed folder, its sizes are settled: leave out --ipc, --images, --container and "
                "--sizes."
            )
        stored = info(target)
        shape, title = stored.shape, f"{target}: {stored.data_name}, stored as {stored.dtype}"
        facts = {"data": stored.data_name, "dtype": stored.dtype, "file_bytes": stored.file_bytes}
        lines = [f"file: {size(stored.file_bytes)}, header included"]
    else:
        job = settle(stand_ins(target, options, absent, read=False) or target, options=options, **how)
        shape, ipc, reason = job.shape, job.recipe.ipc, job.chosen.reason
        title, facts = f"{target} at {ipc} ipc", {"data": target, "ipc": ipc, "reason": reason}
        over = shape.over_budget(target, ipc)
        lines = [f"sizes {reason}"]
        lines += [] if over is None else [f"to condense before pruning: {over:,} images per class"]
    if as_json:
        print_json({**facts, **shape_facts(shape)})
        return
    print_ledger(title, shape)
    for line in lines:
        tell(line)


def stand_ins(target: str, options: DataOptions, sizes: Mapping[str, Any], *, read: bool = True) -> Splits | None:
    """Blank images in the place of data whose size is given, or known by name where `read` is False; else None.

    Raises:
        UserError: the target is nowhere, or an unfinished run, or its size makes no sense.
    """
    from hmn.condensation.cost.trial import blank_splits
    from hmn.containers.artifact.place import check_finished
    from hmn.data.load import check_path
    from hmn.data.named import NAMES

    given = any(value is not None for value in sizes.values())
    if not given and target not in PUBLISHED:
        if target not in NAMES:
            check_finished(check_path(target))
        return None
    if not given and read and target in NAMES:
        return None
    known = size_of(target, **sizes, side=options.size, channels=options.channels)
    return blank_splits(target, **known._asdict())


def print_plan(
    planned: Plan, about: Mapping[str, Any], *, as_json: bool, toml: bool = False, following: str | None = None
) -> None:
    """What would be done, why, and what it would take; `about` is more of it for JSON."""
    job, settings = planned.job, planned.recipe
    objective, sweeps, train = settings.condense.objective, settings.condense.num_sweeps, job.splits.train
    # JSON holds everything; the screen what a person asks first.
    if as_json:
        over = None if job.over_budget is None else asdict(job.over_budget)
        facts = {"data": job.splits.name, "ipc": settings.ipc, "reason": job.chosen.reason, "over_budget": over}
        run = {"recipe": settings.name, "sweeps": sweeps, "recipe_toml": recipe_to_toml(settings)}
        print_json({**facts, **shape_facts(job.shape), **run, "estimate": planned.estimate._asdict(), **about})
        return
    if toml:
        tell(recipe_to_toml(settings))
    print_ledger(f"{job.splits.name} at {settings.ipc} ipc", job.shape)
    read = f"{len(train):,} training images of {' x '.join(map(str, train.image_shape))}, {train.num_classes:,} classes"
    words = {
        "data": f"{read}, smallest {train.fewest:,}"
        + ("" if about.get("data_read", True) else ", planned for without reading them"),
        "sizes": job.chosen.reason,
        "why": job.shape.why(),
        "recipe": f"{settings.name}: {objective}, {sweeps:,} {OBJECTIVES.load(objective).unit}s",
    }
    print_facts("plan", words | ({} if following is None else {"next": following}))
    title = "estimate for this machine, from parts of a sweep timed just now"
    print_facts(title, price_facts(planned.estimate, settings))
    # What GPUs would take is reckoned from operations alone.
    if (reckoned := planned.reckoned) is not None:
        gpus = f"{reckoned.gpus} GPU{'s' if reckoned.gpus > 1 else ''}"
        rate = f"{reckoned.tflops_per_gpu:g} TFLOP/s each (--tflops), nothing lost between them"
        words = {
            "assumed": f"{gpus} sustaining {rate}",
            "matching": f"{sweeps:,} sweeps of {reckoned.seconds_per_sweep:.3g} s",
            "time in all": f"about {duration(reckoned.total_seconds)}",
            "memory": f"{memory_size(reckoned.memory_bytes_per_gpu)} on a GPU, as this machine held it; "
            f"{memory_size(train.pixels.numel())} of images in each machine's main memory",
        }
        print_facts("reckoned, not measured", words)


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


def memory_size(num_bytes: int | None) -> str:
    """Bytes as text, where the machine tells them."""
    return "unknown" if num_bytes is None else size(num_bytes)


def price_facts(priced: Estimate, recipe: Recipe) -> dict[str, str]:
    """What a run takes, in words."""
    unit = OBJECTIVES.load(recipe.condense.objective).unit
    matching = f"{recipe.condense.num_sweeps:,} {unit}s of {priced.seconds_per_sweep:.3g} s"
    if priced.update_seconds:
        matching += f" ({priced.update_seconds:.2g} s of it the network's own training)"
    experts = {"experts": duration(priced.expert_seconds)} if priced.expert_seconds else {}
    return {
        "fitting": duration(priced.start_seconds),
        **experts,
        "matching": matching,
        "time in all": f"about {duration(priced.total_seconds)}",
        "peak memory": memory_size(priced.peak_memory_bytes),
        "operations": f"{priced.operations_per_sweep:.3g} of one {unit}, {priced.total_operations:.3g} in all "
        "(convolutions and matrix products, a multiply-add counted as two)",
    }


def shape_facts(shape: Shape) -> dict[str, Any]:
    """The sizes and the ledger of a container, as JSON shows them."""
    account = shape.ledger()
    return {
        "num_classes": shape.num_classes,
        "image_shape": list(shape.image_shape),
        "container": shape.kind,
        **shape.facts(),
        "images": shape.num_images,
        "images_per_class": shape.images_each(),
        "parts": [part._asdict() for part in account.parts],
        "budget": account.budget,
        "floats": account.num_floats,
        "stored_floats": account.stored_floats,
        "bytes": {dtype: account.num_bytes(dtype) for dtype in BITS_PER_VALUE},
    }


def print_ledger(title: str, shape: Shape) -> None:
    """The ledger as a table on stdout."""
    account = shape.ledger()
    budget = account.budget

    def row(name: str, floats: int, stored: int | None) -> list[str]:
        sizes = [] if stored is None else [f"{bytes_of(stored, dtype):,}" for dtype in BITS_PER_VALUE]
        return [name, f"{floats:,}", "" if name == "budget" else f"{floats / budget:.1%}", *sizes]

    rows = [row(part.name, part.num_floats, part.stored_floats) for part in account.parts]
    sums = [row("total", account.num_floats, account.stored_floats), row("budget", budget, budget)]
    sums.append(row("left", budget - account.num_floats, None))
    heads = ("part", "floats", "share", *(f"bytes {dtype}" for dtype in BITS_PER_VALUE))
    table = as_table(heads, [*rows, None, *sums], left=heads[:1])
    table.rows[len(rows)].style = "bold"  # the total
    print_table(title, table)
    # What the floats are, in words.
    channels, height, width = shape.image_shape
    each = shape.images_each()
    many = f"{each:,}" if isinstance(each, int) else f"{min(each):,} to {max(each):,}"
    images = f"{many} images per class, {shape.num_images:,} in all, of {channels} x {height} x {width}"
    tell(f"{images}; {shape.in_words()}")
