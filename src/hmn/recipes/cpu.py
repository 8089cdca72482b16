"""Recipes for a CPU: fast and quick, and a short version of each method, of about the same cost.

fast buys the most accuracy a minute of those that were tried (docs/log.md has the trials): trajectories of narrow
networks, matched step by step, into few images of many frequencies that start as real ones.

The short versions keep the container, and the objective where that is affordable. HaBa's, LinBa's and DDiF's own loops
are not: there the container is condensed by IDC's gradient matching, as in the paper's comparison of containers under
one objective. docs/methods.md has the settings in a table, and how long each took.
"""

import math
from dataclasses import replace
from typing import Any

from hmn.recipes.methods import dm, dsa, idc, idc_i
from hmn.recipes.parts import FROM_REAL, Fitted, made, network_name, untrained
from hmn.recipes.protocols import NO_FLIP
from hmn.recipes.settings import CondenseConfig, NetworkConfig, Recipe

WIDTH = 32
"""Channels of the networks, a quarter of the published."""
CHANNELS = 128 / WIDTH
"""A distance that is a sum over channels is so much smaller: DSA's and DM's rates are multiplied by it."""
IMAGES = 16
"""Images a class of fast for each image in budget: 192 frequencies of each at 32x32 pixels in colour, as FreD's code
has them (TM/scripts/run_TM_FreD.sh)."""
MIN_FREQUENCIES = 64
"""Frequencies of an image at least: images of 8x8 pixels are kept whole, having nothing to spare."""
MINUTES = 15
"""Where the dial stands by itself."""
LONG_FROM = 30
"""Minutes from which on long students gain more than short ones, which level off."""
_STUDENT: dict[str, Any] = {"student_batch": 64, "student_lr_rule": "nearest", "student_lr_lr": 0.05}
_EXPERT: dict[str, Any] = {"expert_steps": 25, "expert_lr": 0.2, "expert_batch": 128}
_SHORT_STUDENT: dict[str, Any] = {"student_steps": 40, "differentiate_every": 2, "student_lr": 0.1}
_SHORT: dict[str, Any] = {**_SHORT_STUDENT, "experts": 8, "expert_epochs": 8, "max_start_epoch": 26}
_LONG_STUDENT: dict[str, Any] = {"student_steps": 100, "differentiate_every": 5, "student_lr": 0.15}
_LONG_EXPERT: dict[str, Any] = {"expert_epochs": 20, "max_start_epoch": 44}


