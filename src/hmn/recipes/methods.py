"""Recipes of the methods as published. docs/methods.md has every number with its source, and the deviations."""

import math
from dataclasses import replace
from typing import Any, NamedTuple

from hmn.recipes.parts import DSA, FROM_NOISE, FROM_REAL, NO_AUGMENT, Fitted, column, in_pixels, made, untrained
from hmn.recipes.settings import AugmentConfig, CondenseConfig, Recipe

LOOPS = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}
"""DC and DSA: matching steps of a network, and epochs that it trains after each, by IPC (utils.py: get_loops)."""
EVERY_IMAGE = 128
"""Images of a class a sweep for methods that take all of them, of which the largest published number is 50."""
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
    seen: dict[str, Any] = {"distance": "cosine", "augment": NO_AUGMENT, "start": FROM_NOISE, "network": network}
    condense = _every_image("gradient", fitted, lr=0.1, epochs=1000, inner_steps=outer, **seen)
    cost = f"{condense.num_sweeps:,} sweeps, 256 real images a class, width 128; network epochs after each: {inner}"
    return made("dc", fitted, condense=condense, container="pixels", protocol="dc", cost=cost)


def dsa(fitted: Fitted) -> Recipe:
    """DC from real images, with the same single augmentation on both sides. Source: arXiv:2102.08259 and its code."""
    plain = dc(fitted)
    condense = replace(plain.condense, augment=DSA, start=FROM_REAL)
    return replace(plain, name="dsa", condense=condense, evaluate=replace(plain.evaluate, protocol="dsa"))


def dm(fitted: Fitted) -> Recipe:
    """Class means of an untrained network's features. Source: arXiv:2110.04181 and its code (main_DM.py)."""
    seen: dict[str, Any] = {"augment": DSA, "start": FROM_REAL, "network": untrained(fitted)}
    condense = _every_image("distribution", fitted, lr=1.0, epochs=20_000, inner_steps=1, **seen)
    cost = "20,000 sweeps of 256 real images a class, forwards alone, at width 128"
    return made("dm", fitted, condense=condense, container="pixels", protocol="dsa", cost=cost)


def _every_image(objective: str, fitted: Fitted, *, lr: float, **more: Any) -> CondenseConfig:
    """DC's and DM's sweeps of all generated images and 256 real ones, with a rate for normalised images."""
    counts: dict[str, Any] = {"real_per_class": 256, "generated_per_class": max(EVERY_IMAGE, fitted.ipc)}
    return CondenseConfig(objective=objective, lr=in_pixels(lr, fitted), **SGD, **counts, **more)


def idc_i(fitted: Fitted) -> Recipe:
    """Gradient matching with networks trained on real data. Source: arXiv:2205.14959 and its code (factor 1)."""
    large, grey = fitted.dataset.startswith("imagenet"), fitted.dataset in IDC_GREY
    many = large and fitted.num_classes >= 100
    updates: dict[str, Any] = {"update_batches": 8 if large or grey or fitted.dataset == "svhn" else 32}
    if many:
        updates = {"update_batches": 4, "update_batch_size": 128, "lr": 0.1, "weight_decay": 1e-4}
    elif large:
        updates["warm_up_batches"] = IDC_WARM_UP
    network = replace(untrained(fitted), cutmix_probability=1.0 if large else 0.5, **updates)
    # Published rates are multiplied by ipc / 10 and the area over the published one (argument.py: tune_lr_img).
    if large:
        rate, side = 1e-3 if many else 3e-3, 224
    else:
        rate, side = 1e-4 if grey else 5e-3, 28 if fitted.dataset == "mnist" else 32
    lr = float(f"{rate * fitted.ipc / 10 * (fitted.side / side) ** 2:.4g}")
    distance: Any = "absolute" if large or grey else "squared"
    counts: dict[str, Any] = {"real_per_class": 128 if many else 64, "generated_per_class": 128}
    condense = CondenseConfig(objective="gradient", distance=distance, lr=lr, step_per="class", **SGD, **counts)
    condense = replace(condense, epochs=500 if large else 2000, inner_steps=100, start=FROM_REAL, network=network)
    cost = f"{condense.num_sweeps:,} sweeps with networks of width 128 that train on real images: weeks on a CPU"
    return made("idc-i", fitted, condense=condense, container="pixels", protocol="idc", cost=cost)


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
    return made("hmn", fitted, condense=condense, protocol="paper", cost=cost)


class Way(NamedTuple):
    """A published student's way, and the rates that belong to it."""

    steps: int
    expert_epochs: int
    max_start_epoch: int
    lr: float
    """Learning rate of the normalised images."""
    lr_lr: float
    student_lr: float
    batch: int | None = None
    """Images a step; None for all."""


