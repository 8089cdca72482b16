"""`hmn plan`: which container fits a data set and a budget, and how long condensing would take."""

from __future__ import annotations

import shlex
from typing import Any

from hmn.cli_console import duration, note, print_facts, print_json
from hmn.cli_data import DataFlags, Switch, read_data
from hmn.cli_ledger import (
    Chosen,
    checked_ipc,
    choose_shape,
    environment_ipc,
    images_per_class,
    memory_size,
    print_ledger,
    shape_facts,
)

DEFAULT_FLAGS: dict[str, Any] = vars(DataFlags())


def plan(
    data: str,
    /,
    *,
    ipc: int | None = None,
    images: int | None = None,
    recipe: str = "cpu",
    json: Switch = False,
    data_flags: DataFlags | None = None,
) -> int:
    """Choose a container for a data set and a budget, and say why and how long condensing would take.

    Parameters
    ----------
    data
        A data set: a name or a path.
    ipc
        Images per class whose floats are the budget.
    images
        Generated images per class, in the place of as many as fit.
    recipe
        Recipe whose time is estimated.
    json
        Print JSON.
    """
    from hmn.check import check_recipe
    from hmn.recipe import recipe as named_recipe

    ipc = checked_ipc(data, environment_ipc() if ipc is None else ipc)
    flags = data_flags or DataFlags()
    splits = read_data(data, flags)
    train = splits.train
    smallest = int(train.labels.bincount(minlength=train.num_classes).min())
    chosen = choose_shape(
        splits.name, ipc, image_shape=train.image_shape, num_classes=train.num_classes,
        real_per_class=smallest, images=images,
    )  # fmt: skip
    settings = named_recipe(recipe, dataset=splits.name, ipc=ipc, image_shape=train.image_shape)
    check_recipe(settings, image_shape=train.image_shape, num_classes=train.num_classes)
    note("timing a few steps on this machine ...")
    from hmn.run import estimate

    timed = estimate(splits, chosen.shape, settings)
    if json:
        print_json({
            "data": splits.name, "ipc": ipc, "reason": chosen.reason, **shape_facts(chosen.shape),
            "recipe": recipe, "sweeps": settings.condense.num_sweeps, "estimate": timed._asdict(),
        })  # fmt: skip
        return 0
    print_ledger(f"{splits.name} at {ipc} ipc", chosen.shape)
    facts = {
        "data": f"{len(train):,} training images, {train.num_classes} classes, smallest {smallest:,}",
        "sizes": chosen.reason,
        "why": why(chosen),
        f"recipe {recipe}": f"{settings.condense.num_sweeps:,} sweeps, "
        f"about {duration(timed.total_seconds)} here, {memory_size(timed.peak_memory_bytes)} of memory",
        "next": next_command(data, ipc, images, recipe, flags),
    }
    print_facts("plan", facts)
    return 0


def next_command(data: str, ipc: int, images: int | None, recipe: str, flags: DataFlags) -> str:
    """The condensation that was planned, as a shell reads it: with every flag that shaped the plan."""
    parts = ["hmn", "condense", data, "--ipc", str(ipc), "--recipe", recipe]
    given: dict[str, Any] = {"images": images, **vars(flags)}
    for name, value in given.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            parts.append(flag)
        elif value is not None and value is not False and value != DEFAULT_FLAGS.get(name):
            parts += [flag, str(value)]
    return shlex.join([*parts, "--out", "DIR"])


def why(chosen: Chosen) -> str:
    """The planner's rule in words, with this container's numbers."""
    shape = chosen.shape
    account = shape.ledger()
    shared = account.num_floats - shape.num_images * shape.instance_channels * shape.memory_size**2
    side = max(shape.image_shape[1:])
    grown = shape.memory_size * 8
    growth = f"doubled three times to {grown}" + ("" if grown == side else f" and resized to {side}")
    return (
        f"memories of side {shape.memory_size} ({growth}); {shared / account.budget:.0%} of the budget "
        f"is for what images share, the rest for {images_per_class(shape)} images per class of "
        f"{shape.instance_channels * shape.memory_size**2} floats each"
    )
