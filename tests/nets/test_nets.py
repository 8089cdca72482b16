"""Networks: shapes, references, initialisation, and masks that can be replayed."""

import pytest
import torch
from torch import nn

from hmn.errors import UserError
from hmn.nets import Gate, build_net, forget_masks, record_masks, replay_masks
from hmn.nets.base import normalise
from tests.reference.nets_reference import convnet_slow, instance_norm_slow


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


CASES = [
    ("convnet1", (3, 4, 4), 3, [(3, 2, 2)]),
    ("convnet3", (1, 8, 8), 4, [(4, 4, 4), (4, 2, 2), (4, 1, 1)]),
    ("convnet3", (3, 9, 12), 4, [(4, 4, 6), (4, 2, 3), (4, 1, 1)]),
    ("convnet3", (1, 28, 28), 2, [(2, 16, 16), (2, 8, 8), (2, 4, 4)]),
    ("convnet4", (3, 64, 64), 2, [(2, 32, 32), (2, 16, 16), (2, 8, 8), (2, 4, 4)]),
    ("resnetap10", (3, 32, 32), 2, [(2, 32, 32), (2, 32, 32), (4, 16, 16), (8, 8, 8), (16, 4, 4)]),
    ("resnetap10", (1, 96, 96), 2, [(2, 48, 48), (2, 48, 48), (4, 24, 24), (8, 12, 12), (16, 6, 6)]),
    ("resnetap10", (3, 224, 224), 1, [(1, 56, 56), (1, 56, 56), (2, 28, 28), (4, 14, 14), (8, 7, 7)]),
    ("resnet18", (3, 32, 32), 2, [(2, 32, 32), (2, 32, 32), (4, 16, 16), (8, 8, 8), (16, 4, 4)]),
    ("resnet18", (3, 96, 96), 2, [(2, 24, 24), (2, 24, 24), (4, 12, 12), (8, 6, 6), (16, 3, 3)]),
    ("resnet18-in", (1, 16, 16), 2, [(2, 16, 16), (2, 16, 16), (4, 8, 8), (8, 4, 4), (16, 2, 2)]),
    ("vgg11", (3, 32, 32), 2, [(2, 16, 16), (4, 8, 8), (8, 4, 4), (16, 2, 2), (16, 1, 1)]),
    ("vgg16", (1, 33, 32), 2, [(2, 16, 16), (4, 8, 8), (8, 4, 4), (16, 2, 2), (16, 1, 1)]),
    ("densenet121", (3, 8, 8), 2, [(4, 8, 8), (16, 8, 8), (32, 4, 4), (64, 2, 2), (64, 1, 1)]),
]


@pytest.mark.parametrize(("name", "shape", "width", "stages"), CASES)
def test_shapes(name: str, shape: tuple, width: int, stages: list[tuple]) -> None:
    net = build_net(name, num_classes=7, image_shape=shape, width=width, generator=seeded())
    images = torch.randn(2, *shape, generator=seeded())
    features = net.eval().features(images)
    assert [tuple(f.shape) for f in features] == [(2, *stage) for stage in stages]
    assert isinstance(net.classifier, nn.Linear) and net.classifier.out_features == 7
    assert torch.equal(net(images), net.head(features[-1])) and net(images).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "shape", "floats"),
    [
        ("convnet3", (3, 32, 32), 320_010),  # the field's ConvNet-3 for CIFAR-10
        ("resnet18", (3, 32, 32), 11_173_962),  # the usual ResNet-18 for CIFAR-10
        ("vgg11", (3, 32, 32), 9_231_114),  # the usual VGG-11 with BatchNorm and one linear layer
        ("densenet121", (3, 32, 32), 6_956_298),  # the usual DenseNet-121 for CIFAR-10
        ("resnetap10", (3, 224, 224), 4_910_922),  # layer by layer from IDC's description
    ],
)
def test_number_of_parameters(name: str, shape: tuple, floats: int) -> None:
    net = build_net(name, num_classes=10, image_shape=shape, generator=seeded())
    assert sum(p.numel() for p in net.parameters()) == floats


def test_instance_norm_agrees_with_float64() -> None:
    norm = normalise(5, "instance")
    with torch.no_grad():
        norm.weight.copy_(torch.randn(5, generator=seeded()))
        norm.bias.copy_(torch.randn(5, generator=seeded(1)))
    x = 3 + 2 * torch.randn(4, 5, 6, 7, generator=seeded(2))
    expected = instance_norm_slow(x, norm.weight, norm.bias)
    torch.testing.assert_close(norm(x).double(), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(norm.double()(x.double()), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 11, 9)])
def test_convnet_agrees_with_float64(shape: tuple) -> None:
    net = build_net("convnet3", num_classes=4, image_shape=shape, width=5, generator=seeded()).double()
    images = torch.randn(3, *shape, dtype=torch.float64, generator=seeded())
    torch.testing.assert_close(net(images), convnet_slow(net, images), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["convnet3", "resnetap10", "resnet18", "vgg11", "densenet121", "timm/resnet18"])
