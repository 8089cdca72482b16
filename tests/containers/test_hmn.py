"""The container against a slow module written from the paper's description, in float64."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from hmn.containers.hmn import Hmn, subpixel_kernel
from hmn.containers.hmn_sizes import HmnShape, preset
from hmn.containers.shape import Budget
from hmn.data.source import Normalisation

NORM = Normalisation((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))


def make(shape: HmnShape, seed: int = 0) -> Hmn:
    channels = shape.image_shape[0]
    norm = Normalisation(NORM.mean[:channels], NORM.std[:channels])
    names = tuple(f"class {i}" for i in range(shape.num_classes))
    net = Hmn(shape, class_names=names, normalisation=norm, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():  # BatchNorm away from its identity start, so that folding is really tested
        for norm_layer in net.norms:
            norm_layer.weight.uniform_(0.5, 1.5)
            norm_layer.bias.uniform_(-0.5, 0.5)
    return net


def small(extractor: bool = False, size: tuple[int, int, int] = (3, 32, 32)) -> HmnShape:
    return HmnShape(
        image_shape=size,
        memory_size=-(-size[1] // 8),
        dataset_channels=6,
        class_channels=3,
        instance_channels=2,
        images_per_class=(3, 1, 4),
        extractor=extractor,
        budget=10**6,
    )


def slow_images(net: Hmn) -> torch.Tensor:
    """Every image in float64 from concatenated memories, ConvTranspose2d and BatchNorm over all images."""
    memories = []
    for i, c in enumerate(net.labels.tolist()):
        features = net.dataset_memory.double()
        if net.shape.extractor:
            kernel = net.extractor_weight[c].double()[:, :, None, None]
            features = F.conv2d(features[None], kernel, net.extractor_bias[c].double())[0]
        memories.append(torch.cat([features, net.class_memory[c].double(), net.instance_memory[i].double()]))
    hidden = torch.stack(memories)
    for position, layer in enumerate(net.decoder.children()):
        hidden = F.conv_transpose2d(hidden, layer.weight.double(), layer.bias.double(), stride=2, padding=1)
        if position < 2:
            mean = hidden.mean((0, 2, 3), keepdim=True)
            variance = hidden.var((0, 2, 3), unbiased=False, keepdim=True)
            norm = net.norms[position]
            hidden = (hidden - mean) / (variance + norm.eps).sqrt()
            hidden = hidden * norm.weight.double()[:, None, None] + norm.bias.double()[:, None, None]
            hidden = torch.where(hidden > 0, hidden, 0.1 * hidden)
    return 1 / (1 + torch.exp(-hidden))


@pytest.mark.parametrize("extractor", [False, True])
def test_matches_slow_reference_while_condensing_and_finalised(extractor: bool) -> None:
    net = make(small(extractor))
    slow = slow_images(net)
    assert torch.allclose(net.images(torch.arange(8)).double(), slow, atol=1e-5)
    assert torch.allclose(net.finalised().render_all().double(), slow, atol=1e-5)


def test_subpixel_kernel_is_the_transposed_convolution() -> None:
    weight = torch.randn(5, 3, 4, 4, dtype=torch.float64)
    x = torch.randn(2, 5, 4, 6, dtype=torch.float64)
    fast = F.pixel_shuffle(F.conv2d(x, subpixel_kernel(weight), padding=1), 2)
    assert torch.allclose(fast, F.conv_transpose2d(x, weight, stride=2, padding=1), atol=1e-12)


@pytest.mark.parametrize("extractor", [False, True])
def test_finalised_images_are_independent_to_the_bit(extractor: bool) -> None:
    final = make(small(extractor)).finalised()
    together = final.render_all()
    for i in range(len(final)):
        assert torch.equal(final.images(torch.tensor([i]))[0], together[i])
    some = torch.tensor([6, 2, 0, 3])
    assert torch.equal(final.images(some), together[some])
    kept = final.keep(torch.tensor([0, 2, 3, 7]))
    assert torch.equal(kept.render_all(), together[[0, 2, 3, 7]])
    assert kept.shape.images_per_class == (2, 1, 1)
    assert kept.labels.tolist() == [0, 0, 1, 2]


def test_preset_images_are_independent_to_the_bit() -> None:
    shape = preset("cifar10", 1)
    assert shape is not None
    final = make(shape).finalised()
    together = final.render_all()
    for index in ([0], [849, 3], list(range(100, 117)), list(range(0, 850, 7))):
        assert torch.equal(final.images(torch.tensor(index)), together[index])


@pytest.mark.parametrize("bad", [[], [0, 0], [8], [-1]])
def test_keep_refuses_bad_indices(bad: list[int]) -> None:
    with pytest.raises(ValueError, match="cannot keep"):
        make(small()).finalised().keep(torch.tensor(bad, dtype=torch.int64))


def test_keep_refuses_to_empty_a_class() -> None:
    with pytest.raises(ValueError, match="class 1"):
        make(small()).keep(torch.tensor([0, 5]))


@pytest.mark.parametrize("size", [(1, 8, 8), (1, 28, 28), (3, 20, 36), (3, 224, 224)])
def test_other_sizes(size: tuple[int, int, int]) -> None:
    net = make(HmnShape.plan(Budget(num_classes=3, image_shape=size, floats=40_000)))
    images = net.images(torch.tensor([0, 1]))
    assert images.shape == (2, *size)
    assert 0 <= float(images.detach().min()) and float(images.detach().max()) <= 1


@pytest.mark.parametrize("extractor", [False, True])
def test_parameters_are_what_the_ledger_counts(extractor: bool) -> None:
    net = make(small(extractor))
    ledger = net.ledger()
    assert sum(p.numel() for p in net.parameters()) == ledger.num_floats
    final = net.finalised()
    assert sum(v.numel() for v in final.state_dict().values()) == ledger.stored_floats
    assert ledger.num_bytes("float16") == 2 * ledger.stored_floats
    assert ledger.num_bytes("int4") == math.ceil(ledger.stored_floats / 2)


def test_same_seed_same_bits() -> None:
    a, b, c = make(small(), 1), make(small(), 1), make(small(), 2)
    assert torch.equal(a.instance_memory, b.instance_memory)
    assert not torch.equal(a.instance_memory, c.instance_memory)
