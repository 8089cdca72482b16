"""One function that reads a data set, and one that reads images to train on in its place.

From what a reader gives to `Splits`: every class present, labels 0..k-1, a test split.
"""

import difflib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hmn.data.formats import Decoded, Labelled
from hmn.data.in_memory import read_in_memory
from hmn.data.named import NAMES, name_of_path, read_named, reader_of
from hmn.data.options import DataOptions
from hmn.data.real import RealData, Splits, stratified_indices
from hmn.data.source import Normalisation, normalisation_for
from hmn.errors import UserError

TEST_SHARE = 0.2
"""Share of each class that is split off where no test split comes along and no other share is given."""


def load_data(
    source: Any,
    options: DataOptions | None = None,
    *,
    test: Any = None,
    class_names: Sequence[str] | None = None,
    name: str | None = None,
) -> Splits:
    """Training and test images of a data set, uint8 in memory; both share the training split's normalisation.

    Args:
        source: one of
            - a name (digits, cifar10, cifar100, svhn, mnist, fashion-mnist, tiny-imagenet, imagenet-10), looked up
              in `options.data_dir`, else $HMN_DATA, else the platform's data folder;
            - a path: class folders, Tiny ImageNet's tree, a folder of Parquet shards, a .parquet or an .npz.
              `./NAME` is always a path;
            - a tuple (images, labels) of tensors or arrays: images [n, h, w], [n, h, w, c] or [n, c, h, w] with 1 or
              3 channels, uint8 or other integers in 0..255, or floats in [0, 1]; labels integers or text [n];
            - a torch Dataset with a length, of pairs (image, label): PIL images, or arrays and tensors of one shape
              as above; its `.classes` name the classes. A PIL image is taken as the same image in a file;
            - a Hugging Face Dataset, or a DatasetDict with train and test (else validation); columns are told by
              their features, else by usual names, else by `options`; a ClassLabel names the classes;
            - what this function gave, which is given back.
        options: how to find and read it. With `size` every image's centre square is resized, without it equal
            sizes are demanded; bad images left out with `skip_bad` are counted in `Splits.skipped`.
        test: images to test on, of the same kinds, for images in memory. Without them a share of each class is
            split off by a seed, as for folders.
        class_names: names of the classes 0, 1, 2, ... for images in memory.
        name: what the set is called, in the place of its own name or "data". By it published sizes are found.

    Raises:
        UserError: the data are absent or bad; one line naming the file and what to do.
    """
    options = options or DataOptions()
    if isinstance(source, Splits):
        return source
    if not isinstance(source, str | Path):
        where = name or "data"
        decoded = read_in_memory(source, test, options, class_names=class_names, where=where)
        return assemble(decoded, options, name=where, where=where, known=None)
    if test is not None or class_names is not None:
        raise UserError(f"{source}: test and class_names go with images in memory; a data set brings its own")
    if source in NAMES:
        decoded, found = read_named(str(source), options)
        return assemble(decoded, options, name=name or str(source), where=str(found or source), known=str(source))
    path = check_path(str(source))
    decoded = reader_of(path)(path, options)
    return assemble(decoded, options, name=name or name_of_path(path, decoded), where=str(path), known=None)


def load_images(path: str, options: DataOptions | None = None, *, like: RealData) -> RealData:
    """Training images from a path, to be trained on in place of `like`, with its classes and normalisation.

    For exported, chosen or compressed images: one image of a class is enough, classes may be missing, and nothing is
    split off; where the path holds a test split too, it is left alone. Classes are matched by name, or by number where
    the names are 0, 1, 2, ... Images keep their size and get the channels of `like`. Raises UserError: the images are
    absent or bad, or their classes or shape are not those of `like`.
    """
    options = replace(options or DataOptions(), size=None, channels=like.image_shape[0])
    found = check_path(path)
    return training_set(reader_of(found)(found, options), like=like, where=path)


def check_path(data: str) -> Path:
    """A path that exists, or a line that names the data sets that were perhaps meant."""
    path = Path(data).expanduser()
    if not path.exists():
        close = difflib.get_close_matches(data.lower(), NAMES, n=1, cutoff=0.6)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise UserError(f"{data}: no such file or folder, and not one of {', '.join(NAMES)}{hint}")
    return path


