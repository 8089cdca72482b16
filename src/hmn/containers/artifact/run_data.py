"""The data of a run: a data set that is no condensed folder, with a part of it held out where that is asked for."""

from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from hmn.containers.artifact.place import check_finished, is_artifact
from hmn.data.load import load_data
from hmn.data.options import DataOptions
from hmn.data.real import Splits, split_validation
from hmn.errors import UserError

Split = Literal["test", "validation"]
"""What networks are tested on: the test split, or a part of the training images that is kept from training."""
VALIDATION_SHARE, VALIDATION_SEED = 0.1, 0
"""The validation split that is carved from the training images, class by class."""


def read_splits(data: Any, flags: DataOptions, on: Split) -> Splits:
    """A data set, with a part of its training images in the place of the test split where `on` says so."""
    splits = read_data(data, flags)
    if on == "test":
        return splits
    rest, validation = split_validation(splits.train, share=VALIDATION_SHARE, seed=VALIDATION_SEED)
    return replace(splits, train=rest, test=validation)


def read_data(data: Any, flags: DataOptions) -> Splits:
    """The data set that a name or a path stands for; an error for a condensed folder, or what cannot be read."""
    if isinstance(data, str | PathLike):
        if is_artifact(Path(data)):
            raise UserError(f"{data} is a condensed folder, not data: give the name or the path of a data set.")
        check_finished(Path(data))
    return load_data(data, flags)
