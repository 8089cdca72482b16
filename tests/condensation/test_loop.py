"""The loop: schedules, determinism, saved states, every option."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hmn.condensation.loop import condensing, lr_factor, reconstruction_step
from hmn.condensation.objectives import matching
from hmn.condensation.objectives.matching import Match
from hmn.condensation.state import CondenseRecord, CondenseState, choose_targets
from hmn.containers.hmn import Hmn
from hmn.containers.hmn_sizes import HmnShape
from hmn.containers.shape import Budget
from hmn.data.real import RealData
from hmn.data.source import Batch, Normalisation
from hmn.recipes.settings import AugmentConfig, CondenseConfig, NetworkConfig, StartConfig
from hmn.runtime.tensor_files import load_checkpoint, save_checkpoint
from hmn.train.augment import AugmentParams
from tests.train.test_augment import active

NAMES = ("square", "stripe", "dot")
NOISE = StartConfig(kind="noise")
CONFIG = CondenseConfig(
    objective="features",
    epochs=2,
    inner_steps=2,
    real_per_class=6,
    generated_per_class=4,
    lr=0.02,
    start=StartConfig(kind="real", steps=20),
    network=NetworkConfig(width=8, update_batches=1, update_batch_size=8, warm_up_batches=1),
)


def toy(n: int = 30) -> RealData:
    """Three classes of 8x8 grey images with patterns that differ."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(3).repeat(n // 3)
    pixels = torch.randint(0, 60, (n, 1, 8, 8), generator=generator, dtype=torch.uint8)
    pixels[labels == 0, :, 2:6, 2:6] += 180
    pixels[labels == 1, :, ::2] += 180
    pixels[labels == 2, :, 3:5, 3:5] += 180
    return RealData(
        pixels=pixels, labels=labels, class_names=NAMES, normalisation=Normalisation((0.4,), (0.3,)), name="toy"
    )


def new(config: CondenseConfig, real: RealData, seed: int = 0) -> CondenseState:
    shape = HmnShape.plan(Budget(num_classes=3, image_shape=(1, 8, 8), floats=1500))
    generator = torch.Generator().manual_seed(seed)
    container = Hmn(shape, class_names=NAMES, normalisation=real.normalisation, generator=generator)
    return CondenseState(container, real, config, seed=seed)


def finish(state: CondenseState) -> list[CondenseRecord]:
    return list(condensing(state))


def parameters(state: CondenseState) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in state.container.parameters()])


@pytest.mark.parametrize("objective", ["features", "gradient"])
@pytest.mark.parametrize("step_per", ["sweep", "class"])
def test_records_and_learning(objective: str, step_per: str) -> None:
    real = toy()
    config = replace(CONFIG, objective=objective, step_per=step_per)  # type: ignore[arg-type]
    state = new(config, real)
    start = parameters(state)
    records = finish(state)
    assert [(r.phase, r.done, r.total) for r in records] == [
        ("start", 10, 20),
        ("start", 20, 20),
        *[("condense", i, 4) for i in (1, 2, 3, 4)],
    ]
    assert all(r.loss == r.loss for r in records)
    assert not torch.equal(parameters(state), start)


def test_same_seed_same_bits_and_other_seed_other_bits() -> None:
    real = toy()
    states = [new(CONFIG, real, seed) for seed in (0, 0, 1)]
    runs = [finish(state) for state in states]
    assert runs[0] == runs[1] != runs[2]
    assert torch.equal(parameters(states[0]), parameters(states[1]))


@pytest.mark.parametrize("stop_after", range(1, 6))
@pytest.mark.parametrize("objective", ["features", "gradient"])
def test_saved_anywhere_and_restored_ends_with_the_same_bits(tmp_path: Path, stop_after: int, objective: str) -> None:
    real = toy()
    config = replace(CONFIG, objective=objective)  # type: ignore[arg-type]
    whole = new(config, real)
    records = finish(whole)
    broken = new(config, real)
    for count, _ in enumerate(condensing(broken), start=1):
        if count == stop_after:
            break
    save_checkpoint(tmp_path / "c.safetensors", broken.state_dict())
    restored = new(config, real)
    restored.load_state_dict(load_checkpoint(tmp_path / "c.safetensors"))
    assert finish(restored) == records[stop_after:]
    assert torch.equal(parameters(restored), parameters(whole))


