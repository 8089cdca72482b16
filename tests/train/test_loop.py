"""The training loop against one written out by hand, its schedules and records; evaluation."""

import math
import statistics
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from hmn.data.source import Normalisation
from hmn.errors import UserError
from hmn.nets import build_net
from hmn.recipes.protocols import PROTOCOLS, protocol
from hmn.recipes.settings import AugmentConfig, TrainConfig
from hmn.train.evaluation import Rendered, render, train_and_test
from hmn.train.loop import EpochRecord, accuracy, learning_rate, total_steps, train
from hmn.train.results import deviation
from tests.reference.train_reference import sgd_slow

PLAIN = TrainConfig(augment=AugmentConfig(strategy="none"), cutmix_probability=0.0)
HALF = Normalisation((0.5,), (0.25,))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blobs(n: int, seed: int, *, classes: int = 4, side: int = 8) -> Rendered:
    """Noisy small images, each class a texture of its own (instance norm and pooling lose a mere place)."""
    labels = torch.arange(n) % classes
    noise = torch.rand(n, 1, side, side, generator=seeded(seed))
    textures = torch.rand(classes, 1, side, side, generator=seeded(1000)).round()
    pixels = 0.7 * textures[labels] + 0.3 * noise
    return Rendered(pixels, labels, tuple("abcd"[:classes]), HALF)


def small_net(seed: int = 0, width: int = 8) -> nn.Module:
    return build_net("convnet3", num_classes=4, image_shape=(1, 8, 8), width=width, generator=seeded(seed))


def test_cosine_rates_are_exact() -> None:
    config = TrainConfig(lr=0.1, min_lr=0.001)
    assert learning_rate(config, 0, 10) == 0.1
    assert learning_rate(config, 5, 10) == pytest.approx((0.1 + 0.001) / 2)
    assert learning_rate(config, 10, 10) == pytest.approx(0.001)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    torch_schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10, eta_min=0.001)
    for step in range(10):
        assert learning_rate(config, step, 10) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        torch_schedule.step()


def test_multistep_rates_are_exact() -> None:
    config = TrainConfig(lr=0.1, schedule="multistep")
    rates = [learning_rate(config, step, 20) for step in range(20)]
    assert rates == pytest.approx([0.1] * 6 + [0.01] * 6 + [0.001] * 6 + [0.0001] * 2)


@pytest.mark.parametrize(
    ("n", "batch", "sizes"),
    [(8, 4, [4, 4]), (10, 4, [4, 4, 2]), (9, 4, [4, 5]), (3, 4, [3]), (1, 4, [1]), (3, 1, [1, 1, 1])],
)
def test_every_image_once_an_epoch(n: int, batch: int, sizes: list[int]) -> None:
    source = Recorder(blobs(n, 0))
    records = list(train(small_net(), source, replace(PLAIN, epochs=2, batch_size=batch), generator=seeded()))
    assert [len(index) for index in source.asked] == sizes * 2
    epochs = [torch.cat(source.asked[: len(sizes)]), torch.cat(source.asked[len(sizes) :])]
    assert all(sorted(epoch.tolist()) == list(range(n)) for epoch in epochs)
    assert n < 8 or not torch.equal(*epochs), "each epoch has an order of its own"
    assert [(record.epoch, record.step) for record in records] == [(1, len(sizes)), (2, 2 * len(sizes))]
    assert total_steps(replace(PLAIN, epochs=2, batch_size=batch), n) == 2 * len(sizes)


@dataclass
class Recorder:
    """A source that notes what it is asked for."""

    inner: Rendered

    def __post_init__(self) -> None:
        self.asked: list[Tensor] = []
        self.labels, self.class_names = self.inner.labels, self.inner.class_names
        self.normalisation, self.image_shape = self.inner.normalisation, self.inner.image_shape

    def __len__(self) -> int:
        return len(self.inner)

    def images(self, index: Tensor) -> Tensor:
        self.asked.append(index)
        return self.inner.images(index)


