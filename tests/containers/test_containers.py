"""The containers besides HMN against slow versions in float64; what they store, keep, divide and start from."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from hmn.condensation.loop import reconstruction_step
from hmn.containers.container import Container, clamped, container_class, shown
from hmn.containers.factorized import Factorized, FactorizedShape
from hmn.containers.frequency import Frequency, FrequencyShape
from hmn.containers.hmn import Hmn
from hmn.containers.hmn_sizes import HmnShape
from hmn.containers.inr import Inr, InrShape
from hmn.containers.linear import Linear, LinearShape
from hmn.containers.mosaic import Mosaic, MosaicShape
from hmn.containers.pixels import Pixels, PixelsShape
from hmn.containers.shape import Budget, Shape
from hmn.data.real import RealData
from hmn.data.source import Normalisation
from hmn.errors import UserError
from tests.reference import rival_images

NORM = Normalisation((0.5, 0.45, 0.4), (0.25, 0.24, 0.26))
SIZE = (3, 8, 10)
COUNTS = (3, 1, 2)
SHAPES: dict[str, Shape] = {
    "pixels": PixelsShape(image_shape=SIZE, images_per_class=COUNTS, budget=10**5),
    "mosaic": MosaicShape(image_shape=SIZE, images_per_class=COUNTS, budget=10**5, factors=(2,), tiles=(COUNTS,)),
    "mosaic, bounded": MosaicShape(
        image_shape=SIZE,
        images_per_class=(4, 2, 3),
        budget=10**5,
        factors=(3, 2, 1),
        tiles=((2, 1, 0), (1, 1, 2), (1, 0, 1)),
    ),
    "factorized": FactorizedShape(
        image_shape=SIZE, images_per_class=(6, 2, 4), budget=10**5, num_hallucinators=2, base_channels=3
    ),
    "factorized, grey bases": FactorizedShape(
        image_shape=SIZE, images_per_class=(3, 3, 6), budget=10**5, num_hallucinators=3, base_channels=1
    ),
    "linear": LinearShape(image_shape=SIZE, images_per_class=COUNTS, budget=10**5, num_bases=4, downsample=2),
    "inr": InrShape(image_shape=SIZE, images_per_class=COUNTS, budget=10**5, width=5, hidden_layers=2),
    "inr, three layers": InrShape(
        image_shape=SIZE, images_per_class=COUNTS, budget=10**5, width=4, hidden_layers=3, frequency=40.0
    ),
    "frequency": FrequencyShape(image_shape=SIZE, images_per_class=COUNTS, budget=10**5, coefficients=70),
    "frequency, mirrored": FrequencyShape(
        image_shape=SIZE, images_per_class=(6, 2, 4), budget=10**5, coefficients=70, views=2
    ),
}
PRUNABLE = [name for name in SHAPES if not name.startswith("factorized")]


def make(name: str, *, seed: int = 0, spread: float = 1.0) -> Container:
    """A container whose values are moved, so that some pixels lie outside of [0, 1]."""
    shape = SHAPES[name]
    names = tuple(f"class {label}" for label in range(shape.num_classes))
    generator = torch.Generator().manual_seed(seed)
    container = container_class(shape.kind)(shape, class_names=names, normalisation=NORM, generator=generator)
    if shape.kind != "inr":  # a step of its phases would be of another function
        with torch.no_grad():
            for parameter in container.parameters():
                parameter.add_(0.5 * spread * torch.randn(parameter.shape, generator=generator))
    return container


def slow(container: Container) -> Tensor:
    return getattr(rival_images, container.shape.kind)(container)


def real(num_images: int = 30) -> RealData:
    pixels = torch.randint(0, 256, (num_images, *SIZE), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    return RealData(pixels, torch.arange(num_images) % 3, ("class 0", "class 1", "class 2"), NORM, "noise")


@pytest.mark.parametrize("name", SHAPES)
def test_images_are_those_of_the_slow_version(name: str) -> None:
    container = make(name)
    wanted = slow(container)
    found = container.images(torch.arange(len(container))).detach()
    # sin(30 x) magnifies the rounding of float32.
    assert torch.allclose(found.double(), wanted, atol=1e-4 if name.startswith("inr") else 1e-5)
    assert found.shape == (len(container), *SIZE) and 0 <= float(found.min()) and float(found.max()) <= 1
    assert float(wanted.std()) > 0.01, "images that are all alike would agree with anything"
    other = slow(make(name, seed=1))
    assert not torch.allclose(found.double(), other, atol=1e-2)


@pytest.mark.parametrize("name", SHAPES)
def test_gradients_reach_every_parameter_and_are_those_of_float64(name: str) -> None:
    container = make(name, spread=0.1)
    weights = torch.randn(len(container), *SIZE, generator=torch.Generator().manual_seed(7))
    (container.images(torch.arange(len(container))) * weights).sum().backward()
    single = {key: parameter.grad.clone() for key, parameter in container.named_parameters()}
    container.double().zero_grad()
    (container.images(torch.arange(len(container))) * weights.double()).sum().backward()
    for key, parameter in container.named_parameters():
        assert parameter.grad is not None and float(parameter.grad.norm()) > 0, key
        assert float((single[key] - parameter.grad).norm() / parameter.grad.norm()) < 1e-3, key


@pytest.mark.parametrize("name", SHAPES)
def test_ledger_counts_every_byte_that_is_stored(name: str) -> None:
    container = make(name)
    stored = container.finalised().state_dict()
    assert {key: tuple(value.shape) for key, value in stored.items()} == container.shape.tensors()
    assert sum(value.numel() * value.element_size() for value in stored.values()) == container.ledger().num_bytes()
    assert container.ledger().num_floats == container.ledger().stored_floats
    # Nothing else is needed: a container built from the shape and these values alone shows the same.
    fresh = make(name, seed=1)
    assert not torch.equal(fresh.render_all(), container.render_all())
    fresh.load_state_dict(stored)
    assert torch.equal(fresh.render_all(), container.render_all())


def test_published_sizes_in_floats() -> None:
    """Counted by hand from the methods' code."""
    cifar = (3, 32, 32)
    one = FactorizedShape(
        image_shape=cifar, images_per_class=(5,) * 10, budget=10**6, num_hallucinators=5, base_channels=3
    )
    parts = {part.name: part.num_floats for part in one.ledger().parts}
    assert parts == {"bases": 10 * 3072, "hallucinators": 5 * 5568}
    linba = LinearShape(image_shape=cifar, images_per_class=(115,) * 10, budget=30_720, num_bases=16, downsample=2)
    assert linba.ledger().num_floats == 16 * 768 + 1150 * 16
    ddif = InrShape(image_shape=cifar, images_per_class=(1,), budget=100, width=6, hidden_layers=2)
    assert ddif.ledger().num_floats == (2 * 6 + 6) + (6 * 6 + 6) + (6 * 3 + 3) == 81


