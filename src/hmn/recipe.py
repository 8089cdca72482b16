"""Named recipes: the paper's settings, and shorter ones for a CPU. Every recipe states its cost."""

from __future__ import annotations

import difflib
from dataclasses import asdict, replace
from typing import Any

from hmn.errors import UserError
from hmn.settings import CondenseConfig, EvaluateConfig, NetworkConfig, Recipe, StartConfig

RECIPES = ("paper", "cpu", "quick")
_ABSOLUTE = ("cifar100", "tiny-imagenet")
"""Data sets whose gradients the paper compares by absolute differences."""


def recipe(name: str, *, dataset: str, ipc: int, image_shape: tuple[int, int, int]) -> Recipe:
    """A recipe by name, fitted to a data set.

    paper: gradient matching at the published length (supplement C.2). cpu: an hour or less on two cores for
    CIFAR-10 at 1 IPC. quick: a minute or two on small data, to see that everything works.

    Args:
        name: paper, cpu or quick.
        dataset: name of the data, which sets distances and learning rates in `paper`.
        ipc: images per class in budget.
        image_shape: channels, height, width: small images take shallower networks, large ones ResNetAP-10.

    Raises:
        UserError: no recipe has this name.
    """
    if name not in RECIPES:
        close = difflib.get_close_matches(name, RECIPES, n=1, cutoff=0.0)[0]
        raise UserError(f"no recipe is called {name!r}: expected one of {', '.join(RECIPES)}; did you mean {close}?")
    net = _network(image_shape)
    width = 64 if net == "convnet2" else None  # a quarter of the cost of 128
    evaluate = EvaluateConfig(net=net, width=width, protocol={"paper": "paper", "cpu": "short", "quick": "quick"}[name])
    if name == "paper":
        condense, cost = _paper(dataset, net), "200,000 sweeps: not run to its end yet; weeks or more on a CPU"
    elif name == "cpu":
        condense, cost = (
            _cpu(net),
            "under an hour on two cores for CIFAR-10 at 1 IPC; more with classes and pixels",
        )
    else:
        condense, cost = _quick(net), "a minute or two on two cores for digits; a look, not a result"
    return Recipe(name=name, cost=cost, ipc=ipc, condense=condense, evaluate=evaluate)


def _network(image_shape: tuple[int, int, int]) -> str:
    """ConvNet-3 below 64 pixels, ConvNet-4 from there and ResNetAP-10 from 96, as the literature has them.

    Below 16 pixels ConvNet-2: a third pooling would leave less than 2x2 positions.
    """
    side = min(image_shape[1:])
    if side >= 96:
        return "resnetap10"
    if side >= 64:
        return "convnet4"
    return "convnet3" if side >= 16 else "convnet2"


def _paper(dataset: str, net: str) -> CondenseConfig:
    base = CondenseConfig(network=NetworkConfig(name=net, width=None))
    if dataset == "cifar100":
        base = replace(base, lr=0.02)
    if dataset in _ABSOLUTE:
        base = replace(base, distance="absolute")
    network = base.network
    if dataset in ("svhn", "imagenet-10"):  # about 500 real images an update, method of IDC's code
        network = replace(network, update_batches=8)
    if dataset == "imagenet-10":
        network = replace(network, cutmix_probability=1.0)
    return replace(base, network=network)


def _cpu(net: str) -> CondenseConfig:
    """Feature matching on narrow networks from reconstructed real images; docs/log.md has what chose it."""
    return CondenseConfig(
        objective="features",
        epochs=40,
        inner_steps=100,
        real_per_class=128,
        generated_per_class=60,
        lr=0.02,
        schedule="cosine",
        start=StartConfig(kind="real", steps=1500),
        network=NetworkConfig(name=net, width=32, update_batches=4),
    )


def _quick(net: str) -> CondenseConfig:
    return replace(
        _cpu(net),
        epochs=6,
        inner_steps=50,
        real_per_class=64,
        generated_per_class=40,
        start=StartConfig(kind="real", steps=300),
    )


def recipe_to_toml(recipe: Recipe) -> str:
    """The resolved recipe as TOML, which `hmn condense --config` reads again; settings that are None are left out."""
    import tomli_w

    return tomli_w.dumps(_without_none(asdict(recipe)))


def _without_none(table: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in table.items()
        if value is not None
    }