def test_steps_override_epochs_and_the_last_epoch_is_partial() -> None:
    source = Recorder(blobs(12, 0))
    records = list(train(small_net(), source, replace(PLAIN, steps=7, epochs=1, batch_size=4), generator=seeded()))
    assert [(record.epoch, record.step) for record in records] == [(1, 3), (2, 6), (3, 7)]
    assert len(source.asked) == 7


@pytest.mark.parametrize("schedule", ["cosine", "multistep"])
def test_agrees_with_sgd_by_hand(schedule: str) -> None:
    data = blobs(10, 3)
    config = replace(PLAIN, epochs=4, batch_size=4, lr=0.05, weight_decay=0.1, schedule=schedule)
    source = Recorder(data)
    net, by_hand = small_net().double(), small_net().double()
    source.inner = replace(data, pixels=data.pixels.double())
    records = list(train(net, source, config, generator=seeded(1)))
    rates = [learning_rate(config, step, 12) for step in range(12)]
    images = (data.pixels.double() - 0.5) / 0.25
    losses = sgd_slow(by_hand, images, data.labels, source.asked, rates, momentum=config.momentum, weight_decay=0.1)
    for p, q in zip(net.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-9)
    for i, record in enumerate(records):
        parts = losses[3 * i : 3 * i + 3]
        expected = (4 * parts[0] + 4 * parts[1] + 2 * parts[2]) / 10
        assert record.loss == pytest.approx(expected, rel=1e-5)


def test_same_seed_same_bits() -> None:
    data, config = blobs(40, 0), TrainConfig(steps=12, batch_size=16)
    runs = []
    for global_seed, seed in ((0, 4), (1, 4), (0, 5)):
        torch.manual_seed(global_seed)
        net = small_net()
        runs.append((list(train(net, data, config, generator=seeded(seed))), list(net.parameters())))
    assert runs[0][0] == runs[1][0] and runs[0][0] != runs[2][0]
    assert all(torch.equal(a, b) for a, b in zip(runs[0][1], runs[1][1], strict=True))


@pytest.mark.parametrize("name", ["color_crop_cutout", "color_crop_cutout_flip_scale_rotate"])
def test_learns_blobs(name: str) -> None:
    config = TrainConfig(steps=120, batch_size=32, lr=0.1, augment=AugmentConfig(strategy=name))
    net = small_net(width=32)
    untrained = accuracy(net, blobs(100, 9))
    records = list(train(net, blobs(80, 1), config, generator=seeded()))
    assert records[-1].loss < records[0].loss
    assert accuracy(net, blobs(100, 9)) > max(90.0, untrained)


def test_learns_without_augmentation_and_says_its_training_accuracy() -> None:
    net = small_net(width=32)
    config = replace(PLAIN, steps=120, batch_size=40, lr=0.1)
    records = list(train(net, blobs(40, 1), config, generator=seeded()))
    assert records[-1].train_accuracy == 100.0 and records[-1].loss < 0.5
    assert accuracy(net, blobs(100, 9)) > 95


def test_cutout_is_dropped_with_cutmix(monkeypatch: pytest.MonkeyPatch) -> None:
    from hmn.train import augment

    seen: list[tuple[str, bool]] = []
    draw = augment.draw

    def noted(config: AugmentConfig, *args: object, one_choice: bool = False) -> augment.AugmentParams:
        seen.append((config.strategy, one_choice))
        return draw(config, *args, one_choice=one_choice)

    monkeypatch.setattr(augment, "draw", noted)
    for probability in (0.5, 0.0):
        config = TrainConfig(steps=1, cutmix_probability=probability)
        list(train(small_net(), blobs(8, 0), config, generator=seeded()))
    assert seen == [("color_crop", True), ("color_crop_cutout", True)]


