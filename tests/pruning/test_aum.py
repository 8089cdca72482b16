"""AUM against one taken by hand, epoch by epoch; the file that keeps it with what was profiled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hmn.containers.artifact.place import AUM
from hmn.data.source import images_checksum
from hmn.errors import UserError
from hmn.nets import build_net
from hmn.pruning.aum import Profile, load_profile, profile, profiling_config, save_profile, suspects
from hmn.recipes.settings import TrainConfig
from hmn.train.evaluation import Rendered
from hmn.train.loop import EpochRecord, Margin, learning_rate, margins, train
from tests.reference.aum_reference import aum_slow, margin_slow
from tests.train.test_loop import HALF, PLAIN, Recorder, blobs, seeded, small_net

CONFIG = replace(PLAIN, batch_size=4, lr=0.05, weight_decay=0.1)


def profiled(source: Rendered | Recorder, **changes: object) -> Profile:
    settings = {"net": "convnet3", "width": 8, "config": CONFIG, "epochs": 3, "seeds": (0,), **changes}
    return profile(source, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("margin", ["softmax", "logit"])
def test_agrees_with_aum_by_hand_epoch_by_epoch(margin: Margin) -> None:
    data = blobs(10, 3)
    source = Recorder(replace(data, pixels=data.pixels.double()))
    net, by_hand = small_net().double(), small_net().double()
    config = replace(CONFIG, epochs=4)
    records = list(train(net, source, config, generator=seeded(1), margin=margin))
    epochs = [source.asked[start : start + 3] for start in range(0, 12, 3)]
    rates = [learning_rate(config, step, 12) for step in range(12)]
    slow = aum_slow(
        by_hand,
        (data.pixels.double() - 0.5) / 0.25,
        data.labels,
        epochs,
        rates,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        softmax=margin == "softmax",
    )
    for record, expected in zip(records, slow, strict=True):
        assert record.margins is not None and record.margins.dtype == torch.float64
        assert record.margins.tolist() == pytest.approx(expected, abs=1e-5)
    assert len({tuple(epoch) for epoch in slow}) == 4, "the network learns, so every epoch has margins of its own"


@pytest.mark.parametrize("margin", ["softmax", "logit"])
def test_a_profile_is_the_sum_or_the_mean_over_epochs_and_the_mean_over_networks(margin: Margin) -> None:
    data = blobs(10, 3)
    by_seed = []
    for seed in (3, 4):
        generator = seeded(seed)
        net = build_net("convnet3", num_classes=4, image_shape=(1, 8, 8), width=8, generator=generator)
        source = Recorder(data)
        config = replace(CONFIG, epochs=3)
        list(train(net, source, config, generator=generator))
        epochs = [source.asked[start : start + 3] for start in range(0, 9, 3)]
        net = build_net("convnet3", num_classes=4, image_shape=(1, 8, 8), width=8, generator=seeded(seed)).double()
        rates = [learning_rate(config, step, 9) for step in range(9)]
        slow = aum_slow(
            net,
            (data.pixels.double() - 0.5) / 0.25,
            data.labels,
            epochs,
            rates,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            softmax=margin == "softmax",
        )
        by_seed.append(torch.tensor(slow, dtype=torch.float64).sum(0) / (1 if margin == "softmax" else 3))
    found = profiled(data, seeds=(3, 4), margin=margin)
    torch.testing.assert_close(found.aum, torch.stack(by_seed).mean(0), rtol=0, atol=1e-5)
    assert (found.epochs, found.seeds, found.margin, found.labels.tolist()) == (3, (3, 4), margin, data.labels.tolist())


def test_margins_are_those_of_the_definition() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.0, 0.0], [-30.0, 30.0, 0.0], [1.0, 3.0, 2.0]])
    labels = torch.tensor([0, 1, 0, 2])
    for kind in ("softmax", "logit"):
        slow = [
            margin_slow(row, label, softmax=kind == "softmax")
            for row, label in zip(logits.tolist(), labels.tolist(), strict=True)
        ]
        assert margins(logits, labels, kind=kind).tolist() == pytest.approx(slow, abs=1e-6)


def test_seeds_reproduce_a_profile_and_change_it() -> None:
    data, augmented = blobs(30, 1), TrainConfig(batch_size=16)
    first, again, other = (profiled(data, config=augmented, seeds=(seed,)) for seed in (1, 1, 2))
    assert torch.equal(first.aum, again.aum)
    assert not torch.equal(first.aum, other.aum)
    assert first.sha256 == again.sha256 == images_checksum(data)


def test_taking_margins_changes_no_training() -> None:
    config = TrainConfig(epochs=2, batch_size=8)
    nets = []
    for margin in (None, "softmax"):
        net = small_net()
        records = list(train(net, blobs(20, 1), config, generator=seeded(1), margin=margin))
        assert (records[0].margins is None) == (margin is None)
        nets.append(net.state_dict())
    assert all(torch.equal(nets[0][name], nets[1][name]) for name in nets[0])


def test_an_epoch_that_is_cut_short_leaves_gaps_not_zeros() -> None:
    source = Recorder(blobs(10, 1))
    record = next(train(small_net(), source, replace(CONFIG, steps=2), generator=seeded(1), margin="softmax"))
    assert record.margins is not None
    seen = torch.cat(source.asked)
    assert sorted(record.margins.isnan().nonzero()[:, 0].tolist()) == sorted(set(range(10)) - set(seen.tolist()))


def test_profiling_is_without_cutmix_and_cutout() -> None:
    config = profiling_config(TrainConfig())
    assert config.cutmix_probability == 0 and config.augment.strategy == "color_crop"
    assert config.lr == TrainConfig().lr


def test_mislabelled_images_have_the_lowest_aum() -> None:
    data = blobs(60, 5)
    wrong = torch.tensor([4, 17, 33])
    labels = data.labels.clone()
    labels[wrong] = (labels[wrong] + 1) % 4
    found = profiled(replace(data, labels=labels), epochs=20, config=replace(CONFIG, weight_decay=0.0))
    assert set(suspects(found, 3).tolist()) == set(wrong.tolist())
    assert suspects(found, 99).shape == (60,)
    assert -20 <= float(found.aum.min()) < 0 < float(found.aum.max()) <= 20


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seeds": ()}, "at least one seed"),
        ({"epochs": 0}, "epochs=0"),
        ({"margin": "cosine"}, "margin='cosine'"),
        ({"config": replace(CONFIG, lr=1e30)}, "diverged"),
    ],
)
def test_mistakes_are_told(changes: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        profiled(blobs(10, 3), **changes)


def test_one_class_has_no_margin() -> None:
    one = Rendered(torch.rand(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64), ("only",), HALF)
    with pytest.raises(UserError, match="2 classes"):
        profiled(one)


def test_on_epoch_is_told_of_every_epoch() -> None:
    told: list[tuple[int, int]] = []

    def tell(seed: int, record: EpochRecord) -> None:
        told.append((seed, record.epoch))

    profiled(blobs(8, 0), seeds=(0, 5), epochs=2, on_epoch=tell)
    assert told == [(0, 1), (0, 2), (5, 1), (5, 2)]


@pytest.fixture(scope="module")
def small() -> Profile:
    return profiled(blobs(10, 3), epochs=1, name="blobs", sha256="a" * 64)


def test_a_profile_is_read_as_it_was_written(small: Profile, tmp_path: Path) -> None:
    path = save_profile(small, tmp_path)
    assert path == tmp_path / AUM and list(tmp_path.iterdir()) == [path]
    for place in (tmp_path, path):
        read = load_profile(place, sha256="a" * 64)
        assert torch.equal(read.aum, small.aum) and torch.equal(read.labels, small.labels)
        for name in ("margin", "epochs", "net", "width", "seeds", "source", "sha256", "class_names"):
            assert getattr(read, name) == getattr(small, name)
    content = path.read_bytes()
    save_profile(small, tmp_path)
    assert path.read_bytes() == content


def test_the_profile_of_another_container_is_refused(small: Profile, tmp_path: Path) -> None:
    save_profile(small, tmp_path)
    with pytest.raises(UserError, match="AUM of other images .*aaaaaaaaaaaa.*bbbbbbbbbbbb"):
        load_profile(tmp_path, sha256="b" * 64)
    assert len(load_profile(tmp_path, sha256=None)) == 10


def test_an_absent_profile_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"hmn profile {tmp_path}"):
        load_profile(tmp_path, sha256=None)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.97])
def test_a_profile_cut_short_is_refused(small: Profile, tmp_path: Path, share: float) -> None:
    path = save_profile(small, tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match="not a profile, or damaged"):
        load_profile(tmp_path, sha256=None)


def test_no_flipped_byte_goes_unnoticed_or_raises_anything_else(small: Profile, tmp_path: Path) -> None:
    path = save_profile(small, tmp_path)
    content = path.read_bytes()
    for place in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[place] ^= 0x55
        path.write_bytes(bytes(damaged))
        try:
            read = load_profile(tmp_path, sha256=small.sha256)
        except UserError:
            continue
        assert torch.equal(read.aum, small.aum) and torch.equal(read.labels, small.labels), place


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("aum", np.full(10, np.nan)),
        ("aum", np.zeros(9)),
        ("aum", np.zeros(10, np.float32)),
        ("labels", np.full(10, 4)),
        ("labels", np.full(10, -1)),
        ("facts", np.array("[]")),
        ("facts", np.array("{")),
        ("facts", np.array('{"format": "hmn-aum-9"}')),
        ("facts", np.array(None, dtype=object)),
    ],
)
def test_bad_content_is_refused(small: Profile, tmp_path: Path, name: str, value: np.ndarray) -> None:
    path = save_profile(small, tmp_path)
    with np.load(path) as arrays:
        content = dict(arrays)
    np.savez(path, **{**content, name: value})
    with pytest.raises(UserError, match="not a profile, or damaged"):
        load_profile(tmp_path, sha256=None)