@pytest.mark.parametrize("name", SHAPES)
def test_images_alone_have_the_bits_that_they_have_among_others(name: str) -> None:
    container = make(name)
    together = container.render_all()
    for index in ([0], [len(container) - 1], [4, 1, 3], [5, 0]):
        assert torch.equal(container.images(torch.tensor(index)), together[index])
    assert torch.equal(container.finalised().render_all(), together)


@pytest.mark.parametrize("name", PRUNABLE)
def test_kept_images_do_not_change_and_the_others_are_gone(name: str) -> None:
    container = make(name)
    assert container.shape.not_prunable is None
    together = container.render_all()
    one_a_class = [int((container.labels == label).nonzero()[0]) for label in range(3)]
    views, chosen = range(container.copies), {*one_a_class, len(container) - 1}
    index = sorted({image - image % len(views) + view for image in chosen for view in views})
    kept = container.keep(torch.tensor(index).flip(0))
    assert torch.equal(kept.render_all(), together[index])
    assert kept.labels.tolist() == container.labels[index].tolist()
    assert kept.ledger().num_floats < container.ledger().num_floats
    assert {key: tuple(value.shape) for key, value in kept.state_dict().items()} == kept.shape.tensors()
    with pytest.raises(ValueError, match="cannot keep"):
        container.keep(torch.tensor([0, 0]))
    with pytest.raises(ValueError, match="'class 1' without any"):
        container.keep(torch.tensor([*views, *(len(container) - 1 - view for view in views)]))


