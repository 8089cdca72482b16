"""Labelled images: the types that everything trains on, and one function that reads a data set."""

from __future__ import annotations

import difflib
from pathlib import Path

from hmn.data.assemble import assemble, training_set
from hmn.data.formats import ReadOptions
from hmn.data.named import NAMES, name_of_path, read_named, read_path
from hmn.data.real import RealData, Splits, balanced_indices, split_validation, stratified_indices
from hmn.data.source import Batch, Normalisation, Source
from hmn.data.statistics import KNOWN, measure
from hmn.errors import UserError

__all__ = [
    "KNOWN",
    "NAMES",
    "Batch",
    "Normalisation",
    "RealData",
    "Source",
    "Splits",
    "balanced_indices",
    "load_data",
    "load_images",
    "measure",
    "split_validation",
    "stratified_indices",
]


def load_data(
    data: str,
    *,
    data_dir: Path | None = None,
    size: int | None = None,
    channels: int | None = None,
    download: bool = False,
    skip_bad: bool = False,
    image_column: str | None = None,
    label_column: str | None = None,
    split_seed: int = 0,
    test_share: float = 0.2,
    progress: bool | None = None,
    cache: bool = True,
) -> Splits:
    """Training and test images of a data set, uint8 in memory; both share the training split's normalisation.

    Args:
        data: a name (digits, cifar10, cifar100, svhn, mnist, fashion-mnist, tiny-imagenet, imagenet-10),
            looked up in `data_dir`, else $HMN_DATA, else the platform's data folder; or a path: class
            folders, Tiny ImageNet's tree, a folder of Parquet shards, a .parquet or an .npz. `./NAME` is
            always a path.
        size: side in pixels; every image's centre square is resized to it. None demands equal sizes.
        channels: 1 or 3; None follows the data.
        download: fetch a torchvision data set that is missing, incomplete or damaged.
        skip_bad: leave bad images out and count them in `Splits.skipped`, instead of stopping.
        split_seed: where no test split comes along, `test_share` of each class is split off by this seed.
        progress: None shows a bar where stderr is a terminal.
        cache: keep the decoded images in $HMN_CACHE or the platform's cache folder.

    Raises:
        UserError: the data are absent or bad; one line naming the file and what to do.
    """
    if not 0 < test_share < 1:
        raise UserError(f"test share {test_share}: expected a fraction between 0 and 1, for example 0.2")
    if not 0 <= split_seed < 2**63:
        raise UserError(f"split seed {split_seed}: expected 0 or more, below 2^63")
    options = ReadOptions(
        size=size,
        channels=channels,
        skip_bad=skip_bad,
        image_column=image_column,
        label_column=label_column,
        progress=progress,
        cache=cache,
    )
    if data in NAMES:
        decoded, found = read_named(data, options, data_dir=data_dir, download=download)
        name, where = data, str(found or data)
    else:
        path = check_path(data)
        decoded = read_path(path, options)
        name, where = name_of_path(path, decoded), str(path)
    return assemble(
        decoded,
        name=name,
        where=where,
        known=data if data in NAMES else None,
        split_seed=split_seed,
        test_share=test_share,
        skip_bad=skip_bad,
    )


def load_images(
    path: str,
    *,
    like: RealData,
    skip_bad: bool = False,
    image_column: str | None = None,
    label_column: str | None = None,
    progress: bool | None = None,
    cache: bool = True,
) -> RealData:
    """Training images from a path, to be trained on in place of `like`, with its classes and normalisation.

    For exported, chosen or compressed images: one image of a class is enough, classes may be missing, and
    nothing is split off; where the path holds a test split too, it is left alone. Classes are matched by
    name, or by number where the names are 0, 1, 2, ...

    Raises:
        UserError: the images are absent or bad, or their classes or shape are not those of `like`.
    """
    options = ReadOptions(
        channels=like.image_shape[0],
        skip_bad=skip_bad,
        image_column=image_column,
        label_column=label_column,
        progress=progress,
        cache=cache,
    )
    return training_set(read_path(check_path(path), options), like=like, where=path)


def check_path(data: str) -> Path:
    """A path that exists, or a line that names the data sets that were perhaps meant."""
    path = Path(data).expanduser()
    if not path.exists():
        close = difflib.get_close_matches(data.lower(), NAMES, n=1, cutoff=0.6)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise UserError(f"{data}: no such file or folder, and not one of {', '.join(NAMES)}{hint}")
    return path
