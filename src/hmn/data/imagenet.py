"""Tiny ImageNet in its own layout, and ImageNet-10 out of an ImageNet tree."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from hmn.data.folders import Listing, list_classes, read_listing, split_folders, subfolders
from hmn.data.formats import Decoded
from hmn.data.known_sizes import PUBLISHED
from hmn.data.options import DataOptions
from hmn.errors import UserError

IMAGENET10 = {
    "n02869837": "poke bonnet",
    "n01749939": "green mamba",
    "n02488291": "langur",
    "n02107142": "Doberman",
    "n13037406": "gyromitra",
    "n02091831": "Saluki",
    "n04517823": "vacuum cleaner",
    "n04589890": "window screen",
    "n03062245": "cocktail shaker",
    "n01773797": "garden spider",
}
"""The ten classes of the dataset-condensation literature, in its order.

Source: IDC (arXiv:2205.14959), whose ImageNet-10 is the first ten of the ImageNet-100 list of CMC (Tian et
al., arXiv:1906.05849, imagenet100.txt). Deep clustering (DAC, ICCV 2017) calls another ten ImageNet-10.
"""


def is_tiny_imagenet(root: Path) -> bool:
    """Whether a folder has Tiny ImageNet's layout: train/ with wnids.txt or val/val_annotations.txt."""
    marks = (root / "wnids.txt", root / "val" / "val_annotations.txt")
    return (root / "train").is_dir() and any(mark.is_file() for mark in marks)


def read_tiny_imagenet(root: Path, options: DataOptions) -> Decoded:
    """Read Tiny ImageNet: classes are the wnids in sorted order, named by words.txt; val/ is the test set.

    Without val/val_annotations.txt the test set is split off by seed. Raises UserError: wnids.txt names a class without
    images, or the annotations name an unknown class or file.
    """
    wnids = read_wnids(root)
    train = list_classes(root / "train", wnids, options)
    annotations = root / "val" / "val_annotations.txt"
    test = list_annotated(annotations, wnids, options) if annotations.is_file() else None
    listing = Listing(train, test, word_names(root / "words.txt", wnids))
    return read_listing(listing, root, options, kind="tiny-imagenet")


def read_wnids(root: Path) -> tuple[str, ...]:
    """The class ids: those of wnids.txt, or the folders of train/ where it is missing."""
    path = root / "wnids.txt"
    if not path.is_file():
        return subfolders(root / "train")
    wnids = tuple(sorted({line.strip() for line in read_lines(path) if line.strip()}))
    if not wnids:
        raise UserError(f"{path}: the file is empty: expected one WordNet id a line")
    return wnids


def list_annotated(path: Path, wnids: tuple[str, ...], options: DataOptions) -> list[tuple[Path, int]]:
    """(file, label) of the validation images: lines of <file> TAB <wnid> TAB box."""
    label_of = {wnid: label for label, wnid in enumerate(wnids)}
    listed = []
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        fields = line.split("\t")
        if len(fields) < 2:
            raise UserError(f"{path}: line {number} is {line[:40]!r}: expected <file> TAB <wnid>")
        if fields[1] not in label_of and not options.skip_bad:
            raise UserError(f"{path}: line {number} names class {fields[1]!r}, which is not in wnids.txt")
        listed.append((path.parent / "images" / fields[0], label_of.get(fields[1], -1)))
    return listed


def word_names(path: Path, wnids: tuple[str, ...]) -> tuple[str, ...]:
    """The first word for each wnid; where two classes share it, the wnid is put behind."""
    words = {}
    if path.is_file():
        for line in read_lines(path):
            wnid, _, text = line.partition("\t")
            words[wnid] = text.split(",")[0].strip()
    names = [words.get(wnid) or wnid for wnid in wnids]
    counts = Counter(names)
    return tuple(name if counts[name] == 1 else f"{name} ({wnid})" for name, wnid in zip(names, wnids, strict=True))


def read_lines(path: Path) -> list[str]:
    """The lines of a text file."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot read the text file: {error}") from None


def has_imagenet10(root: Path) -> bool:
    """Whether a folder is an ImageNet tree with at least one of the ten classes: train/<wnid> or <wnid>."""
    return has_one_of_ten(root / "train") or has_one_of_ten(root)


def has_one_of_ten(folder: Path) -> bool:
    """Whether the folder of at least one of the ten classes is in it."""
    return any((folder / wnid).is_dir() for wnid in IMAGENET10)


def read_imagenet10(root: Path, options: DataOptions) -> Decoded:
    """Read the ten classes out of an ImageNet tree, at 224 x 224 unless another size is set.

    `root/train/<wnid>` with `root/val/<wnid>`; or `root/<wnid>`, to be split by a seed. Raises UserError: one of the
    ten folders is missing or empty, or val/ is not sorted into class folders.
    """
    if options.size is None:
        options = replace(options, size=PUBLISHED["imagenet-10"].image_shape[1])
    lack = {wnid: f"no images of {name!r}: ImageNet-10 needs this folder" for wnid, name in IMAGENET10.items()}
    train_root, test_root = split_folders(root, has_one_of_ten)
    train = list_classes(train_root, tuple(IMAGENET10), options, lack=lack)
    if train_root != root and test_root is None and (root / "val").is_dir():
        raise UserError(f"{root / 'val'}: no class folders: sort the validation images into val/<wnid>/ first")
    test = None if test_root is None else list_classes(test_root, tuple(IMAGENET10), options, lack=lack)
    return read_listing(Listing(train, test, tuple(IMAGENET10.values())), root, options, kind="imagenet-10")