@pytest.mark.parametrize("name", ["factorized", "factorized, grey bases"])
def test_factorized_says_why_it_is_not_pruned(name: str) -> None:
    container = make(name)
    assert container.shape.not_prunable is not None and container.shape.not_prunable.endswith(".")
    with pytest.raises(UserError, match="a pair of a base and a hallucinator"):
        container.keep(torch.arange(len(container)))


def test_hmn_can_be_pruned() -> None:
    shape = HmnShape.plan(Budget(num_classes=3, image_shape=(3, 16, 16), floats=20_000))
    assert Hmn(shape, class_names=("a", "b", "c"), normalisation=NORM).shape.not_prunable is None


@pytest.mark.parametrize("name", SHAPES)
def test_parts_hold_every_row_once_and_show_what_the_whole_shows(name: str) -> None:
    whole = make(name)
    ranges = (range(0, 2), range(2, 3))
    parts = [whole.part(classes) for classes in ranges]
    for key, values in whole.named_parameters():
        held = [part.get_parameter(key) for part in parts]
        if whole.rows(key, ranges[0]) is None:
            assert key in ("bases", *FactorizedShape.parts) and all(torch.equal(part, values) for part in held), key
        else:
            assert torch.equal(torch.cat(list(held)), values), key
            assert [torch.equal(values[whole.rows(key, r)], own) for r, own in zip(ranges, held, strict=True)] == [
                True
            ] * 2
    assert torch.equal(torch.cat([part.render_all() for part in parts]), whole.render_all())
    assert parts[1].labels.unique().tolist() == [0] and parts[1].class_names == ("class 2",)
    assert [part.shape.num_classes for part in parts] == [2, 1]


@pytest.mark.parametrize("name", SHAPES)
def test_no_images_are_no_images_with_a_graph(name: str) -> None:
    """A process whose classes are not drawn renders none, and takes part in the step all the same."""
    container = make(name)
    images = container.images(torch.empty(0, dtype=torch.int64))
    assert images.shape == (0, *SIZE)
    images.backward(torch.empty(0, *SIZE))
    for parameter in container.parameters():
        assert parameter.grad is None or not parameter.grad.any()


@pytest.mark.parametrize("name", SHAPES)
def test_start_from_real_images(name: str) -> None:
    container, data = make(name), real()
    targets = data.images(torch.arange(len(container)))
    if not container.start_from(targets):
        assert isinstance(container, Linear | Inr)
        return
    seen = container.render_all()
    if isinstance(container, Pixels):
        assert torch.equal(seen, targets)
    elif isinstance(container, Mosaic):
        for position, factor in enumerate(container.shape.factors):
            if factor == 1:  # whole images are taken as they are
                rows = (container._groups() == position).nonzero()[:, 0]
                assert torch.equal(seen[rows], targets[rows])
        assert float((seen - targets).abs().mean()) < 0.25  # noise, of which a tile keeps the mean of 2x2 pixels
        flat = torch.full_like(targets, 0.3)
        assert container.start_from(flat) and torch.allclose(container.render_all(), flat, atol=1e-6)
    elif isinstance(container, Frequency):
        first = targets[:: container.copies].double().numpy()
        _, wanted = rival_images.low_frequencies(first, container.shape.coefficients)
        assert torch.allclose(seen[:: container.copies].double(), torch.tensor(wanted), atol=1e-5)
    else:
        assert isinstance(container, Factorized)
        count = container.shape.num_hallucinators
        mean, std = (torch.tensor(values)[:, None, None] for values in NORM)
        wanted = (targets[::count] - mean) / std
        if container.shape.base_channels == 1:
            wanted = wanted.mean(dim=1, keepdim=True)
        assert torch.allclose(container.bases, wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "least"),
    [*((name, 0.3) for name in ("linear", "inr", "factorized", "frequency", "frequency, mirrored")), ("hmn", 0.1)],
)
def test_reconstruction_learns(name: str, least: float) -> None:
    """Those without a start of their own are fitted; the error falls by this share at least, on smooth images."""
    across = torch.linspace(20, 230, 10).expand(30, 3, 8, 10)
    slope = torch.linspace(-1, 1, 30).view(-1, 1, 1, 1)
    data = replace(real(), pixels=(128 + slope * (across - 128)).to(torch.uint8))
    if name == "hmn":
        shape = HmnShape.plan(Budget(num_classes=3, image_shape=SIZE, floats=3_000))
        container: Container = Hmn(shape, class_names=data.class_names, normalisation=NORM)
    else:
        container = make(name, spread=0.0)
    targets = torch.cat(
        [(data.labels == label).nonzero()[: int(count), 0] for label, count in enumerate(container.labels.bincount())]
    )
    optimizer = torch.optim.Adam(container.parameters(), lr=0.01)
    errors, generator = [], torch.Generator().manual_seed(0)
    for _ in range(60):
        optimizer.zero_grad()
        errors.append(float(reconstruction_step(container, data, targets, 1024, generator)))
        optimizer.step()
    assert errors[-1] < (1 - least) * errors[0], errors


