"""Objectives against double backward and plain loops in float64."""

from __future__ import annotations

import pytest
import torch

from hmn.data.source import Batch
from hmn.nets import Net, build_net
from hmn.objectives import feature_match, gradient_match
from hmn.objectives.base import convolution_kernels
from tests.reference import matching


def network(seed: int = 0) -> Net:
    generator = torch.Generator().manual_seed(seed)
    return build_net("convnet3", num_classes=4, image_shape=(3, 16, 16), width=16, generator=generator)


def batches(seed: int = 1) -> tuple[Batch, Batch]:
    generator = torch.Generator().manual_seed(seed)
    real = Batch(torch.randn(20, 3, 16, 16, generator=generator), torch.arange(4).repeat(5))
    # Uneven classes, class 2 absent, not in order: what a group of classes may look like.
    labels = torch.tensor([3, 0, 0, 1, 3, 3, 1, 0, 0])
    return real, Batch(torch.randn(9, 3, 16, 16, generator=generator), labels)


def relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found.double() - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("distance", ["squared", "absolute"])
def test_gradient_match_is_the_double_backward(distance: str) -> None:
    net, (real, generated) = network(), batches()
    found = gradient_match(net, real, generated, distance=distance)  # type: ignore[arg-type]
    loss, grad = matching.gradient_matching(net, real, generated, distance=distance)
    assert float(found.loss) == pytest.approx(float(loss), rel=1e-4)
    assert relative(found.image_grad, grad) < 1e-3


def test_gradient_match_leaves_the_network_as_it_was() -> None:
    net, (real, generated) = network(), batches()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    gradient_match(net, real, generated)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in net.parameters())


def test_a_wrong_gradient_would_be_noticed() -> None:
    """The tolerance above is a test only if another network's gradient fails it."""
    real, generated = batches()
    found = gradient_match(network(0), real, generated)
    _, grad = matching.gradient_matching(network(1), real, generated, distance="squared")
    assert relative(found.image_grad, grad) > 0.1


def test_feature_match_is_the_plain_loop() -> None:
    net, (real, generated) = network(), batches()
    found = feature_match(net, real, generated, cross_entropy_weight=3.0)
    loss, grad = matching.feature_matching(net, real, generated, cross_entropy_weight=3.0)
    assert float(found.loss) == pytest.approx(float(loss), rel=1e-5)
    assert relative(found.image_grad, grad) < 1e-4
    assert all(p.requires_grad and p.grad is None for p in net.parameters())


def test_only_convolution_kernels_are_matched() -> None:
    kernels = convolution_kernels(network())
    assert [tuple(k.shape) for k in kernels] == [(16, 3, 3, 3), (16, 16, 3, 3), (16, 16, 3, 3)]