def test_cutmix_loss_mixes_both_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    from hmn.train import augment

    def halves(images: Tensor, labels: Tensor, **_: object) -> tuple[Tensor, Tensor, Tensor, float]:
        return images, labels, (labels + 1) % 4, 0.25

    monkeypatch.setattr(augment, "cutmix", halves)
    data, net = blobs(8, 0), small_net()
    log_probs = net((data.pixels - 0.5) / 0.25).log_softmax(1)
    other = (data.labels + 1) % 4
    own, foreign = (log_probs.gather(1, labels[:, None]) for labels in (data.labels, other))
    expected = -(0.25 * own + 0.75 * foreign)
    record = next(train(net, data, replace(PLAIN, steps=1), generator=seeded()))
    assert record.loss == pytest.approx(float(expected.detach().mean()), rel=1e-5)


@pytest.mark.parametrize("n", [1, 7, 23])
def test_accuracy_counts(n: int) -> None:
    """A network that answers class 2 always; batches that do not divide the number of images."""
    net = small_net().train()
    with torch.no_grad():
        net.classifier.weight.zero_()
        net.classifier.bias.copy_(torch.tensor([0.0, 0, 1, 0]))
    data = blobs(n, 0)
    assert accuracy(net, data, batch_size=5) == 100 * int((data.labels == 2).sum()) / n
    assert net.training


def test_accuracy_normalises_with_the_given_constants() -> None:
    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            mean = x.mean(dim=(1, 2, 3)) + self.weight
            return torch.stack([-mean, mean], dim=1)

    own = Normalisation((0.2,), (1.0,))
    data = Rendered(torch.full((3, 1, 2, 2), 0.5), torch.ones(3).long(), ("dark", "bright"), own)
    assert accuracy(Mean(), data) == 100
    assert accuracy(Mean(), data, normalisation=Normalisation((0.8,), (1.0,))) == 0


def test_evaluate_statistics_and_records() -> None:
    source, test = blobs(30, 0), blobs(50, 1)
    config = TrainConfig(steps=6, batch_size=16, lr=0.05)
    heard: list[tuple[int, EpochRecord]] = []
    common = {"net": "convnet3", "width": 4, "config": config}
    result = train_and_test(source, test, seeds=[3, 4, 5], on_epoch=lambda *a: heard.append(a), **common)
    singles = [train_and_test(source, test, seeds=[seed], **common) for seed in (3, 4, 5)]
    assert result.values == [single.mean for single in singles]
    assert len(set(result.values)) > 1
    assert result.mean == pytest.approx(sum(result.values) / 3)
    assert deviation(result.values) == pytest.approx(statistics.stdev(result.values)) and deviation(result.values) > 0
    assert deviation(singles[0].values) == 0
    assert (result.train_steps, result.images) == (6, 30) and result.seconds > 0
    expected = [(seed, epoch, 2 * epoch) for seed in (3, 4, 5) for epoch in (1, 2, 3)]
    assert [(seed, record.epoch, record.step) for seed, record in heard] == expected


def test_test_images_are_normalised_as_the_training_images() -> None:
    test = blobs(40, 1)
    odd = replace(test, normalisation=Normalisation((-3.0,), (9.0,)))
    arguments = {"net": "convnet3", "width": 16, "config": replace(PLAIN, steps=30, lr=0.1), "seeds": [0, 1]}
    expected = train_and_test(blobs(40, 0), test, **arguments).values
    assert min(expected) > 30
    assert train_and_test(blobs(40, 0), odd, **arguments).values == expected


class Decoder(nn.Module):
    """A container in little: counts how often it is decoded."""

    def __init__(self, inner: Rendered) -> None:
        super().__init__()
        self.inner, self.decoded = inner, 0
        self.scale = nn.Parameter(torch.ones(1))
        self.labels, self.class_names = inner.labels, inner.class_names
        self.normalisation, self.image_shape = inner.normalisation, inner.image_shape

    def __len__(self) -> int:
        return len(self.inner)

    def images(self, index: Tensor) -> Tensor:
        self.decoded += len(index)
        return self.inner.images(index) * self.scale

    def render_all(self) -> Tensor:
        with torch.inference_mode():
            return self.images(torch.arange(len(self)))


