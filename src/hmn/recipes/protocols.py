"""Named ways to train on a condensed set, so that accuracies say how they were taken."""

from dataclasses import replace
from typing import Any

from hmn.errors import UserError
from hmn.recipes.parts import DSA, NO_AUGMENT, column
from hmn.recipes.settings import AugmentConfig, TrainConfig

PROTOCOLS = {
    "paper": "the paper's learning rate and epochs",
    "short": "the same for 2,000 steps",
    "quick": "the same for 600 steps",
    "dc": "as DC's results were taken: no augmentation",
    "dsa": "as those of DSA, DM, MTT, HaBa and DDiF: one augmentation at a time",
    "idc": "as IDC's",
    "linba": "as LinBa's: a constant rate, no augmentation",
}
"""Each way to train, in words."""
_PAPER: dict[str, tuple[float, tuple[int, int, int]]] = {
    "cifar10": (0.01, (2000, 2000, 1000)),
    "svhn": (0.01, (1500, 1500, 700)),
    "cifar100": (0.01, (500, 500, 500)),
    # 50 images a class are not in the paper for these two.
    "tiny-imagenet": (0.02, (300, 300, 300)),
    "imagenet-10": (0.02, (300, 300, 300)),
}
"""Learning rate, and epochs at 1, 10 and 50 images per class."""
_STEPS = {"short": 2000, "quick": 600}
_PLAIN: dict[str, Any] = {"augment": NO_AUGMENT, "cutmix_probability": 0.0}
_DC = TrainConfig(epochs=300, batch_size=256, weight_decay=5e-4, schedule="halfway", **_PLAIN)
_OTHERS = {
    "dc": _DC,
    "dsa": replace(_DC, epochs=1000, augment=DSA),
    "idc": TrainConfig(epochs=1000, weight_decay=5e-4, schedule="thirds"),
    "linba": TrainConfig(epochs=300, batch_size=640, weight_decay=0.0, schedule="constant", **_PLAIN),
}
"""How other methods' results were taken; docs/methods.md has the sources. DM, MTT, HaBa and DDiF train as DSA does."""
NO_FLIP = ("svhn", "mnist", "digits")
"""Digits, which IDC does not mirror."""


def protocol(name: str, dataset: str, ipc: int) -> TrainConfig:
    """The training settings of a protocol for a condensed `dataset` of `ipc` images per class in budget.

    paper: the paper's learning rate and epochs. short: 2000 steps, quick: 600 steps, otherwise the same, for
    development on a CPU: their accuracies are below the paper's protocol and comparable only with each other.
    dc, dsa, idc, linba: as those methods' own results were taken, with as many epochs at every ipc.
    Data sets that the paper has not train as cifar10; an ipc between its columns as the next larger column.
    Source: supplement C.2 of arXiv:2310.07506.
    """
    if name not in PROTOCOLS:
        raise UserError(f"unknown training protocol {name!r}: expected one of {', '.join(PROTOCOLS)}.")
    if ipc < 1:
        raise UserError(f"ipc={ipc}: expected at least 1 image per class.")
    cutmix = 1.0 if dataset == "imagenet-10" else 0.5  # as IDC's code has it
    if name == "idc":
        flip = "" if dataset in NO_FLIP else "flip_"
        augment = AugmentConfig(strategy=f"color_crop_cutout_{flip}scale_rotate")
        return replace(_OTHERS[name], augment=augment, cutmix_probability=cutmix)
    if name in _OTHERS:
        return _OTHERS[name]
    lr, epochs = _PAPER.get(dataset, _PAPER["cifar10"])
    return TrainConfig(lr=lr, epochs=epochs[column(ipc)], steps=_STEPS.get(name), cutmix_probability=cutmix)
