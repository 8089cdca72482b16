"""Recipes for a CPU: quick, and a short version of each method, of about the same cost.

The short versions keep the container, and the objective where that is affordable, at width 32. HaBa's, LinBa's and
DDiF's own loops are not: there the container is condensed by IDC's gradient matching, as in the paper's comparison of
containers under one objective. docs/methods.md has the settings in a table, and how long each took.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hmn.recipes.matching import dm, dsa, idc, idc_i
from hmn.recipes.parts import Fitted, evaluated, network_name
from hmn.recipes.settings import CondenseConfig, NetworkConfig, Recipe, StartConfig

WIDTH = 32
"""Channels of the networks, a quarter of the published."""
CHANNELS = 128 / WIDTH
"""A distance that is a sum over channels is so much smaller: DSA's and DM's rates are multiplied by it."""
INNER_STEPS = 50
"""Sweeps of a network in the short versions with IDC's matching (IDC: 100)."""
COST = "about 20 minutes of one thread for CIFAR-10 at 1 IPC; more with classes and pixels"


def quick(fitted: Fitted) -> Recipe:
    """Feature matching on narrow networks from reconstructed real images, for a minute or two."""
    network = NetworkConfig(name=network_name(fitted.image_shape), width=WIDTH, update_batches=4)
    start = StartConfig(kind="real", steps=300)
    condense = CondenseConfig(objective="features", lr=0.02, schedule="cosine", start=start, network=network)
    condense = replace(condense, epochs=6, inner_steps=50, real_per_class=64, generated_per_class=40)
    cost = "a minute or two on two cores for digits; a look, not a result"
    return Recipe(name="quick", ipc=fitted.ipc, condense=condense, evaluate=evaluated(fitted, "quick"), cost=cost)


def dsa_cpu(fitted: Fitted) -> Recipe:
    """DSA with narrow networks: every published setting else, and more iterations at 1 IPC."""
    published = dsa(fitted)
    return _narrow(published, epochs=SWEEPS["dsa-cpu"] // published.condense.inner_steps)


def dm_cpu(fitted: Fitted) -> Recipe:
    """DM with narrow networks and fewer iterations."""
    return _narrow(dm(fitted), epochs=SWEEPS["dm-cpu"])


def idc_i_cpu(fitted: Fitted) -> Recipe:
    """IDC-I's container and matching, cut short."""
    return _matched(fitted, "idc-i-cpu", container="pixels", lr=0.03)


def idc_cpu(fitted: Fitted) -> Recipe:
    """IDC's container and matching, cut short."""
    return _matched(fitted, "idc-cpu", container="mosaic", lr=0.03, sizes=idc(fitted).sizes)


def haba_cpu(fitted: Fitted) -> Recipe:
    """HaBa's container under gradient matching, not its trajectories, and fitted to real images like other decoders."""
    made = _matched(fitted, "haba-cpu", container="factorized", lr=0.03)
    return replace(made, condense=replace(made.condense, start=replace(made.condense.start, kind="fitted")))


def linba_cpu(fitted: Fitted) -> Recipe:
    """LinBa's container under gradient matching, not its unrolled training."""
    return _matched(fitted, "linba-cpu", container="linear", lr=0.03)


def ddif_cpu(fitted: Fitted) -> Recipe:
    """DDiF's container under gradient matching, not its trajectories."""
    return _matched(fitted, "ddif-cpu", container="inr", lr=0.001)


def hmn_cpu(fitted: Fitted) -> Recipe:
    """The paper's container and matching, cut short."""
    return _matched(fitted, "hmn-cpu", container="hmn", lr=0.03)


SWEEPS = {
    **{"dsa-cpu": 1350, "dm-cpu": 2050, "idc-i-cpu": 3700, "idc-cpu": 3600},
    **{"haba-cpu": 3800, "linba-cpu": 1450, "hmn-cpu": 1250, "ddif-cpu": 1850},
}
"""Sweeps of about 20 minutes of one thread with the fitting before them, on CIFAR-10 at 1 IPC: see docs/methods.md."""


def _narrow(published: Recipe, *, epochs: int) -> Recipe:
    """A published recipe with networks of a quarter of the width, and the rate that makes up for the smaller sum."""
    condense = published.condense
    network = replace(condense.network, width=WIDTH)
    condense = replace(condense, epochs=epochs, lr=float(f"{CHANNELS * condense.lr:.2g}"), network=network)
    tested = replace(published.evaluate, protocol="short")
    return replace(published, name=published.name + "-cpu", condense=condense, cost=COST, evaluate=tested)


def _matched(fitted: Fitted, name: str, *, container: str, lr: float, sizes: Mapping[str, int] | None = None) -> Recipe:
    """IDC's gradient matching cut short: Adam with a cosine, an optimizer step a sweep, narrow networks."""
    published = idc_i(fitted).condense
    network = replace(published.network, width=WIDTH, update_batches=4, warm_up_batches=0)
    start = StartConfig(kind="real", steps=1000)
    condense = CondenseConfig(objective="gradient", distance=published.distance, lr=lr, schedule="cosine", start=start)
    condense = replace(condense, network=network, real_per_class=64, generated_per_class=64)
    condense = replace(condense, epochs=SWEEPS[name] // INNER_STEPS, inner_steps=INNER_STEPS)
    made = Recipe(name=name, ipc=fitted.ipc, container=container, sizes=sizes or {}, condense=condense, cost=COST)
    return replace(made, evaluate=evaluated(fitted, "short"))
