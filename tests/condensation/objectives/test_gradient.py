"""Objectives against double backward and plain loops in float64."""

from __future__ import annotations

import pytest
import torch

from hmn.condensation.objectives.features import feature_match
from hmn.condensation.objectives.gradient import gradient_match, matched_parameters
from hmn.condensation.objectives.matching import Match
from hmn.data.source import Batch
from hmn.errors import UserError
from hmn.nets import Net, build_net
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


@pytest.mark.parametrize("objective", ["gradient", "features"])
def test_classes_together_or_in_groups_are_the_same(objective: str) -> None:
    net, (real, generated) = network(), batches()

    def matched(real: Batch, generated: Batch) -> Match:
        if objective == "gradient":
            return gradient_match(net, real, generated)
        return feature_match(net, real, generated, cross_entropy_weight=3.0)

    together = matched(real, generated)
    total, grad = 0.0, torch.zeros_like(generated.images)
    for group in ([0], [1, 3]):
        rows = torch.isin(generated.labels, torch.tensor(group))
        of_group = torch.isin(real.labels, torch.tensor(group))
        part = matched(
            Batch(real.images[of_group], real.labels[of_group]), Batch(generated.images[rows], generated.labels[rows])
        )
        total += float(part.loss)
        grad[rows] = part.image_grad
    assert total == pytest.approx(float(together.loss), rel=1e-5)
    assert relative(grad, together.image_grad.double()) < 1e-3


def test_gradient_match_on_a_residual_network() -> None:
    """Other networks than ConvNet; their gates' masks are held as well."""
    generator = torch.Generator().manual_seed(0)
    net = build_net("resnetap10", num_classes=4, image_shape=(3, 64, 64), width=8, generator=generator)
    real, generated = (Batch(torch.randn(len(b.labels), 3, 64, 64, generator=generator), b.labels) for b in batches())
    found = gradient_match(net, real, generated)
    _, grad = matching.gradient_matching(net, real, generated, distance="squared")
    assert relative(found.image_grad, grad) < 2e-3


@pytest.mark.parametrize("name", ["vgg11", "timm"])
def test_gradient_match_refuses_kinks_that_it_cannot_hold(name: str) -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.LazyLinear(4))
    if name == "vgg11":
        net = build_net(name, num_classes=4, image_shape=(3, 32, 32), width=4, generator=torch.Generator())
    real, generated = batches()
    with pytest.raises(UserError, match="objective 'features'"):
        gradient_match(net, real, generated)


def test_only_convolution_kernels_are_matched() -> None:
    kernels = matched_parameters(network(), "squared")
    assert [tuple(k.shape) for k in kernels] == [(16, 3, 3, 3), (16, 16, 3, 3), (16, 16, 3, 3)]
