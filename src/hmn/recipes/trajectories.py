"""Recipes of the methods with loops of their own, as published: MTT, HaBa, DDiF (trajectories) and LinBa (unrolled).

docs/methods.md has every number with the file or section that states it, and the deviations.
"""

from __future__ import annotations

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


MTT_WAYS: dict[str, tuple[Way, Way, Way]] = {
    "cifar10": (
        Way(50, 2, 2, 100, 1e-7, 0.01), Way(30, 2, 20, 100, 1e-5, 0.001), Way(30, 2, 40, 1000, 1e-5, 0.001),
    ),
    "cifar100": (
        Way(20, 3, 20, 1000, 1e-5, 0.01), Way(20, 2, 20, 1000, 1e-5, 0.01), Way(80, 2, 40, 1000, 1e-5, 0.01, 125),
    ),
    "tiny-imagenet": (
        Way(10, 2, 10, 10_000, 1e-4, 0.01), Way(20, 2, 40, 10_000, 1e-4, 0.01, 200),
        Way(20, 2, 40, 10_000, 1e-4, 0.01, 300),
    ),
}  # fmt: skip
"""At 1, 10 and 50 IPC. Source: justincui03/dc_benchmark methods/tm/readme.md, "provided by the author"."""
MTT_ELSEWHERE = Way(20, 3, 25, 1000, 1e-5, 0.01)
"""The defaults of MTT's distill.py."""
HABA_WAYS = (
    Way(50, 2, 2, 100, 1e-7, 0.01), Way(30, 2, 20, 100, 1e-5, 0.001), Way(30, 2, 20, 100, 1e-5, 0.01),
)  # fmt: skip
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
    condense = CondenseConfig(
        objective="trajectory", epochs=5000, inner_steps=1, optimizer="sgd", lr=in_pixels(way.lr, fitted), momentum=0.5,
        schedule="constant", augment=DSA, start=StartConfig(kind="real"), network=untrained(fitted),
    )  # fmt: skip
    return Recipe(
        name="mtt", ipc=fitted.ipc, container="pixels", condense=condense, settings=_trajectory(way, fitted),
        evaluate=evaluated(fitted, "dsa"), cost=_cost(condense, way),
    )  # fmt: skip


def haba(fitted: Fitted) -> Recipe:
    """Trajectory matching of bases and hallucinators. Source: arXiv:2210.16774 and its code (distill_fac.py)."""
    way = HABA_WAYS[fitted.column]
    condense = CondenseConfig(
        objective="trajectory", epochs=15_000, inner_steps=1, optimizer="sgd", lr=way.lr, momentum=0.95,
        schedule="constant", augment=DSA, start=StartConfig(kind="real"), network=untrained(fitted),
    )  # fmt: skip
    return Recipe(
        name="haba", ipc=fitted.ipc, container="factorized", condense=condense, settings=_trajectory(way, fitted),
        evaluate=evaluated(fitted, "dsa"), cost=_cost(condense, way),
    )  # fmt: skip


def ddif(fitted: Fitted) -> Recipe:
    """Trajectory matching of small networks, one an image. Source: DDiF's code (TM/, SynSet/DDiF.py)."""
    start_epoch = DDIF_STARTS.get(fitted.dataset, DDIF_STARTS["cifar10"])[fitted.column]
    way = Way(60, 2, start_epoch, 1e-4, 1e-5, 0.01, DDIF_BATCH)
    condense = CondenseConfig(
        objective="trajectory", epochs=15_000, inner_steps=1, optimizer="adam", lr=way.lr, beta1=0.9, beta2=0.999,
        schedule="constant", augment=DSA, start=StartConfig(kind="real", steps=5000, lr=5e-4, batch=MANY),
        network=untrained(fitted),
    )  # fmt: skip
    return Recipe(
        name="ddif", ipc=fitted.ipc, container="inr", condense=condense, settings=_trajectory(way, fitted),
        evaluate=evaluated(fitted, "dsa"), cost=_cost(condense, way),
    )  # fmt: skip


def linba(fitted: Fitted) -> Recipe:
    """Training unrolled, into bases and coefficients. Source: arXiv:2206.02916 and its code."""
    condense = CondenseConfig(
        objective="unrolled", epochs=2500, inner_steps=200, real_per_class=64, optimizer="sgd", lr=0.1, momentum=0.5,
        schedule="constant", augment=NO_AUGMENT, start=StartConfig(kind="noise"), network=untrained(fitted),
    )  # fmt: skip
    return Recipe(
        name="linba", ipc=fitted.ipc, container="linear", condense=condense,
        evaluate=evaluated(fitted, "linba"),
        cost="up to 500,000 trainings of 150 steps, each differentiated: not for a CPU",
    )  # fmt: skip


def _trajectory(way: Way, fitted: Fitted) -> dict[str, Any]:
    return dict(
        student_steps=way.steps, student_batch=way.batch or fitted.num_classes * fitted.ipc,
        student_lr=way.student_lr, student_lr_lr=way.lr_lr, expert_epochs=way.expert_epochs,
        max_start_epoch=way.max_start_epoch, experts=100, expert_lr=0.01, expert_batch=256,
    )  # fmt: skip


def _cost(condense: CondenseConfig, way: Way) -> str:
    return (
        f"100 experts of {way.max_start_epoch - 1 + way.expert_epochs} epochs at width 128, then "
        f"{condense.num_sweeps:,} students of {way.steps} steps, each differentiated: not for a CPU"
    )
