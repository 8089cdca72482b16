"""Cosine gradient matching's distance and distribution matching, against autograd and plain loops in float64."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from hmn.condensation.objectives.distribution import distribution_match
from hmn.condensation.objectives.gradient import Distance, gradient_distance, matched_parameters
from hmn.data.source import Batch
from hmn.nets import Net, build_net
from hmn.nets.base import embedding
from hmn.nets.convnet_cpu import prepared

SHAPES = ((8, 3, 3, 3), (5, 8, 3, 3), (4, 20))


def gradients(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, dtype=torch.float64, generator=generator) for shape in SHAPES]


def slow_distance(own: list[Tensor], other: list[Tensor], distance: str) -> Tensor:
    """Row by row, value by value."""
    total = torch.zeros((), dtype=torch.float64)
    for a, b in zip(own, other, strict=True):
        for row_a, row_b in zip(a.flatten(1), b.flatten(1), strict=True):
            if distance == "squared":
                total = total + sum((x - y) ** 2 for x, y in zip(row_a, row_b, strict=True))
            elif distance == "absolute":
                total = total + sum((x - y).abs() for x, y in zip(row_a, row_b, strict=True))
            else:
                inner = sum(x * y for x, y in zip(row_a, row_b, strict=True))
                norms = (row_a**2).sum().sqrt() * (row_b**2).sum().sqrt()
                total = total + 1 - inner / (norms + 1e-6)
    return total


@pytest.mark.parametrize("scale", [1.0, 1e-4])
@pytest.mark.parametrize("distance", ["squared", "absolute", "cosine"])
def test_distances_and_directions_are_those_of_autograd(distance: Distance, scale: float) -> None:
    """At the small scale cosine's epsilon is larger than the product of the norms."""
    own, other = [scale * g for g in gradients(0)], [scale * g for g in gradients(1)]
    leaves = [g.clone().requires_grad_() for g in own]
    wanted = slow_distance(leaves, other, distance)
    found = gradient_distance(own, other, distance)
    assert float(found.loss) == pytest.approx(float(wanted.detach()), rel=1e-12)
    for along, right in zip(found.direction, torch.autograd.grad(wanted, leaves), strict=True):
        assert torch.allclose(along, right, rtol=1e-9, atol=1e-15)
    assert not found.loss.requires_grad


def test_cosine_of_filters_without_gradient() -> None:
    """A dead filter is at distance 1 whatever its target, and pulls only by the epsilon."""
    own, other = gradients(0), gradients(1)
    own[0][2], other[1][3] = 0.0, 0.0
    found = gradient_distance(own, other, "cosine")
    assert all(torch.isfinite(along).all() for along in found.direction)
    assert torch.equal(found.direction[1][3], torch.zeros_like(other[1][3]))
    assert torch.allclose(found.direction[0][2], -other[0][2] / 1e-6)
    assert float(gradient_distance(own, own, "cosine").loss) == pytest.approx(1.0, abs=1e-4)  # the dead one's


def test_what_each_distance_compares() -> None:
    net = build_net("convnet3", num_classes=4, image_shape=(3, 16, 16), width=16, generator=torch.Generator())
    kernels = [(16, 3, 3, 3), (16, 16, 3, 3), (16, 16, 3, 3)]
    assert [tuple(p.shape) for p in matched_parameters(net, "squared")] == kernels
    assert [tuple(p.shape) for p in matched_parameters(net, "cosine")] == [*kernels, (4, 64)]


def network(name: str = "convnet3", size: int = 16) -> Net:
    generator = torch.Generator().manual_seed(0)
    return build_net(name, num_classes=4, image_shape=(3, size, size), width=8, generator=generator)


def batches(size: int = 16) -> tuple[Batch, Batch]:
    generator = torch.Generator().manual_seed(1)
    real = Batch(torch.randn(20, 3, size, size, generator=generator), torch.arange(4).repeat(5))
    # Uneven classes, class 2 absent, not in order.
    labels = torch.tensor([3, 0, 0, 1, 3, 3, 1, 0, 0])
    return real, Batch(torch.randn(9, 3, size, size, generator=generator), labels)


