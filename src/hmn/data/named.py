"""Data sets by name: where to look for them, and what to say when they are not there."""

import os
from collections.abc import Callable
from pathlib import Path

import platformdirs

from hmn.data.folders import read_folders
from hmn.data.formats import Decoded
from hmn.data.imagenet import has_imagenet10, is_tiny_imagenet, read_imagenet10, read_tiny_imagenet
from hmn.data.known_sizes import PUBLISHED
from hmn.data.npz import read_digits, read_npz
from hmn.data.options import DataOptions
from hmn.data.parquet import find_shards, read_parquet
from hmn.data.torchvision_sets import VISION_SETS, read_torchvision
from hmn.errors import UserError

FOLDERS_OF = {
    "cifar10": ("cifar10", "cifar-10"),
    "cifar100": ("cifar100", "cifar100/cifar100", "cifar-100"),
    "svhn": ("svhn", "svhn/cropped_digits"),
    "mnist": ("mnist", "mnist/mnist"),
    "fashion-mnist": ("fashion-mnist", "fashion_mnist", "fashion_mnist/fashion_mnist"),
    "tiny-imagenet": ("tiny-imagenet", "tiny-imagenet-200"),
    "imagenet-10": ("imagenet-10", "imagenet10", "imagenet", "ILSVRC2012", "ILSVRC/Data/CLS-LOC"),
}
"""Name -> the folders below the data folder that may hold it; the data folder itself is tried last."""
READERS = {".npz": read_npz, ".parquet": read_parquet}
NAMES = ("digits", *FOLDERS_OF)


def data_root(data_dir: Path | None) -> Path:
    """Where names are looked up: the folder given, else $HMN_DATA, else the platform's data folder for hmn. Raises
    UserError: the folder given, or $HMN_DATA, is not a folder.
    """
    told, source = (data_dir, "--data-dir") if data_dir is not None else (os.environ.get("HMN_DATA"), "$HMN_DATA")
    if told:
        root = Path(told).expanduser()
        if root.exists() and not root.is_dir():
            raise UserError(f"{root}: {source} is a file: expected the folder that holds the data sets")
        return root
    return platformdirs.user_data_path("hmn")


def read_named(name: str, options: DataOptions) -> tuple[Decoded, Path | None]:
    """Find and read a data set of `NAMES`; returns it and the folder that it was found in. Raises UserError: it is
    nowhere (the line says what to do), or does not look like the data set of that name.
    """
    if name == "digits":
        return read_digits(options), None
    root = data_root(options.data_dir)
    for folder in (root / sub for sub in (*FOLDERS_OF[name], "")):
        if folder.is_dir() and (decoded := read_if_present(name, folder, options)) is not None:
            check_looks(name, decoded, folder, options)
            return decoded, folder
    if options.download:
        if name not in VISION_SETS:
            raise UserError(f"{name}: cannot be downloaded here: get it yourself and pass --data-dir")
        return read_torchvision(name, root, options), root
    advice = "pass --download to fetch it, or" if name in VISION_SETS else "get it and"
    raise UserError(f"{name}: not found in {root}: {advice} pass --data-dir (or set HMN_DATA) where it is")


def read_if_present(name: str, folder: Path, options: DataOptions) -> Decoded | None:
    """The data set, where the folder holds it in one of the layouts known for that name.

    A failed download leaves the folder by which torchvision's files are told: so with `download`, torchvision
    is asked to complete them, which costs it a look at their checksums where they are whole.
    """
    if name == "imagenet-10":
        return read_imagenet10(folder, options) if has_imagenet10(folder) else None
    if name in VISION_SETS and (folder / VISION_SETS[name].marker).exists():
        return read_torchvision(name, folder, options)
    if name == "tiny-imagenet" and is_tiny_imagenet(folder):
        return read_tiny_imagenet(folder, options)
    return read_parquet(folder, options) if find_shards(folder) else None


def check_looks(name: str, decoded: Decoded, folder: Path, options: DataOptions) -> None:
    """Refuse another data set's files under a known name: wrong number of classes or image shape.

    Tiny ImageNet's own layout is told by its files, so there a part of its classes will do.
    """
    if name == "imagenet-10":
        return  # ten folders by their names
    expected_shape, expected_classes, _ = PUBLISHED[name]
    start = VISION_SETS[name].first_class if name in VISION_SETS else ""
    any_number = name == "tiny-imagenet" and not find_shards(folder)
    shape = tuple(decoded.train.pixels.shape[1:])
    first = decoded.class_names[0].lower() if decoded.class_names else "none"
    right_shape = options.size is not None or options.channels is not None or shape == expected_shape
    right_name = first == "0" or first.startswith(start)
    right_number = any_number or len(decoded.class_names) == expected_classes
    if not (right_number and right_shape and right_name):
        got = f"{len(decoded.class_names)} classes ({first}, ...) of {shape} images"
        expected = f"{expected_classes} {f'({start}..., ...) ' if start else ''}of {expected_shape}"
        raise UserError(f"{folder}: holds {got}, but {name} has {expected}: to use it, pass its path")


def name_of_path(path: Path, decoded: Decoded) -> str:
    """The name of a data set read by its path: that of the file or folder, or tiny-imagenet.

    Tiny ImageNet's layout with all its classes at its size is that data set, whatever its folder is called:
    what was published for it (sizes, distances, learning rates) is found by the name.
    """
    whole = (decoded.train.pixels.shape[1:], len(decoded.class_names)) == PUBLISHED["tiny-imagenet"][:2]
    if whole and reader_of(path) is read_tiny_imagenet:
        return "tiny-imagenet"
    return path.resolve().name if path.is_dir() else path.resolve().stem


def reader_of(path: Path) -> Callable[[Path, DataOptions], Decoded]:
    """What reads a path: .npz, .parquet, a folder of Parquet, Tiny ImageNet's tree, class folders."""
    if path.is_dir():
        if find_shards(path):
            return read_parquet
        return read_tiny_imagenet if is_tiny_imagenet(path) else read_folders
    if path.suffix.lower() in READERS:
        return READERS[path.suffix.lower()]
    raise UserError(f"{path}: not a data set: expected a folder, an .npz or a .parquet file")


def absolute(data: str) -> str:
    """A data set's name as it is, its path from the root: runs may work in another folder, or on another machine."""
    path = Path(data).expanduser()
    return data if data in NAMES or not path.exists() else str(path.resolve())