def fast(fitted: Fitted, minutes: float | None = None) -> Recipe:
    """TESLA's derivative of MTT's loss, into FreD's kind of container at FreD's size, for as long as there is.

    Below 30 minutes students take 40 steps, one of two differentiated, towards where one of 8 experts was 200 steps
    later. From 30 minutes on they take 100 steps, one of five differentiated, towards the mean of where an expert was
    325 to 500 steps later, and half of them start where training on the condensed images led (`strayed`). There are
    then minutes / 30 + 3.5 experts, rounded down, and as many networks that strayed. By this rule a number of minutes
    makes the same recipe everywhere; only the iterations depend on the machine, and where none are timed
    (`hmn.condensation.cost.price.in_minutes` does) they are those of the one that docs/fast.md was measured on.

    Where a mirror image is of the same class, each image is also shown mirrored: twice the images for the same floats.
    """
    time = MINUTES if minutes is None else minutes
    is_long = time >= LONG_FROM
    kept = int(time / 30 + 3.5)
    long = {**_LONG_STUDENT, "experts": kept, **_LONG_EXPERT, "strayed": kept, "averaged": 8}
    settings = {"derivative": "direct", **_STUDENT, **_EXPERT, **(long if is_long else _SHORT)}
    epochs = max(1, round(time * (12 if is_long else 400 / MINUTES)))
    network = replace(untrained(fitted), width=WIDTH)
    how: dict[str, Any] = {"objective": "trajectory", "inner_steps": 1, "lr": 0.05, "schedule": "cosine"}
    condense = CondenseConfig(**how, epochs=epochs, start=FROM_REAL, network=network)
    # The container's sizes, then what is said of it.
    values = math.prod(fitted.image_shape)
    coefficients = min(max(values // IMAGES, MIN_FREQUENCIES), values)
    sizes = {"coefficients": coefficients, "views": 1 if fitted.dataset in NO_FLIP else 2}
    about = "a quarter of an hour of one thread for CIFAR-10 at 1 IPC; more with classes and pixels"
    cost = about if minutes is None else f"{minutes:g} minutes of the machine that it was timed on, experts included"
    into: dict[str, Any] = {"container": "frequency", "sizes": sizes, "settings": settings, "minutes": minutes}
    return made("fast", fitted, condense=condense, protocol="short", cost=cost, **into)


def quick(fitted: Fitted) -> Recipe:
    """Feature matching on narrow networks from reconstructed real images, for a minute or two."""
    network = NetworkConfig(name=network_name(fitted), width=WIDTH, update_batches=4)
    counts: dict[str, Any] = {"epochs": 6, "inner_steps": 50, "real_per_class": 64, "generated_per_class": 40}
    condense = CondenseConfig(objective="features", lr=0.02, schedule="cosine", network=network, **counts)
    condense = replace(condense, start=replace(FROM_REAL, steps=300))
    cost = "a minute or two on two cores for digits; a look, not a result"
    return made("quick", fitted, condense=condense, protocol="quick", cost=cost)


INNER_STEPS = 50
"""Sweeps of a network in the short versions with IDC's matching (IDC: 100)."""
COST = "about 20 minutes of one thread for CIFAR-10 at 1 IPC; more with classes and pixels"
SWEEPS = {
    **{"dsa-cpu": 1350, "dm-cpu": 2050, "idc-i-cpu": 3700, "idc-cpu": 3600},
    **{"haba-cpu": 3800, "linba-cpu": 1450, "hmn-cpu": 1250, "ddif-cpu": 1850},
}
"""Sweeps of about 20 minutes of one thread with the fitting before them, on CIFAR-10 at 1 IPC: see docs/methods.md."""


def dsa_cpu(fitted: Fitted) -> Recipe:
    """DSA with narrow networks: every published setting else, and more iterations at 1 IPC."""
    published = dsa(fitted)
    return _narrow(published, epochs=SWEEPS["dsa-cpu"] // published.condense.inner_steps)


def dm_cpu(fitted: Fitted) -> Recipe:
    """DM with narrow networks and fewer iterations."""
    return _narrow(dm(fitted), epochs=SWEEPS["dm-cpu"])


def idc_i_cpu(fitted: Fitted) -> Recipe:
    """IDC-I's container and matching, cut short."""
    return _matched(fitted, "idc-i-cpu", "pixels", lr=0.03)


def idc_cpu(fitted: Fitted) -> Recipe:
    """IDC's container and matching, cut short."""
    return _matched(fitted, "idc-cpu", "mosaic", lr=0.03, sizes=idc(fitted).sizes)


def haba_cpu(fitted: Fitted) -> Recipe:
    """HaBa's container under gradient matching, not its trajectories, and fitted to real images like other decoders."""
    return _matched(fitted, "haba-cpu", "factorized", lr=0.03, start="fitted")


def linba_cpu(fitted: Fitted) -> Recipe:
    """LinBa's container under gradient matching, not its unrolled training."""
    return _matched(fitted, "linba-cpu", "linear", lr=0.03)


def ddif_cpu(fitted: Fitted) -> Recipe:
    """DDiF's container under gradient matching, not its trajectories."""
    return _matched(fitted, "ddif-cpu", "inr", lr=0.001)


def hmn_cpu(fitted: Fitted) -> Recipe:
    """The paper's container and matching, cut short."""
    return _matched(fitted, "hmn-cpu", "hmn", lr=0.03)


def _narrow(published: Recipe, *, epochs: int) -> Recipe:
    """A published recipe with networks of a quarter of the width, and the rate that makes up for the smaller sum."""
    condense = published.condense
    network = replace(condense.network, width=WIDTH)
    condense = replace(condense, epochs=epochs, lr=float(f"{CHANNELS * condense.lr:.2g}"), network=network)
    tested = replace(published.evaluate, protocol="short")
    return replace(published, name=published.name + "-cpu", condense=condense, cost=COST, evaluate=tested)


def _matched(fitted: Fitted, name: str, container: str, lr: float, *, start: Any = "real", **more: Any) -> Recipe:
    """IDC's gradient matching cut short: Adam with a cosine, an optimizer step a sweep, narrow networks."""
    published = idc_i(fitted).condense
    network = replace(published.network, width=WIDTH, update_batches=4, warm_up_batches=0)
    sweeps: dict[str, Any] = {"epochs": SWEEPS[name] // INNER_STEPS, "inner_steps": INNER_STEPS}
    condense = CondenseConfig(distance=published.distance, lr=lr, schedule="cosine", network=network, **sweeps)
    begin = replace(FROM_REAL, kind=start, steps=1000)
    condense = replace(condense, real_per_class=64, generated_per_class=64, start=begin)
    return made(name, fitted, condense=condense, container=container, protocol="short", cost=COST, **more)