def slow_match(net: Net, real: Batch, generated: Batch) -> tuple[Tensor, Tensor]:
    """Embeddings image by image, up to the last pooling, by torch's own functions; means by plain sums."""
    net = copy.deepcopy(net).double()
    images = generated.images.double().requires_grad_()

    def embed(image: Tensor) -> Tensor:
        x = image[None]
        for block in net.blocks:  # type: ignore[union-attr]
            convolution, norm = block[0], block[1]
            x = F.conv2d(x, convolution.weight, convolution.bias, padding=1)
            mean, variance = x.mean((2, 3), keepdim=True), x.var((2, 3), unbiased=False, keepdim=True)
            x = (x - mean) / (variance + norm.eps).sqrt()
            x = torch.relu(x * norm.weight[:, None, None] + norm.bias[:, None, None])
            x = (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4
        return x.flatten()

    loss = torch.zeros((), dtype=torch.float64)
    for label in sorted(set(generated.labels.tolist())):
        mean_real = torch.stack([embed(x.double()) for x, y in zip(*real, strict=True) if y == label]).mean(0)
        mean = torch.stack([embed(x) for x, y in zip(images, generated.labels, strict=True) if y == label]).mean(0)
        loss = loss + ((mean_real.detach() - mean) ** 2).sum()
    return loss.detach(), torch.autograd.grad(loss, images)[0]


def test_distribution_match_is_the_plain_loop() -> None:
    net, (real, generated) = network(), batches()
    found = distribution_match(net, real, generated)
    loss, grad = slow_match(net, real, generated)
    assert float(found.loss) == pytest.approx(float(loss), rel=1e-5)
    assert float((found.image_grad.double() - grad).norm() / grad.norm()) < 1e-4
    assert float(grad.norm()) > 0
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    assert not net.classifier._forward_pre_hooks


def test_distribution_match_is_the_same_by_torchs_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HMN_COMPILE", raising=False)
    generator = torch.Generator().manual_seed(3)
    net = build_net("convnet3", num_classes=4, image_shape=(3, 32, 32), width=32, generator=generator)
    real = Batch(torch.randn(24, 3, 32, 32, generator=generator), torch.arange(4).repeat_interleave(6))
    generated = Batch(torch.randn(8, 3, 32, 32, generator=generator), torch.arange(4).repeat_interleave(2))
    if prepared(net, generated.images) is None:
        pytest.skip("no C compiler: both are torch's passes")
    found = distribution_match(net, real, generated)
    monkeypatch.setattr("hmn.condensation.objectives.distribution.prepared", lambda *_: None)
    plain = distribution_match(net, real, generated)
    assert float(found.loss) == pytest.approx(float(plain.loss), rel=1e-5)
    assert float((found.image_grad - plain.image_grad).norm() / plain.image_grad.norm()) < 1e-4


def test_classes_together_or_in_groups_are_the_same() -> None:
    net, (real, generated) = network(), batches()
    together = distribution_match(net, real, generated)
    total, grad = 0.0, torch.zeros_like(generated.images)
    for group in ([0], [1, 3]):
        rows, of_group = (torch.isin(b.labels, torch.tensor(group)) for b in (generated, real))
        part = distribution_match(
            net,
            Batch(real.images[of_group], real.labels[of_group]),
            Batch(generated.images[rows], generated.labels[rows]),
        )
        total += float(part.loss)
        grad[rows] = part.image_grad
    assert total == pytest.approx(float(together.loss), rel=1e-5)
    assert torch.allclose(grad, together.image_grad, atol=1e-6)


@pytest.mark.parametrize(("name", "features"), [("convnet3", 8 * 4), ("resnetap10", 64), ("vgg11", 64)])
def test_embedding_is_what_the_classifier_takes(name: str, features: int) -> None:
    net = network(name, 16 if name == "convnet3" else 32).eval()
    images = torch.randn(3, 3, *(2 * [16 if name == "convnet3" else 32]))
    found = embedding(net, images)
    assert found.shape == (3, features)
    assert torch.allclose(net.classifier(found), net(images), atol=1e-6)
