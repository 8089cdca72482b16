"""Flags about data that several verbs share, and the reading of data and containers that they name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter

from hmn.errors import UserError

if TYPE_CHECKING:
    from hmn.data.real import Splits

Switch = Annotated[bool, Parameter(negative=(), show_default=False)]
"""A flag that is on or absent."""
DEFAULT_RECIPE = "cpu"
CONTAINER_FILE, CHECKPOINT_FILE = "container.safetensors", "checkpoint.safetensors"
RUN_FILE = "run.json"
"""What a run records about itself beside its results: data, time, machine."""


@Parameter(name="*", group=Group("Data", sort_key=10))
@dataclass(frozen=True, kw_only=True)
class DataFlags:
    """How to find and read a data set."""

    data_dir: Path | None = None
    """Folder that holds named data sets (default: $HMN_DATA)."""
    download: Switch = False
    """Fetch a named data set that is not there."""
    size: int | None = None
    """Resize and crop every image to this side, in pixels."""
    channels: int | None = None
    """1 for grey, 3 for colour."""
    skip_bad: Switch = False
    """Go on past images that cannot be read, and count them."""
    image_column: str | None = None
    """Parquet: column of the images."""
    label_column: str | None = None
    """Parquet: column of the labels."""
    split_seed: int | None = None
    """Data without a test split: seed by which one is split off (default: 0)."""
    test_share: float | None = None
    """Data without a test split: share of each class to split off (default: 0.2)."""


SHAPING_FLAGS = (
    "data_dir", "size", "channels", "skip_bad", "image_column", "label_column", "split_seed", "test_share",
)  # fmt: skip
"""Flags that the data of a finished run are read with again."""


def read_data(data: str, flags: DataFlags) -> Splits:
    """The data set that a name or a path stands for.

    Raises:
        UserError: it cannot be found or read as it is.
    """
    from hmn.data import load_data

    if is_artifact(Path(data)):
        raise UserError(f"{data} is a condensed folder, not data: give the name or the path of a data set.")
    check_finished(Path(data))
    return load_data(
        data,
        data_dir=flags.data_dir,
        size=flags.size,
        channels=flags.channels,
        download=flags.download,
        skip_bad=flags.skip_bad,
        image_column=flags.image_column,
        label_column=flags.label_column,
        **{name: value for name in ("split_seed", "test_share") if (value := getattr(flags, name)) is not None},
    )


def is_artifact(path: Path) -> bool:
    """Whether a path is the folder of a finished condensation."""
    return path.is_dir() and (path / CONTAINER_FILE).exists()


def check_finished(path: Path) -> None:
    """Refuse the folder of a run that has not ended.

    Raises:
        UserError: there is a checkpoint, and no container.
    """
    if (path / CHECKPOINT_FILE).is_file() and not is_artifact(path):
        raise UserError(f"{path} holds an unfinished run: finish it with --resume.")


def need_artifact(path: Path) -> Path:
    """The path, if a finished condensation is there.

    Raises:
        UserError: it is not there, or not finished.
    """
    if is_artifact(path):
        return path
    if not path.exists():
        raise UserError(f"{path}: no such folder; expected one that `hmn condense` wrote.")
    check_finished(path)
    raise UserError(f"{path} holds no {CONTAINER_FILE}: expected a folder that `hmn condense` has finished writing.")
