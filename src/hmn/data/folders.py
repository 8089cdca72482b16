"""Image trees: class folders, split by folder or by seed; the base of the ImageNet layouts."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hmn.data.bulk import Item, decode_all
from hmn.data.cache import cached
from hmn.data.formats import TEST_FOLDERS, TRAIN_FOLDERS, Decoded
from hmn.data.options import DataOptions
from hmn.errors import UserError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2")


class Listing(NamedTuple):
    """Labelled image files: test is None where it must be split off by a seed."""

    train: list[tuple[Path, int]]
    test: list[tuple[Path, int]] | None
    class_names: tuple[str, ...]


def read_folders(root: Path, options: DataOptions) -> Decoded:
    """Read `root/train/<class>/` with `root/test|val/<class>/`, or `root/<class>/` to be split by a seed.

    Classes are the folders of the training tree in sorted order; images may lie deeper inside them. Hidden files and
    files that are not images by their suffix are passed over. Raises UserError: no class folders, an empty class, a
    test class that training lacks, or a bad image.
    """
    train_root, test_root = split_folders(root, lambda folder: folder.is_dir() and bool(subfolders(folder)))
    names = class_folders(train_root)
    train = list_classes(train_root, names, options)
    test = None if test_root is None else list_test(test_root, names, options)
    return read_listing(Listing(train, test, names), root, options, kind="folders")


def split_folders(root: Path, has_classes: Callable[[Path], bool]) -> tuple[Path, Path | None]:
    """The folder of the training classes, which may be the root; and that of the test split, where there is one."""
    train = next((root / name for name in TRAIN_FOLDERS if (root / name).is_dir()), None)
    if train is None:
        return root, None
    return train, next((root / name for name in TEST_FOLDERS if has_classes(root / name)), None)


def subfolders(root: Path) -> tuple[str, ...]:
    """Names of the visible folders in root, sorted."""
    try:
        found = [entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith(".")]
    except OSError as error:
        raise UserError(f"{root}: cannot list the folder: {error.strerror or error}") from None
    return tuple(sorted(found))


def class_folders(root: Path) -> tuple[str, ...]:
    """The class names of a tree."""
    names = subfolders(root)
    if not names:
        hint = "images, but no class folders" if images_below(root) else "neither class folders nor images"
        raise UserError(f"{root}: {hint}: expected one folder of images per class")
    if not any(images_below(root / name) for name in names):
        raise UserError(f"{root}: no images in its {len(names)} folders: expected one folder of images per class")
    return names


def images_below(folder: Path) -> list[Path]:
    """All image files in a folder and below, in sorted order."""
    found: list[Path] = []
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        images = sorted(name for name in files if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith("."))
        found += [Path(parent, name) for name in images]
    return found


def list_classes(
    root: Path, names: Sequence[str], options: DataOptions, *, lack: Mapping[str, str] | None = None
) -> list[tuple[Path, int]]:
    """(file, label) of every image of every class, class by class; `lack` is what errors say of an empty class.

    With skip_bad such a class is left out later.
    """
    listed = []
    for label, name in enumerate(names):
        files = images_below(root / name)
        if not files and not options.skip_bad:
            usual = "the class folder has no images: add some or remove the folder"
            raise UserError(f"{root / name}: {lack[name] if lack else usual}")
        listed += [(file, label) for file in files]
    return listed


def list_test(root: Path, names: tuple[str, ...], options: DataOptions) -> list[tuple[Path, int]]:
    """(file, label) of the test tree; classes may be missing there, but none may be new.

    A new class's files get label -1 with skip_bad, so that they are counted as skipped.
    """
    label_of = {name: label for label, name in enumerate(names)}
    listed = []
    for name in subfolders(root):
        if name not in label_of and not options.skip_bad:
            raise UserError(f"{root / name}: class {name!r} is not among the {len(names)} training classes")
        listed += [(file, label_of.get(name, -1)) for file in images_below(root / name)]
    if not listed:
        raise UserError(f"{root}: no images in its class folders")
    return listed


def read_listing(listing: Listing, root: Path, options: DataOptions, *, kind: str) -> Decoded:
    """Decode the files of a listing, or take them from the cache."""
    files = listing.train + (listing.test or [])
    if not any(label >= 0 for _, label in listing.train):
        raise UserError(f"{root}: no images: expected one folder of images per class")
    named = ((path.relative_to(root).as_posix(), path) for path, _ in files)
    # The labels too: Tiny ImageNet's lie in a text file, and a name may be given another order of classes.
    labels = [label for _, label in files]
    shape = {"labels": labels, "train": len(listing.train), "classes": listing.class_names}
    read = partial(decode_listing, listing, root, options)
    return cached(kind, named, options, read, skip_bad=options.skip_bad, split=listing.test is None, **shape)


def decode_listing(listing: Listing, root: Path, options: DataOptions) -> Decoded:
    """Decode all files at once, so that both splits share size and channels, and part them again."""
    listed = [listing.train] if listing.test is None else [listing.train, listing.test]
    splits = [[(path, label) for path, label in split if label >= 0] for split in listed]
    files = [path for split in splits for path, _ in split]
    bulk = decode_all((Item(str(path), path) for path in files), len(files), options, title=root.name)
    labels = [np.array([label for _, label in split], dtype=np.int64) for split in splits]
    return bulk.decoded(sum(map(len, listed)), labels, listing.class_names)