def assemble(decoded: Decoded, options: DataOptions, *, name: str, where: str, known: str | None) -> Splits:
    """Check the classes, split by seed where no test set came along, and measure the training pixels.

    A class needs one training image, or two where the test set is split off it. With skip_bad a class that
    has fewer is left out, its images counted as skipped, and the labels of the others close up.
    """
    decoded = drop_small_classes(decoded, where=where, skip_bad=options.skip_bad)
    train, test, names, skipped = decoded
    if len(names) < 2:
        found = f"1 class ({names[0]})" if names else "no class"
        raise UserError(f"{where}: found {found} with images: expected at least 2 classes")
    # Without a test split, one is split off by the seed, class by class.
    if test is None:
        share = TEST_SHARE if options.test_share is None else options.test_share
        rest, taken = stratified_indices(torch.from_numpy(train.labels), share=share, seed=options.split_seed or 0)
        train, test = train.take(rest.numpy()), train.take(taken.numpy())
    if not len(test.labels):
        raise UserError(f"{where}: the test split has no images")
    if train.pixels.shape[1:] != test.pixels.shape[1:]:
        shapes = f"training images are {shape_words(train)}, test images {shape_words(test)}"
        raise UserError(f"{where}: {shapes}: pass --size and --channels to make them equal")
    # Both parts are normalised by the pixels that are trained on.
    normalisation = normalisation_for(known, torch.from_numpy(train.pixels))
    both = [real_data(part, names, normalisation, name) for part in (train, test)]
    return Splits(train=both[0], test=both[1], name=name, skipped=skipped)


def training_set(decoded: Decoded, *, like: RealData, where: str) -> RealData:
    """The training images of a data set, with the classes and the normalisation of `like`."""
    label_of = {str(label): label for label in range(like.num_classes)}
    label_of |= {name: label for label, name in enumerate(like.class_names)}
    for name in decoded.class_names:
        if name not in label_of:
            some = ", ".join(like.class_names[:5])
            raise UserError(f"{where}: class {name!r} is not one of {like.name}'s {like.num_classes}: {some}, ...")
    if decoded.train.pixels.shape[1:] != like.image_shape:
        expected = " x ".join(map(str, like.image_shape))
        raise UserError(f"{where}: images are {shape_words(decoded.train)}: expected {expected} as in {like.name}")
    new_label = np.array([label_of[name] for name in decoded.class_names], dtype=np.int64)
    part = decoded.train._replace(labels=new_label[decoded.train.labels])
    return real_data(part, like.class_names, like.normalisation, where)


def drop_small_classes(decoded: Decoded, *, where: str, skip_bad: bool) -> Decoded:
    """Refuse classes with too few training images, or with skip_bad leave them out and count."""
    names, needed = decoded.class_names, 2 if decoded.test is None else 1
    counts = np.bincount(decoded.train.labels, minlength=len(names))
    small = (counts < needed).nonzero()[0]
    if not len(small):
        return decoded
    if not skip_bad:
        who = f"class {names[small[0]]!r} (label {small[0]})"
        if counts[small[0]] == 0:
            raise UserError(f"{where}: {who} has no training images: add some or remove the class")
        raise UserError(f"{where}: {who} has 1 image: splitting off a test set needs 2; add one or give a test split")
    # The labels of the others close up.
    new_label = np.where(counts < needed, -1, np.cumsum(counts >= needed) - 1)
    parts = [part._replace(labels=new_label[part.labels]).without_bad() for part in decoded.parts]
    names = tuple(name for name, label in zip(names, new_label, strict=True) if label >= 0)
    return Decoded.out_of(decoded.skipped + sum(len(part.labels) for part in decoded.parts), parts, names)


def real_data(part: Labelled, names: tuple[str, ...], normalisation: Normalisation, name: str) -> RealData:
    """The same as tensors, which share its memory."""
    return RealData(torch.from_numpy(part.pixels), torch.from_numpy(part.labels), names, normalisation, name)


def shape_words(part: Labelled) -> str:
    """For example 3 x 32 x 32."""
    return " x ".join(map(str, part.pixels.shape[1:]))
