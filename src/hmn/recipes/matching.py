"""Recipes of the methods that match gradients or features of networks, as published: DC, DSA, DM, IDC-I, IDC, HMN.

docs/methods.md has every number with the file or section that states it, and the deviations.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from hmn.recipes.parts import DSA, EVERY_IMAGE, NO_AUGMENT, Fitted, evaluated, in_pixels, network_name, untrained
from hmn.recipes.settings import AugmentConfig, CondenseConfig, NetworkConfig, Recipe, StartConfig

LOOPS = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}
"""DC and DSA: matching steps of a network, and epochs that it trains after each, by IPC (utils.py: get_loops)."""
DC_BATCH = 256
"""Synthetic images a step of DC's networks (main.py: --batch_train)."""
ABSOLUTE = ("cifar100", "tiny-imagenet")
"""Data sets whose gradients HMN compares by absolute differences (supplement C.2)."""
SGD: dict[str, Any] = {"optimizer": "sgd", "momentum": 0.5, "schedule": "constant"}
"""How DC, DM and IDC step their images."""
IDC_GREY = ("mnist", "fashion-mnist")
IDC_WARM_UP = 2030
"""Batches of 64 in the 10 passes over the about 13,000 images of ImageNet-10 before IDC's first match."""


def dc(fitted: Fitted) -> Recipe:
    """Gradient matching by cosines, without augmentation, from noise. Source: arXiv:2006.05929 and its code."""
    outer, inner = next((loops for ipc, loops in LOOPS.items() if fitted.ipc <= ipc), LOOPS[50])
    batches = inner * math.ceil(fitted.ipc * fitted.num_classes / DC_BATCH)
    network = replace(untrained(fitted), trained_on="generated", update_batches=batches, update_batch_size=DC_BATCH)
    network = replace(network, lr=0.01, momentum=0.0, weight_decay=0.0)
    condense = _every_image(fitted, "gradient", lr=0.1, epochs=1000, inner_steps=outer, network=network)
    condense = replace(condense, distance="cosine", augment=NO_AUGMENT, start=StartConfig(kind="noise"))
    cost = f"{condense.num_sweeps:,} sweeps, 256 real images a class, width 128; network epochs after each: {inner}"
    return _in_pixels(fitted, "dc", condense, protocol="dc", cost=cost)


def dsa(fitted: Fitted) -> Recipe:
    """DC from real images, with the same single augmentation on both sides. Source: arXiv:2102.08259 and its code."""
    plain = dc(fitted)
    condense = replace(plain.condense, augment=DSA, start=StartConfig(kind="real"))
    return replace(plain, name="dsa", condense=condense, evaluate=evaluated(fitted, "dsa"))


def dm(fitted: Fitted) -> Recipe:
    """Class means of an untrained network's features. Source: arXiv:2110.04181 and its code (main_DM.py)."""
    how = _every_image(fitted, "distribution", lr=1.0, epochs=20_000, inner_steps=1, network=untrained(fitted))
    condense = replace(how, augment=DSA, start=StartConfig(kind="real"))
    cost = "20,000 sweeps of 256 real images a class, forwards alone, at width 128"
    return _in_pixels(fitted, "dm", condense, protocol="dsa", cost=cost)


def _every_image(fitted: Fitted, objective: Any, *, lr: float, **more: Any) -> CondenseConfig:
    """DC's and DM's sweeps of all generated images and 256 real ones, with a rate for normalised images."""
    counts: dict[str, Any] = {"real_per_class": 256, "generated_per_class": max(EVERY_IMAGE, fitted.ipc)}
    return CondenseConfig(objective=objective, lr=in_pixels(lr, fitted), **SGD, **counts, **more)


def _in_pixels(fitted: Fitted, name: str, condense: CondenseConfig, *, protocol: str, cost: str) -> Recipe:
    tested = evaluated(fitted, protocol)
    return Recipe(name=name, ipc=fitted.ipc, container="pixels", condense=condense, evaluate=tested, cost=cost)


