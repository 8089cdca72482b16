"""`hmn ledger`: what a container stores, and the choice of one for a data set and a budget."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hmn.cli.flags import DataParameters, SizesFlags, Switch, data_options, given_flags
from hmn.cli.shapes import print_ledger, shape_facts
from hmn.data.known_sizes import PUBLISHED
from hmn.data.options import DataOptions
from hmn.errors import UserError
from hmn.recipes.values import given_environment
from hmn.runtime.console import print_json, results, size

if TYPE_CHECKING:  # it imports torch
    from hmn.containers.choose import Chosen


def ledger(
    target: str,
    /,
    *,
    ipc: int | None = None,
    images: int | None = None,
    container: str | None = None,
    json: Switch = False,
    data_flags: DataParameters = None,
    sizes: SizesFlags = None,
) -> int:
    """Count what a container stores, part by part: floats, and bytes at three precisions.

    Parameters
    ----------
    target
        A data set (a name or a path; with --ipc), or a folder that `hmn condense` wrote.
    ipc
        Images per class whose floats are the budget.
    images
        Generated images per class, in the place of as many as fit.
    container
        hmn (the default), pixels, mosaic, factorized, linear, inr or frequency.
    json
        Print JSON.
    """
    from hmn.containers.artifact.load import info
    from hmn.containers.artifact.place import is_artifact

    if is_artifact(Path(target)):
        if ipc is not None or images is not None or container is not None or given_flags(sizes, "sizes"):
            raise UserError(
                f"{target} is a condensed folder, its sizes are settled: leave out --ipc, --images, --container and "
                "--sizes."
            )
        stored = info(target)
        shape, title = stored.shape, f"{target}: {stored.data_name}, stored as {stored.dtype}"
        extra: dict[str, Any] = {
            "data": stored.data_name,
            "dtype": stored.dtype,
            "file_bytes": stored.file_bytes,
        }
    else:
        given = sized(container, given_flags(sizes, "sizes"))
        chosen = shape_for(target, ipc, images, data_options(data_flags), *given)
        shape, title = chosen.shape, f"{target} at {chosen.ipc} ipc"
        extra = {"data": target, "ipc": chosen.ipc, "reason": chosen.reason}
    if json:
        print_json({**extra, **shape_facts(shape)})
        return 0
    print_ledger(title, shape)
    if "reason" in extra:
        results().print(f"sizes {extra['reason']}", markup=False)
        over = shape.over_budget(target, extra["ipc"])
        if over is not None:
            results().print(f"to condense before pruning: {over:,} images per class", markup=False)
    else:
        results().print(f"file: {size(extra['file_bytes'])}, header included", markup=False)
    return 0


def shape_for(
    target: str,
    ipc: int | None,
    images: int | None,
    flags: DataOptions,
    container: str = "hmn",
    sizes: Mapping[str, int] | None = None,
) -> Chosen:
    """The container for a data set; the data are only read where the presets do not know them."""
    from hmn.containers.artifact.run_data import read_data
    from hmn.containers.choose import checked_ipc, choose_shape

    check_target(target, asked_ipc=ipc is not None)
    ipc = checked_ipc(target, environment_ipc() if ipc is None else ipc)
    known = PUBLISHED.get(target)
    # With --size or --channels the images are no longer those that are known.
    if known is not None and flags.size is None and flags.channels is None:
        name, image_shape, num_classes, smallest = target, *known
    else:
        splits = read_data(target, flags)
        train, name = splits.train, splits.name
        image_shape, num_classes = train.image_shape, train.num_classes
        smallest = train.fewest
    data: dict[str, Any] = {"image_shape": image_shape, "num_classes": num_classes, "real_per_class": smallest}
    return choose_shape(name, ipc, **data, images=images, container=container, sizes=sizes)


def environment_ipc() -> int | None:
    """The images per class that $HMN_IPC gives."""
    return given_environment().get("ipc")


def check_target(target: str, *, asked_ipc: bool) -> None:
    """Refuse what has no ledger: an unfinished run, or without --ipc something that is nowhere.

    Raises:
        UserError: one of these.
    """
    from hmn.containers.artifact.place import CHECKPOINT
    from hmn.data.named import NAMES

    path = Path(target).expanduser()
    if (path / CHECKPOINT).exists():
        raise UserError(
            f"{target} holds an unfinished run: finish it with the command that began it and --resume, "
            "or name its data and --ipc."
        )
    if asked_ipc or path.exists():
        return
    if target not in NAMES:
        raise UserError(
            f"{target}: no such file or folder, and not one of {', '.join(NAMES)}; expected a folder that "
            "`hmn condense` wrote, or data with --ipc."
        )


def sized(container: str | None, sizes: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The container and its sizes by flags, else by the environment."""
    own = {**given_environment(), **sizes}
    found = {path.partition(".")[2]: value for path, value in own.items() if path.startswith("sizes.")}
    return container or own.get("container", "hmn"), found