_SHORT_WAYS = (Way(50, 2, 2, 100, 1e-7, 0.01), Way(30, 2, 20, 100, 1e-5, 0.001))
_MANY_CLASSES = (Way(20, 3, 20, 1000, 1e-5, 0.01), Way(20, 2, 20, 1000, 1e-5, 0.01))
_TINY_WAY = Way(20, 2, 40, 10_000, 1e-4, 0.01, 200)
MTT_WAYS: dict[str, tuple[Way, Way, Way]] = {
    "cifar10": (*_SHORT_WAYS, Way(30, 2, 40, 1000, 1e-5, 0.001)),
    "cifar100": (*_MANY_CLASSES, Way(80, 2, 40, 1000, 1e-5, 0.01, 125)),
    "tiny-imagenet": (Way(10, 2, 10, 10_000, 1e-4, 0.01), _TINY_WAY, _TINY_WAY._replace(batch=300)),
}
"""At 1, 10 and 50 IPC. Source: justincui03/dc_benchmark methods/tm/readme.md, "provided by the author"."""
MTT_ELSEWHERE = (Way(20, 3, 25, 1000, 1e-5, 0.01),) * 3
"""The defaults of MTT's distill.py."""
HABA_WAYS = (*_SHORT_WAYS, Way(30, 2, 20, 100, 1e-5, 0.01))
"""At 1, 10 and 50 IPC of CIFAR-10, taken for all data. Source: Huage001/DatasetFactorization run_cifar10_*.sh."""
DDIF_STARTS = {"cifar10": (10, 10, 40), "cifar100": (40, 40, 40)}
"""Latest start at 1, 10 and 50 IPC (DDiF's code: TM/hyper_params.py); elsewhere CIFAR-10's."""
DDIF_BATCH = 1000
"""Images of DDiF a student's step, at most: at 1 IPC of CIFAR-10 all 370; above, its code does not say."""
MANY = 10_000
"""Networks of DDiF that are fitted in one step, at most."""


def mtt(fitted: Fitted) -> Recipe:
    """Trajectory matching of pixels. Source: arXiv:2203.11932 and its code (distill.py, buffer.py)."""
    way = MTT_WAYS.get(fitted.dataset, MTT_ELSEWHERE)[column(fitted.ipc)]
    condense = _steps("trajectory", fitted, 5000, optimizer="sgd", lr=in_pixels(way.lr, fitted), momentum=0.5)
    return _trajectories("mtt", fitted, "pixels", condense, way)


def haba(fitted: Fitted) -> Recipe:
    """Trajectory matching of bases and hallucinators. Source: arXiv:2210.16774 and its code (distill_fac.py)."""
    way = HABA_WAYS[column(fitted.ipc)]
    condense = _steps("trajectory", fitted, 15_000, optimizer="sgd", lr=way.lr, momentum=0.95)
    return _trajectories("haba", fitted, "factorized", condense, way)


def ddif(fitted: Fitted) -> Recipe:
    """Trajectory matching of small networks, one an image. Source: DDiF's code (TM/, SynSet/DDiF.py)."""
    latest = DDIF_STARTS.get(fitted.dataset, DDIF_STARTS["cifar10"])[column(fitted.ipc)]
    way, start = Way(60, 2, latest, 1e-4, 1e-5, 0.01, DDIF_BATCH), replace(FROM_REAL, steps=5000, lr=5e-4, batch=MANY)
    adam: dict[str, Any] = {"optimizer": "adam", "lr": way.lr, "beta1": 0.9, "beta2": 0.999}
    return _trajectories("ddif", fitted, "inr", _steps("trajectory", fitted, 15_000, **adam, start=start), way)


def linba(fitted: Fitted) -> Recipe:
    """Training unrolled, into bases and coefficients. Source: arXiv:2206.02916 and its code."""
    seen: dict[str, Any] = {"real_per_class": 64, "augment": NO_AUGMENT, "start": FROM_NOISE}
    condense = _steps("unrolled", fitted, 2500, inner_steps=200, **{**SGD, **seen}, lr=0.1)
    cost = "up to 500,000 trainings of 150 steps, each differentiated: not for a CPU"
    return made("linba", fitted, condense=condense, container="linear", protocol="linba", cost=cost)


def _steps(objective: str, fitted: Fitted, epochs: int, **own: Any) -> CondenseConfig:
    """Single steps at a constant rate, from real images, with DSA's augmentation, where nothing else is said."""
    how: dict[str, Any] = {"inner_steps": 1, "schedule": "constant", "augment": DSA, "start": FROM_REAL}
    return CondenseConfig(objective=objective, epochs=epochs, network=untrained(fitted), **{**how, **own})


def _trajectories(name: str, fitted: Fitted, container: str, condense: CondenseConfig, way: Way) -> Recipe:
    """A recipe of trajectory matching, tested by DSA's protocol."""
    batch = way.batch or fitted.num_classes * fitted.ipc
    student = {"student_steps": way.steps, "student_batch": batch, "student_lr": way.student_lr}
    experts = {"expert_epochs": way.expert_epochs, "max_start_epoch": way.max_start_epoch, "experts": 100}
    settings = {**student, "student_lr_lr": way.lr_lr, **experts, "expert_lr": 0.01, "expert_batch": 256}
    cost = (
        f"100 experts of {way.max_start_epoch - 1 + way.expert_epochs} epochs at width 128, then "
        f"{condense.num_sweeps:,} students of {way.steps} steps, each differentiated: not for a CPU"
    )
    return made(name, fitted, condense=condense, container=container, settings=settings, protocol="dsa", cost=cost)
