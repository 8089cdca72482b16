"""Counted operations against those that torch executes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from hmn.condensation.cost.operations import net_operations, reckon, render_operations
from hmn.condensation.cost.trial import blank_splits
from hmn.condensation.objectives.base import ImagesSeen
from hmn.condensation.objectives.features import Features, feature_match
from hmn.condensation.objectives.gradient import Gradient, gradient_match
from hmn.condensation.objectives.matching import Counts
from hmn.condensation.run import new_state
from hmn.condensation.state import CondenseState
from hmn.containers.hmn import Hmn
from hmn.containers.hmn_sizes import HmnShape, preset
from hmn.containers.shape import Budget
from hmn.data.source import Batch, Normalisation
from hmn.errors import UserError
from hmn.nets import Net, build_net
from hmn.recipes.settings import CondenseConfig, NetworkConfig, Recipe, StartConfig
from tests.condensation.cost.flop_clock import FlopClock

SHAPE = (3, 16, 16)
COUNTS = Counts(classes=2, real_per_class=6, generated_per_class=4)


@pytest.fixture(autouse=True)
def _uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HMN_COMPILE", "0")  # compiled code hides its operations


def network(name: str, width: int | None = 16) -> Net:
    return build_net(name, num_classes=2, image_shape=SHAPE, width=width, generator=torch.Generator().manual_seed(0))


def batch(per_class: int) -> Batch:
    labels = torch.arange(2).repeat_interleave(per_class)
    return Batch(torch.randn(len(labels), *SHAPE, generator=torch.Generator().manual_seed(1)), labels)


def test_convnet_counts_as_published() -> None:
    found = net_operations("convnet3", width=128, num_classes=10, image_shape=(3, 32, 32))
    assert found.forward == pytest.approx(101.5e6, rel=1e-3)
    assert found.weight_gradient == pytest.approx(297.4e6, rel=1e-3)


@pytest.mark.parametrize("name", ["convnet3", "resnetap10", "resnet18"])
def test_passes_of_a_network(name: str) -> None:
    net, counted = network(name), net_operations(name, width=16, num_classes=2, image_shape=SHAPE)
    images, labels = batch(2)
    with FlopClock() as clock:
        net(images)
        assert clock.total == 4 * counted.forward
        clock.total = 0
        F.cross_entropy(net(images), labels).backward()  # type: ignore[no-untyped-call]
        assert clock.total == 4 * counted.weight_gradient
        clock.total = 0
        wanted = images.clone().requires_grad_()
        F.cross_entropy(net(wanted), labels).backward()  # type: ignore[no-untyped-call]
        assert clock.total == 4 * (counted.weight_gradient + counted.first)
        net.requires_grad_(False)
        clock.total = 0
        F.cross_entropy(net(wanted), labels).backward()  # type: ignore[no-untyped-call]
        assert clock.total == 4 * counted.image_gradient


@pytest.mark.parametrize("name", ["convnet3", "resnetap10"])
def test_objectives(name: str) -> None:
    net, counted = network(name), net_operations(name, width=16, num_classes=2, image_shape=SHAPE)
    real, generated = batch(COUNTS.real_per_class), batch(COUNTS.generated_per_class)
    with FlopClock() as clock:
        gradient_match(net, real, generated)
        # The linear layer's own gradient is not taken, which the count does not know.
        assert clock.total == pytest.approx(Gradient().matching_operations(COUNTS, counted), rel=0.01)
        clock.total = 0
        feature_match(net, real, generated, cross_entropy_weight=1.0)
        # Class means are matrix products too, small ones for few classes.
        assert clock.total == pytest.approx(Features().matching_operations(COUNTS, counted), rel=0.05)


def test_features_of_the_last_classes_cost_what_those_of_the_first_do() -> None:
    """Else a sweep would grow with the square of the classes."""
    net = build_net("convnet3", num_classes=50, image_shape=SHAPE, width=16, generator=torch.Generator().manual_seed(0))
    taken = []
    for first in (0, 48):
        real, generated = (Batch(images, labels + first) for images, labels in (batch(6), batch(4)))
        with FlopClock() as clock:
            feature_match(net, real, generated, cross_entropy_weight=1.0)
            taken.append(clock.total)
    assert taken[0] == taken[1] > 0


@pytest.mark.parametrize("ipc", [1, 10])
def test_rendering(ipc: int) -> None:
    shape = preset("cifar10", ipc)
    assert shape is not None
    container = Hmn(shape, class_names=tuple("abcdefghij"), normalisation=Normalisation((0.5,) * 3, (0.25,) * 3))
    with FlopClock() as clock:
        images = container.images(torch.arange(200))
        # The kernels are spread from 4x4 to four times 3x3 by small products.
        assert clock.total == pytest.approx(render_operations(shape, 200), rel=0.02)
        images.sum().backward()  # type: ignore[no-untyped-call]
        assert clock.total == pytest.approx(3 * render_operations(shape, 200), rel=0.03)


def state(**values: Any) -> CondenseState:
    shape = HmnShape.plan(Budget.of_images(10, 2, SHAPE))
    real = blank_splits("blank", image_shape=SHAPE, num_classes=2, images_per_class=6).train
    given = {
        "epochs": 2,
        "inner_steps": 5,
        "real_per_class": 6,
        "generated_per_class": 4,
        "start": StartConfig(kind="noise"),
    }
    given |= {"network": NetworkConfig(update_batches=3, update_batch_size=5), **values}
    container = Hmn(shape, class_names=("a", "b"), normalisation=real.normalisation)
    return CondenseState(container, real, CondenseConfig(**given), seed=0)


def test_a_sweep_and_a_run_add_up() -> None:
    net = net_operations("convnet3", width=16, num_classes=2, image_shape=SHAPE)
    plain = state()
    assert plain.objective.counts(plain) == COUNTS
    matched = plain.objective.matching_operations(COUNTS, net)
    assert matched == 2 * (6 * net.weight_gradient + 4 * (net.weight_gradient + 2 * net.image_gradient))
    sweep = plain.objective.operations(plain, net)
    assert sweep - matched == 3 * render_operations(plain.container.shape, 8)
    assert plain.objective.training(plain) == ImagesSeen(each=3 * 5)
    by_class = state(step_per="class")
    assert by_class.objective.operations(by_class, net) - matched == 2 * (sweep - matched)
    warm = state(network=NetworkConfig(update_batches=3, update_batch_size=5, warm_up_batches=4))
    assert warm.objective.training(warm) == ImagesSeen(each=3 * 5, once=2 * 4 * 5)


def test_counts_are_no_more_than_there_is() -> None:
    shape = preset("cifar10", 1)
    assert shape is not None
    splits = blank_splits("blank", image_shape=(3, 32, 32), num_classes=10, images_per_class=3)
    made = new_state(splits, shape, Recipe(name="", cost="", ipc=1))
    assert made.objective.counts(made) == Counts(10, 3, 85)
    assert made.objective.training(made).each == 32 * 30


def test_reckoning_divides() -> None:
    found = reckon(4 * 10**12, 4 * 10**15, gpus=4, tflops=0.5)
    assert (found.seconds_per_sweep, found.total_seconds) == (2.0, 2000.0)
    for gpus, tflops in ((0, 1.0), (1, 0.0), (1, -1.0), (1, float("nan"))):
        with pytest.raises(UserError, match="expected"):
            reckon(1, 1, gpus=gpus, tflops=tflops)