def test_a_container_is_rendered_once() -> None:
    inner = blobs(20, 0)
    container = Decoder(inner)
    arguments = {"net": "convnet3", "width": 2, "config": TrainConfig(steps=4, batch_size=8), "seeds": [0, 1]}
    result = train_and_test(container, blobs(20, 1), **arguments)
    assert container.decoded == 20
    assert result.values == train_and_test(inner, blobs(20, 1), **arguments).values


def test_rendered_pixels_can_be_trained_on() -> None:
    rendered = render(Decoder(blobs(6, 0)))
    assert not rendered.pixels.is_inference() and not rendered.pixels.requires_grad
    assert torch.equal(rendered.images(torch.tensor([4, 1])), blobs(6, 0).pixels[[4, 1]])
    assert rendered.image_shape == (1, 8, 8) and len(rendered) == 6
    assert torch.equal(render(blobs(6, 0)).pixels, blobs(6, 0).pixels)


def test_paper_protocol_is_the_table() -> None:
    table = {
        "cifar10": (0.01, 2000, 2000, 1000),
        "svhn": (0.01, 1500, 1500, 700),
        "cifar100": (0.01, 500, 500, 500),
    }
    for dataset, (lr, *epochs) in table.items():
        for ipc, expected in zip((1, 10, 50), epochs, strict=True):
            config = protocol("paper", dataset, ipc)
            assert (config.lr, config.epochs, config.steps) == (lr, expected, None)
            assert (config.momentum, config.weight_decay, config.min_lr) == (0.9, 2e-4, 1e-4)
    for dataset in ("tiny-imagenet", "imagenet-10"):
        assert (protocol("paper", dataset, 10).lr, protocol("paper", dataset, 10).epochs) == (0.02, 300)
    assert protocol("short", "cifar10", 1).steps == 2000 and protocol("quick", "digits", 3).steps == 600
    assert set(PROTOCOLS) == {"paper", "short", "quick", "dc", "dsa", "idc", "linba"}


@pytest.mark.parametrize(("name", "ipc", "message"), [("fast", 1, "expected one of paper"), ("quick", 0, "ipc=0")])
def test_protocol_mistakes(name: str, ipc: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        protocol(name, "cifar10", ipc)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps=0: expected at least 1"),
        ({"epochs": 0}, "epochs=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"cutmix_probability": 1.5}, "cutmix_probability=1.5"),
        ({"cutmix_alpha": 0.0}, "cutmix_alpha=0.0"),
        ({"lr": math.nan}, "lr=nan"),
        ({"schedule": "linear"}, "schedule='linear'"),
        ({"augment": AugmentConfig(strategy="blur")}, "unknown augmentation 'blur'"),
    ],
)
def test_wrong_settings_are_told(change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        next(train(small_net(), blobs(4, 0), replace(TrainConfig(), **change), generator=seeded()))


def test_evaluate_refuses_what_does_not_fit() -> None:
    common = {"net": "convnet3", "width": 2, "config": TrainConfig(steps=1), "seeds": [0]}
    with pytest.raises(UserError, match="4 classes and the test images 2"):
        train_and_test(blobs(4, 0), blobs(4, 0, classes=2), **common)
    with pytest.raises(UserError, match=r"1x8x8 .* and the test images 1x16x16"):
        train_and_test(blobs(4, 0), blobs(4, 0, side=16), **common)
    with pytest.raises(UserError, match="at least one seed"):
        train_and_test(blobs(4, 0), blobs(4, 0), **{**common, "seeds": []})
    with pytest.raises(UserError, match="no images to train on"):
        train_and_test(blobs(0, 0), blobs(4, 0), **common)
    with pytest.raises(UserError, match="no images to take an accuracy on"):
        accuracy(small_net(), blobs(0, 0))
