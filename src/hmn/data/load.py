"""One function that reads a data set, and one that reads images to train on in its place."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hmn.data.assemble import assemble, training_set
from hmn.data.in_memory import read_in_memory
from hmn.data.named import NAMES, name_of_path, read_named, read_path
from hmn.data.options import DataOptions
from hmn.data.real import RealData, Splits
from hmn.errors import UserError


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
    decoded = read_path(path, options)
    return assemble(decoded, options, name=name or name_of_path(path, decoded), where=str(path), known=None)


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
