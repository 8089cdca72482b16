"""One function that reads a data set, and one that reads images to train on in its place."""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path

from hmn.data.assemble import assemble, training_set
from hmn.data.formats import DataOptions
from hmn.data.named import NAMES, name_of_path, read_named, read_path
from hmn.data.real import RealData, Splits
from hmn.errors import UserError


def load_data(data: str, options: DataOptions | None = None) -> Splits:
    """Training and test images of a data set, uint8 in memory; both share the training split's normalisation.

    Args:
        data: a name (digits, cifar10, cifar100, svhn, mnist, fashion-mnist, tiny-imagenet, imagenet-10),
            looked up in `options.data_dir`, else $HMN_DATA, else the platform's data folder; or a path: class
            folders, Tiny ImageNet's tree, a folder of Parquet shards, a .parquet or an .npz. `./NAME` is
            always a path.
        options: how to find and read it. With `size` every image's centre square is resized, without it equal
            sizes are demanded; bad images left out with `skip_bad` are counted in `Splits.skipped`.

    Raises:
        UserError: the data are absent or bad; one line naming the file and what to do.
    """
    options = options or DataOptions()
    if data in NAMES:
        decoded, found = read_named(data, options)
        return assemble(decoded, options, name=data, where=str(found or data), known=data)
    path = check_path(data)
    decoded = read_path(path, options)
    return assemble(decoded, options, name=name_of_path(path, decoded), where=str(path), known=None)


def load_images(path: str, options: DataOptions | None = None, *, like: RealData) -> RealData:
    """Training images from a path, to be trained on in place of `like`, with its classes and normalisation.

    For exported, chosen or compressed images: one image of a class is enough, classes may be missing, and
    nothing is split off; where the path holds a test split too, it is left alone. Classes are matched by
    name, or by number where the names are 0, 1, 2, ... Images keep their size and get the channels of `like`.

    Raises:
        UserError: the images are absent or bad, or their classes or shape are not those of `like`.
    """
    options = replace(options or DataOptions(), size=None, channels=like.image_shape[0])
    return training_set(read_path(check_path(path), options), like=like, where=path)


def check_path(data: str) -> Path:
    """A path that exists, or a line that names the data sets that were perhaps meant."""
    path = Path(data).expanduser()
    if not path.exists():
        close = difflib.get_close_matches(data.lower(), NAMES, n=1, cutoff=0.6)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise UserError(f"{data}: no such file or folder, and not one of {', '.join(NAMES)}{hint}")
    return path
