"""Recipes of the methods with loops of their own, as published: MTT, HaBa, DDiF (trajectories) and LinBa (unrolled).

docs/methods.md has every number with the file or section that states it, and the deviations.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from hmn.recipes.parts import DSA, NO_AUGMENT, Fitted, evaluated, in_pixels, untrained
from hmn.recipes.settings import CondenseConfig, Recipe, StartConfig


class Way(NamedTuple):
    """A published student's way, and the rates that belong to it."""

    steps: int
    expert_epochs: int
    max_start_epoch: int
    lr: float
    """Of the images, normalised."""
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
MTT_ELSEWHERE = Way(20, 3, 25, 1000, 1e-5, 0.01)
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
    way = MTT_WAYS[fitted.dataset][fitted.column] if fitted.dataset in MTT_WAYS else MTT_ELSEWHERE
    condense = _steps("trajectory", fitted, 5000, optimizer="sgd", lr=in_pixels(way.lr, fitted), momentum=0.5)
    return _matched("mtt", fitted, "pixels", condense, way)


def haba(fitted: Fitted) -> Recipe:
    """Trajectory matching of bases and hallucinators. Source: arXiv:2210.16774 and its code (distill_fac.py)."""
    way = HABA_WAYS[fitted.column]
    condense = _steps("trajectory", fitted, 15_000, optimizer="sgd", lr=way.lr, momentum=0.95)
    return _matched("haba", fitted, "factorized", condense, way)


def ddif(fitted: Fitted) -> Recipe:
    """Trajectory matching of small networks, one an image. Source: DDiF's code (TM/, SynSet/DDiF.py)."""
    start_epoch = DDIF_STARTS.get(fitted.dataset, DDIF_STARTS["cifar10"])[fitted.column]
    way = Way(60, 2, start_epoch, 1e-4, 1e-5, 0.01, DDIF_BATCH)
    condense = _steps("trajectory", fitted, 15_000, optimizer="adam", lr=way.lr, beta1=0.9, beta2=0.999)
    condense = replace(condense, start=StartConfig(kind="real", steps=5000, lr=5e-4, batch=MANY))
    return _matched("ddif", fitted, "inr", condense, way)


def linba(fitted: Fitted) -> Recipe:
    """Training unrolled, into bases and coefficients. Source: arXiv:2206.02916 and its code."""
    condense = _steps("unrolled", fitted, 2500, optimizer="sgd", lr=0.1, momentum=0.5)
    condense = replace(
        condense, inner_steps=200, real_per_class=64, augment=NO_AUGMENT, start=StartConfig(kind="noise")
    )
    cost = "up to 500,000 trainings of 150 steps, each differentiated: not for a CPU"
    tested = evaluated(fitted, "linba")
    return Recipe(name="linba", ipc=fitted.ipc, container="linear", condense=condense, evaluate=tested, cost=cost)


def _steps(objective: Any, fitted: Fitted, epochs: int, **optimizer: Any) -> CondenseConfig:
    """Single steps at a constant rate, from real images, with DSA's augmentation."""
    how: dict[str, Any] = {"inner_steps": 1, "schedule": "constant", "augment": DSA, "start": StartConfig(kind="real")}
    return CondenseConfig(objective=objective, epochs=epochs, network=untrained(fitted), **how, **optimizer)


def _matched(name: str, fitted: Fitted, container: str, condense: CondenseConfig, way: Way) -> Recipe:
    """A recipe of trajectory matching, tested by DSA's protocol."""
    said: dict[str, Any] = {"settings": _trajectory(way, fitted), "cost": _cost(condense, way)}
    tested = evaluated(fitted, "dsa")
    return Recipe(name=name, ipc=fitted.ipc, container=container, condense=condense, evaluate=tested, **said)


def _trajectory(way: Way, fitted: Fitted) -> dict[str, Any]:
    batch = way.batch or fitted.num_classes * fitted.ipc
    student = {"student_steps": way.steps, "student_batch": batch, "student_lr": way.student_lr}
    experts = {"expert_epochs": way.expert_epochs, "max_start_epoch": way.max_start_epoch, "experts": 100}
    return {**student, "student_lr_lr": way.lr_lr, **experts, "expert_lr": 0.01, "expert_batch": 256}


def _cost(condense: CondenseConfig, way: Way) -> str:
    return (
        f"100 experts of {way.max_start_epoch - 1 + way.expert_epochs} epochs at width 128, then "
        f"{condense.num_sweeps:,} students of {way.steps} steps, each differentiated: not for a CPU"
    )