def test_a_coreset_becomes_pixels() -> None:
    data = real()
    chosen = data.subset(torch.tensor([5, 3, 1, 4, 0]))
    container = Pixels.of(chosen)
    assert container.labels.tolist() == [0, 0, 1, 1, 2]
    assert torch.equal(container.render_all(), data.images(torch.tensor([3, 0, 1, 4, 5])))
    assert container.ledger().num_floats == container.ledger().budget == 5 * 240
    with pytest.raises(UserError, match="'class 2' has no image"):
        Pixels.of(data.subset(torch.tensor([0, 1])))


def test_outside_of_the_range_the_gradient_passes_only_inward() -> None:
    values = torch.tensor([-1.0, -1.0, 0.5, 0.5, 2.0, 2.0], requires_grad=True)
    clamped(values).backward(torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0]))
    # Descent goes against the gradient: below 0 only a negative one leads back, above 1 only a positive one.
    assert values.grad is not None and values.grad.tolist() == [0, -1, 1, -1, 1, 0]
    images = torch.zeros(1, 3, 2, 2)
    assert torch.allclose(shown(images, NORM)[0, :, 0, 0], torch.tensor(NORM.mean))


def test_same_seed_same_bits() -> None:
    for name in SHAPES:
        assert torch.equal(make(name).render_all(), make(name).render_all())


def test_first_values_are_those_of_the_methods_code() -> None:
    """Bounds of the uniform draws, from torch's modules where the methods use them."""
    generator = torch.Generator().manual_seed(0)
    names = ("a", "b", "c")
    for base_channels in (1, 3):
        shape = FactorizedShape(
            image_shape=(3, 32, 32),
            images_per_class=(50,) * 3,
            budget=10**6,
            num_hallucinators=50,
            base_channels=base_channels,
        )
        haba = Factorized(shape, class_names=names, normalisation=NORM, generator=generator)
        encoder, decoder = nn.Conv2d(base_channels, 3, 3), nn.ConvTranspose2d(3, 3, 3)
        for found, module in ((haba.encoder_weight, encoder), (haba.decoder_weight, decoder)):
            assert module.weight.abs().max() <= 1 / math.sqrt(9 * (base_channels if module is encoder else 3))
            assert found[0].shape == module.weight.shape
            assert float(found.detach().abs().max()) == pytest.approx(1 / math.sqrt(9 * found.shape[2]), rel=0.02)
    inr_shape = InrShape(image_shape=(3, 32, 32), images_per_class=(200,) * 3, budget=10**6, width=6, hidden_layers=2)
    inr = Inr(inr_shape, class_names=names, normalisation=NORM, generator=generator)
    bounds = [float(weight.detach().abs().max()) for weight in inr.weights.parameters()]
    assert bounds == pytest.approx([1 / 2, math.sqrt(6 / 6) / 10, math.sqrt(6 / 6) / 10], rel=0.01)
    linear = LinearShape(image_shape=(3, 32, 32), images_per_class=(200,) * 3, budget=10**6, num_bases=16, downsample=2)
    linba = Linear(linear, class_names=names, normalisation=NORM, generator=generator)
    assert float(linba.bases.detach().abs().max()) == pytest.approx(math.sqrt(6 / (16 + 768)), rel=0.01)
    assert float(linba.coefficients.detach().abs().max()) == pytest.approx(math.sqrt(6 / (600 + 16)), rel=0.01)
