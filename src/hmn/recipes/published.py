"""Accuracies that papers report, to be shown beside measured ones and never in their place."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

SMALLER = "-cpu"
"""Ends the name of a recipe that is a shorter version of a published one."""
_SECONDARY = "quoted from a secondary text"


@dataclass(frozen=True, kw_only=True)
class Published:
    """An accuracy as published: at full length, with its own settings."""

    percent: float
    net: str
    source: str
    secondary: bool
    """Quoted from another text than the paper itself, which was out of reach."""

    def __str__(self) -> str:
        return f"{self.percent:.1f}" + (" (secondary)" if self.secondary else "")


SOURCES: Final[Mapping[str, str]] = {
    "dsa": "DSA, arXiv:2102.08259",
    "dm": "DM, arXiv:2110.04181",
    "idc-i": "IDC, arXiv:2205.14959",
    "idc": "IDC, arXiv:2205.14959",
    "haba": "HaBa, arXiv:2210.16774",
    "linba": "LinBa, arXiv:2206.02916",
    "hmn": "HMN, arXiv:2310.07506",
    "mtt": "MTT, arXiv:2203.11932",
    "ddif": "DDiF, arXiv:2503.04835",
    "gsdd": "GSDD, arXiv:2509.26219",
    "autopalette": "AutoPalette, arXiv:2411.11329",
    "whole": "HMN, arXiv:2310.07506",
}
"""The paper that introduces each method; its numbers are as comparisons between papers list them."""
SAME_OBJECTIVE_SOURCE: Final = "HMN, arXiv:2310.07506, same objective (gradient matching)"
NETS: Final[Mapping[str, str]] = {"tiny-imagenet": "convnet4", "imagenet-10": "resnetap10"}
"""Networks of the literature by data set; convnet3 where not named."""
_IPCS = (1, 10, 50)
ByBudget = tuple[float | None, ...]
MAIN: Final[Mapping[str, Mapping[str, ByBudget]]] = {
    "cifar10": {
        "dsa": (28.8, 52.1, 60.6),
        "dm": (26.0, 48.9, 63.0),
        "idc-i": (36.7, 58.3, 69.5),
        "idc": (50.6, 67.5, 74.5),
        "haba": (48.3, 69.9, 74.0),
        "linba": (66.4, 71.2, 73.6),
        "hmn": (65.7, 73.7, 76.9),
        "ddif": (66.5, 74.0, 77.5),
        "gsdd": (67.6, 75.5, 77.7),
        "autopalette": (58.6, 74.3, 79.4),
    },
    "svhn": {
        "dsa": (27.5, 79.2, 84.4),
        "idc-i": (46.7, 77.0, 87.9),
        "idc": (68.5, 87.5, 90.1),
        "linba": (87.3, 89.1, None),
        "hmn": (87.4, 90.0, 91.2),
    },
    "cifar100": {
        "dsa": (13.9, 32.3, 42.8),
        "dm": (11.4, 29.7, 43.6),
        "idc-i": (None, 36.6, None),
        "idc": (None, 45.1, None),
        "haba": (33.4, 40.2, 47.0),
        "linba": (34.0, 42.9, None),
        "hmn": (36.3, 45.4, 48.5),
        "ddif": (42.1, 46.0, 49.9),
        "gsdd": (43.0, 47.4, 53.1),
        "autopalette": (38.0, 52.6, 53.3),
    },
    "tiny-imagenet": {"hmn": (19.4, 24.4, None), "mtt": (8.8, 23.2, None)},
    "imagenet-10": {"hmn": (64.6, None, None), "idc": (None, 72.8, None)},
}
"""Per cent at 1, 10 and 50 IPC by data set and method, with the literature's network."""
ON_WHOLE: Final[Mapping[str, float]] = {"cifar10": 84.8, "svhn": 95.4, "cifar100": 56.2}
SAME_OBJECTIVE: Final[Mapping[str, ByBudget]] = {
    "pixels": (36.7, 58.3, 69.5),
    "mosaic": (50.0, 67.5, 74.5),
    "factorized": (48.5, 61.8, 72.4),
    "linear": (62.0, 67.8, 70.7),
    "hmn": (65.7, 73.7, 76.9),
}
"""CIFAR-10, gradient matching, the container alone differing."""
OTHER_NETS: Final[Mapping[str, Mapping[str, ByBudget]]] = {
    "vgg16": {"hmn": (58.5, 64.3, 70.2), "idc": (28.7, 43.1, 57.9)},
    "resnet18": {"hmn": (56.8, 62.9, 69.1), "idc": (32.3, 45.1, 58.4)},
    "densenet121": {"hmn": (50.7, 56.9, 65.1)},
}
"""CIFAR-10, trained with another network."""
_SECONDARY_DATA = {"hmn": ("svhn", "tiny-imagenet", "imagenet-10")}
"""Where HMN's own numbers were read in another text."""


def published(method: str, *, data: str, ipc: int | None, net: str) -> Published | None:
    """What is published of a method, a name of `SOURCES` or of its shorter recipe (dsa-cpu); None where nothing is.

    `ipc` is None for the whole training set. Where papers report another network than their usual one, and `net` is it,
    its numbers are given.
    """
    name = method.lower().removesuffix(SMALLER)
    usual = NETS.get(data, "convnet3")
    if name == "whole":
        if ipc is not None or data not in ON_WHOLE:
            return None
        return Published(percent=ON_WHOLE[data], net=usual, source=SOURCES[name], secondary=False)
    if data == "cifar10" and net in OTHER_NETS:
        return _published(OTHER_NETS[net].get(name), ipc, net, f"{SOURCES['hmn']}, other networks", secondary=True)
    secondary = data in _SECONDARY_DATA.get(name, ())
    return _published(MAIN.get(data, {}).get(name), ipc, usual, SOURCES.get(name, ""), secondary=secondary)


def same_objective(container: str, *, data: str, ipc: int | None) -> Published | None:
    """What is published of a container under gradient matching, the objective of all; None where nothing is."""
    row = SAME_OBJECTIVE.get(container) if data == "cifar10" else None
    return _published(row, ipc, "convnet3", SAME_OBJECTIVE_SOURCE, secondary=True)


def _published(row: ByBudget | None, ipc: int | None, net: str, source: str, *, secondary: bool) -> Published | None:
    percent = row[_IPCS.index(ipc)] if row is not None and ipc in _IPCS else None
    return None if percent is None else Published(percent=percent, net=net, source=source, secondary=secondary)


def remark(found: Published) -> str:
    """The source in words, and how it was read."""
    return f"{found.source}, {found.net}" + (f"; {_SECONDARY}" if found.secondary else "")