def test_weights_come_from_the_generator_alone(name: str) -> None:
    if name.startswith("timm/"):
        pytest.importorskip("timm")
    width = None if name.startswith("timm/") else 2
    states = []
    for global_seed, seed in ((1, 5), (2, 5), (3, 6)):
        torch.manual_seed(global_seed)
        before = torch.get_rng_state()
        net = build_net(name, num_classes=3, image_shape=(3, 32, 32), width=width, generator=seeded(seed))
        assert torch.equal(before, torch.get_rng_state())
        states.append(list(net.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(states[0], states[1], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(states[0], states[2], strict=True))


def test_next_network_of_a_generator_differs() -> None:
    generator = seeded()
    first, second = (
        build_net("convnet1", num_classes=2, image_shape=(1, 4, 4), width=2, generator=generator) for _ in range(2)
    )
    assert not torch.equal(first.classifier.weight, second.classifier.weight)


@pytest.mark.parametrize("name", ["convnet2", "resnetap10", "vgg11", "densenet121"])
def test_replayed_masks_are_relu_at_the_same_weights(name: str) -> None:
    shape = (3, 32, 32) if name == "vgg11" else (3, 16, 16)
    net = build_net(name, num_classes=3, image_shape=shape, width=2, generator=seeded()).eval()
    chunks = torch.randn(6, *shape, generator=seeded()).split(2)
    plain = [net(chunk) for chunk in chunks]
    with record_masks(net):
        recorded = [net(chunk) for chunk in chunks]
    for _ in range(2):  # a replay can be repeated
        with replay_masks(net):
            replayed = [net(chunk) for chunk in chunks]
            around = net(chunks[0])  # after the last mask comes the first again
        assert torch.equal(around, plain[0])
        for a, b, c in zip(plain, recorded, replayed, strict=True):
            assert torch.equal(a, b) and torch.equal(a, c)
    assert all(gate.mode == "relu" for gate in net.modules() if isinstance(gate, Gate))


def test_replay_makes_the_network_smooth() -> None:
    """The masks stay those of the recording at other images, where ReLU would change them."""
    gate = Gate()
    z, other = torch.tensor([-1.0, 2.0, 0.0]), torch.tensor([5.0, -3.0, 4.0])
    with record_masks(gate):
        gate(z)
    with replay_masks(gate):
        moved = other.clone().requires_grad_()
        out = gate(moved)
        out.sum().backward()
    assert out.tolist() == [0.0, -3.0, 0.0]
    assert moved.grad.tolist() == [0.0, 1.0, 0.0]
    assert gate(other).tolist() == [5.0, 0.0, 4.0]


def test_masks_are_dropped_and_missed() -> None:
    net = build_net("convnet1", num_classes=2, image_shape=(1, 4, 4), width=2, generator=seeded())
    with record_masks(net):
        net(torch.zeros(1, 1, 4, 4))
    with record_masks(net):
        net(torch.zeros(1, 1, 4, 4))
    assert [len(gate.masks) for gate in net.modules() if isinstance(gate, Gate)] == [1]
    forget_masks(net)
    with pytest.raises(ValueError, match="nothing was recorded"), replay_masks(net):
        pass


def test_modes_end_with_an_error_inside() -> None:
    gate = Gate()
    with pytest.raises(RuntimeError), record_masks(gate):
        raise RuntimeError
    assert gate.mode == "relu"


@pytest.mark.parametrize(
    ("name", "shape", "width", "message"),
    [
        ("convnet4", (3, 8, 8), None, "convnet4 needs images of at least 16x16 pixels and got 8x8"),
        ("vgg11", (1, 8, 8), None, "vgg11 needs images of at least 32x32"),
        ("resnetap10", (1, 8, 8), None, "resnetap10 needs images of at least 16x16"),
        ("convnet", (3, 32, 32), None, "unknown network 'convnet': expected convnetD"),
        ("convnet3-in", (3, 32, 32), None, "unknown network"),
        ("convnet3", (3, 32, 32), 0, "width=0: expected at least 1"),
        ("timm/resnet18", (3, 32, 32), 16, "has its own widths"),
        ("timm/no-such-net", (3, 32, 32), None, "timm has no model 'no-such-net'"),
    ],
)
def test_mistakes_are_told(name: str, shape: tuple, width: int | None, message: str) -> None:
    if "no-such" in name:
        pytest.importorskip("timm")
    with pytest.raises(UserError, match=message):
        build_net(name, num_classes=3, image_shape=shape, width=width, generator=seeded())


def test_missing_timm_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(UserError, match=r"pip install 'hmn\[vision\]'"):
        build_net("timm/resnet18", num_classes=3, image_shape=(3, 32, 32), generator=seeded())


def test_timm_takes_grey_images() -> None:
    pytest.importorskip("timm")
    net = build_net("timm/resnet10t", num_classes=3, image_shape=(1, 32, 32), generator=seeded())
    images = torch.randn(2, 1, 32, 32, generator=seeded())
    assert net(images).shape == (2, 3) and net.features(images)[-1].dim() == 4
    assert isinstance(net.classifier, nn.Linear)