def test_siamese_augmentation_is_the_same_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same pixels as real and as generated images leave the loop's augmentation as the same bits."""
    real = toy()
    state = new(CONFIG, real)
    state.objective.begin_network(state)
    seen: list[tuple[Batch, Batch]] = []

    def spy(net: object, real_batch: Batch, generated: Batch, **_: object) -> Match:
        seen.append((real_batch, generated))
        return Match(torch.zeros(()), torch.zeros_like(generated.images))

    monkeypatch.setattr("hmn.condensation.objectives.features.feature_match", spy)
    # Every real image of a class, and a container that shows the same ones.
    by_class, group = real.labels.argsort(stable=True), torch.tensor([2, 0])
    state.config = replace(CONFIG, real_per_class=10, generated_per_class=10)
    state.labels, state.images = real.labels[by_class], range(30)
    monkeypatch.setattr(state.container, "images", lambda index: real.images(by_class[index]).requires_grad_())
    state.objective.match_groups(state, [group])
    real_batch, generated = seen[0]
    for label in (0, 2):
        found, wanted = (
            sorted(image.flatten().tolist() for image in batch.images[batch.labels == label])
            for batch in (real_batch, generated)
        )
        assert found == wanted and len(found) == 10
    plain = real.normalisation.apply(real.images(torch.isin(real.labels, group).nonzero()[:, 0]))
    shown, unchanged = (sorted(image.flatten().tolist() for image in images) for images in (generated.images, plain))
    assert shown != unchanged and len(shown) == len(unchanged)


def test_small_data_fill_every_batch_of_an_update() -> None:
    """Three times eight images out of thirty; and forty of thirty."""
    real = toy()
    for batches, size in ((3, 8), (5, 8)):
        config = replace(CONFIG, network=replace(CONFIG.network, update_batch_size=size))
        state = new(config, real)
        state.objective.begin_network(state)
        assert state.objective.net is not None and state.objective.net_optimizer is not None
        sizes: list[int] = []
        state.objective.net.register_forward_pre_hook(lambda _, args, sizes=sizes: sizes.append(len(args[0])))
        state.objective._train(state, batches)
        assert sizes == [size] * batches


def test_reconstruction_lowers_the_error() -> None:
    real = toy()
    config = replace(CONFIG, start=StartConfig(kind="real", steps=200), epochs=0)
    records = finish(new(config, real))
    assert records[-1].loss < 0.5 * records[0].loss


def test_noise_start_skips_reconstruction() -> None:
    real = toy()
    config = replace(CONFIG, start=StartConfig(kind="noise"))
    assert {r.phase for r in finish(new(config, real))} == {"condense"}


def test_targets_are_of_the_class_and_repeat_only_when_they_must() -> None:
    real = toy()
    labels = torch.tensor([0] * 10 + [1] * 12 + [2] * 3)
    targets = choose_targets(real, labels, torch.Generator().manual_seed(0))
    assert torch.equal(real.labels[targets], labels)
    assert len(set(targets[:10].tolist())) == 10  # all ten members of class 0, once
    assert torch.bincount(targets[10:22], minlength=30).max() == 2
    assert len(set(targets[22:].tolist())) == 3


def test_reconstruction_step_is_the_squared_error() -> None:
    real = toy()
    state = new(CONFIG, real)
    error = reconstruction_step(state.container, real, state.targets, 10**6, state.generator)
    images = state.container.images(torch.arange(len(state.container))).detach().double()
    wanted = ((images - real.images(state.targets).double()) ** 2).mean()
    assert float(error) == pytest.approx(float(wanted), rel=1e-5)


def test_lr_factors() -> None:
    step = replace(CONFIG, epochs=10, inner_steps=3, schedule="step")
    factors = [round(lr_factor(step, sweep), 6) for sweep in range(30)]
    assert factors == [1.0] * 18 + [0.1] * 6 + [0.01] * 6
    cosine = replace(step, schedule="cosine")
    assert [lr_factor(cosine, s) for s in (0, 15, 30)] == pytest.approx([1.0, 0.5, 0.0])


@pytest.mark.parametrize("objective", ["gradient", "features", "distribution"])
def test_one_operation_at_once_is_the_same_for_both_sides(objective: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """DSA: a class's real and generated images have one and the same operation."""
    augment = AugmentConfig(strategy="color_crop_cutout_flip_scale_rotate", at_once="one")
    network = replace(CONFIG.network, update_batches=0, warm_up_batches=0)
    config = replace(CONFIG, objective=objective, distance="cosine", augment=augment, network=network, start=NOISE)
    seen: list[AugmentParams] = []

    def noted(images: torch.Tensor, params: AugmentParams) -> torch.Tensor:
        seen.append(params)
        return loop_apply(images, params)

    loop_apply = matching.apply
    monkeypatch.setattr(matching, "apply", noted)
    real = toy()
    finish(new(config, real))
    assert len(seen) == 2 * config.num_sweeps
    kinds: set[str] = set()
    for real_side, generated in zip(seen[::2], seen[1::2], strict=True):
        rows, others = active(real_side), active(generated)
        assert len(rows) == 3 * config.real_per_class and len(others) == 3 * 4
        for label in range(3):
            # Class by class, as many rows a class on either side.
            mine, theirs = rows[6 * label : 6 * label + 6], others[4 * label : 4 * label + 4]
            assert all(row == mine[0] and len(row) <= 1 for row in [*mine, *theirs])
            kinds |= mine[0]
    assert len(kinds) > 2