def idc_i(fitted: Fitted) -> Recipe:
    """Gradient matching with networks trained on real data. Source: arXiv:2205.14959 and its code (factor 1)."""
    large = fitted.dataset.startswith("imagenet")
    counts: dict[str, Any] = {"real_per_class": 128 if large and _many(fitted) else 64, "generated_per_class": 128}
    condense = CondenseConfig(
        objective="gradient",
        distance="absolute" if large or fitted.dataset in IDC_GREY else "squared",
        epochs=500 if large else 2000,
        inner_steps=100,
        lr=_idc_rate(fitted),
        step_per="class",
        start=StartConfig(kind="real"),
        network=_idc_network(fitted),
        **SGD,
        **counts,
    )
    cost = f"{condense.num_sweeps:,} sweeps with networks of width 128 that train on real images: weeks on a CPU"
    return _in_pixels(fitted, "idc-i", condense, protocol="idc", cost=cost)


def idc(fitted: Fitted) -> Recipe:
    """IDC-I into mosaics of factor 2; of 3 on ImageNet, there bounded from 20 IPC on. Source: as IDC-I."""
    plain = idc_i(fitted)
    large = fitted.dataset.startswith("imagenet")
    sizes = {"bound": 128, "factor": 3} if large and fitted.ipc >= 20 else {"factor": 3 if large else 2}
    condense = plain.condense
    if fitted.dataset == "mnist":
        network = replace(condense.network, cutmix_probability=0.0)
        condense = replace(condense, augment=AugmentConfig(strategy="color_crop"), network=network)
    return replace(plain, name="idc", container="mosaic", sizes=sizes, condense=condense)


def hmn(fitted: Fitted) -> Recipe:
    """The paper: IDC's matching with Adam, into hierarchical memories. Source: supplement C.2 of arXiv:2310.07506."""
    few, large = fitted.dataset in ("svhn", "imagenet-10"), fitted.dataset == "imagenet-10"
    updates: dict[str, Any] = {"update_batches": 8 if few else 32, "cutmix_probability": 1.0 if large else 0.5}
    network = replace(untrained(fitted), **updates)
    distance: Any = "absolute" if fitted.dataset in ABSOLUTE else "squared"
    condense = CondenseConfig(lr=0.02 if fitted.dataset == "cifar100" else 0.01, distance=distance, network=network)
    cost = "200,000 sweeps: not run to its end yet; weeks or more on a CPU"
    return Recipe(name="hmn", ipc=fitted.ipc, condense=condense, evaluate=evaluated(fitted, "paper"), cost=cost)


def _many(fitted: Fitted) -> bool:
    return fitted.num_classes >= 100


def _idc_rate(fitted: Fitted) -> float:
    """Published rates times ipc / 10 and the area over the published one (argument.py: tune_lr_img)."""
    if fitted.dataset.startswith("imagenet"):
        rate, side = (1e-3 if _many(fitted) else 3e-3), 224
    elif fitted.dataset in IDC_GREY:
        rate, side = 1e-4, 28 if fitted.dataset == "mnist" else 32
    else:
        rate, side = 5e-3, 32
    return float(f"{rate * fitted.ipc / 10 * (fitted.side / side) ** 2:.4g}")


def _idc_network(fitted: Fitted) -> NetworkConfig:
    large, many = fitted.dataset.startswith("imagenet"), _many(fitted)
    wide = fitted.dataset.startswith("imagenet") and many
    few = large or fitted.dataset in ("svhn", *IDC_GREY)
    return NetworkConfig(
        name=network_name(fitted.image_shape),
        width=None,
        warm_up_batches=IDC_WARM_UP if large and not many else 0,
        lr=0.1 if wide else 0.01,
        weight_decay=1e-4 if wide else 5e-4,
        cutmix_probability=1.0 if large else 0.5,
        update_batches=4 if wide else 8 if few else 32,
        update_batch_size=128 if wide else 64,
    )
