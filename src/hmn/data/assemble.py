"""From a data set as read to `Splits`: every class present, labels 0..k-1, a test split."""

from __future__ import annotations

import numpy as np
import torch

from hmn.data.formats import Decoded, Labelled
from hmn.data.options import DataOptions
from hmn.data.real import RealData, Splits, stratified_indices
from hmn.data.statistics import normalisation_for
from hmn.errors import UserError

TEST_SHARE = 0.2
"""Share of each class that is split off where no test split comes along and no other share is given."""


def assemble(decoded: Decoded, options: DataOptions, *, name: str, where: str, known: str | None) -> Splits:
    """Check the classes, split by seed where no test set came along, and measure the training pixels.

    A class needs one training image, or two where the test set is split off it. With skip_bad a class that
    has fewer is left out, its images counted as skipped, and the labels of the others close up.

    Raises:
        UserError: a class has too few images, fewer than two classes are left, or the splits differ in shape.
    """
    needed = 2 if decoded.test is None else 1
    decoded = drop_small_classes(decoded, needed=needed, where=where, skip_bad=options.skip_bad)
    if len(decoded.class_names) < 2:
        found = f"1 class ({decoded.class_names[0]})" if decoded.class_names else "no class"
        raise UserError(f"{where}: found {found} with images: expected at least 2 classes")
    # Without a test split, one is split off by the seed, class by class.
    if decoded.test is None:
        share = TEST_SHARE if options.test_share is None else options.test_share
        seed = options.split_seed or 0
        rest, taken = stratified_indices(torch.from_numpy(decoded.train.labels), share=share, seed=seed)
        train, test = pick(decoded.train, rest.numpy()), pick(decoded.train, taken.numpy())
    else:
        train, test = decoded.train, decoded.test
    if not len(test.labels):
        raise UserError(f"{where}: the test split has no images")
    if train.pixels.shape[1:] != test.pixels.shape[1:]:
        shapes = f"training images are {shape_words(train)}, test images {shape_words(test)}"
        raise UserError(f"{where}: {shapes}: pass --size and --channels to make them equal")
    # Both parts are normalised by the pixels that are trained on.
    normalisation = normalisation_for(known, torch.from_numpy(train.pixels))
    parts = [
        RealData(torch.from_numpy(part.pixels), torch.from_numpy(part.labels), decoded.class_names, normalisation, name)
        for part in (train, test)
    ]
    return Splits(train=parts[0], test=parts[1], name=name, skipped=decoded.skipped)


def training_set(decoded: Decoded, *, like: RealData, where: str) -> RealData:
    """The training images of a data set, with the classes and the normalisation of `like`.

    Raises:
        UserError: a class is not one of `like`'s, by name or by number, or the images differ in shape.
    """
    label_of = {name: label for label, name in enumerate(like.class_names)}
    label_of |= {str(label): label for label in range(like.num_classes) if str(label) not in label_of}
    for name in decoded.class_names:
        if name not in label_of:
            some = ", ".join(like.class_names[:5])
            raise UserError(f"{where}: class {name!r} is not one of {like.name}'s {like.num_classes}: {some}, ...")
    if decoded.train.pixels.shape[1:] != like.image_shape:
        expected = " x ".join(map(str, like.image_shape))
        raise UserError(f"{where}: images are {shape_words(decoded.train)}: expected {expected} as in {like.name}")
    new_label = np.array([label_of[name] for name in decoded.class_names], dtype=np.int64)
    labels = torch.from_numpy(new_label[decoded.train.labels])
    return RealData(torch.from_numpy(decoded.train.pixels), labels, like.class_names, like.normalisation, where)


def drop_small_classes(decoded: Decoded, *, needed: int, where: str, skip_bad: bool) -> Decoded:
    """Refuse classes with fewer than `needed` training images, or with skip_bad leave them out and count."""
    counts = np.bincount(decoded.train.labels, minlength=len(decoded.class_names))
    small = (counts < needed).nonzero()[0]
    if not len(small):
        return decoded
    if not skip_bad:
        label = int(small[0])
        who = f"class {decoded.class_names[label]!r} (label {label})"
        if counts[label] == 0:
            raise UserError(f"{where}: {who} has no training images: add some or remove the class")
        raise UserError(f"{where}: {who} has 1 image: splitting off a test set needs 2; add one or give a test split")
    train, lost_train = without_classes(decoded.train, small, len(counts))
    test, lost_test = without_classes(decoded.test, small, len(counts)) if decoded.test else (None, 0)
    names = tuple(class_name for i, class_name in enumerate(decoded.class_names) if i not in small)
    return Decoded(train, test, names, decoded.skipped + lost_train + lost_test)


def without_classes(part: Labelled, dropped: np.ndarray, num_classes: int) -> tuple[Labelled, int]:
    """The part without the classes `dropped`, labels closed up, and how many images went."""
    left = np.setdiff1d(np.arange(num_classes), dropped)
    new_label = np.full(num_classes, -1, dtype=np.int64)
    new_label[left] = np.arange(len(left))
    labels = new_label[part.labels]
    keep = (labels >= 0).nonzero()[0]
    return Labelled(part.pixels[keep], labels[keep]), len(labels) - len(keep)


def pick(part: Labelled, index: np.ndarray) -> Labelled:
    """The images at index [m]."""
    return Labelled(part.pixels[index], part.labels[index])


def same_channels(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays [n, c, h, w]; where one is grey and the other RGB, the grey one becomes three channels."""
    if train.shape[1] < test.shape[1]:
        return np.repeat(train, test.shape[1], axis=1), test
    return train, np.repeat(test, train.shape[1], axis=1) if test.shape[1] < train.shape[1] else test


def shape_words(part: Labelled) -> str:
    """For example 3 x 32 x 32."""
    return " x ".join(map(str, part.pixels.shape[1:]))
