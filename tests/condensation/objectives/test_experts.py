"""Networks that stray: where training on generated images leads, and students that start there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from hmn.condensation.check import check_recipe
from hmn.condensation.cost.price import price
from hmn.condensation.loop import condensing
from hmn.condensation.objectives.experts import (
    ExpertEpoch,
    TrajectorySettings,
    _weights_of,
    expert_training,
    images_seen,
    is_due,
    new_expert,
    stray,
    trained_on,
)
from hmn.condensation.objectives.student import new_student
from hmn.condensation.run import condense_run, new_state
from hmn.condensation.state import CondenseRecord, CondenseState
from hmn.errors import Interruption, UserError
from hmn.recipes.settings import (
    AugmentConfig,
    CondenseConfig,
    NetworkConfig,
    Recipe,
    StartConfig,
)
from hmn.train.evaluation import render
from tests.condensation.cost.flop_clock import FlopClock
from tests.condensation.objectives.test_unrolled import train_expert
from tests.condensation.test_objectives import SPLITS, contents, shape_of, stop_at

OWN = TrajectorySettings(
    derivative="direct",
    student_steps=4,
    student_batch=6,
    student_lr=0.05,
    student_lr_rule="nearest",
    student_lr_lr=0.5,
    experts=1,
    expert_steps=2,
    expert_epochs=2,
    max_start_epoch=2,
    expert_lr=0.1,
    expert_batch=12,
    strayed=2,
    strayed_every=3,
    strayed_share=1.0,
    strayed_steps=5,
)
RECIPE = Recipe(
    name="tiny",
    cost="nothing",
    ipc=3,
    container="frequency",
    sizes={"coefficients": 16},
    condense=CondenseConfig(
        objective="trajectory",
        epochs=11,
        inner_steps=1,
        lr=0.02,
        schedule="constant",
        augment=AugmentConfig(strategy="none"),
        start=StartConfig(kind="real"),
        network=NetworkConfig(name="convnet2", width=8),
    ),
    settings=vars(OWN),
)


def new() -> CondenseState:
    return new_state(SPLITS, shape_of(RECIPE), RECIPE)


def test_a_step_on_generated_images_and_epochs_on_real_ones() -> None:
    state, real, config = new(), SPLITS.train, RECIPE.condense
    own = replace(OWN, strayed_steps=1, student_batch=1000)
    way = stray(state.container, real, config, own, lr=0.05, seed=4)
    begun = new_expert(real, config, seed=4).weights
    source = render(state.container)
    net = new_student(real, config, seed=9).double()
    net.load_state_dict({name: value.double() for name, value in begun.items()}, strict=False)
    pictures = source.normalisation.apply(source.images(torch.arange(len(source)))).double()
    F.cross_entropy(net(pictures), source.labels).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None
        expected = (parameter - 0.05 * parameter.grad).detach()
        assert torch.allclose(way.start[name].double(), expected, atol=1e-6), name
    # The way on is an expert's, whose batches this seed draws: from equal random numbers, equal weights.
    kernels = [name for name in begun if begun[name].dim() > 1]  # a bias before a norm moves by rounding alone
    assert all(float((way.target[name] - way.start[name]).norm()) > 0 for name in kernels)
    far = stray(state.container, real, config, replace(own, expert_epochs=1), lr=0.05, seed=4)
    assert all(torch.equal(far.start[name], way.start[name]) for name in begun)
    generator = torch.Generator().manual_seed(0).get_state()
    begun_again, net = ExpertEpoch(far.start, generator, 0.0), new_student(real, config, seed=0)
    again = trained_on(net, real, expert_training(config, own), begun_again, torch.device("cpu"))
    steps = sum(float((again.weights[name] - far.start[name]).norm()) for name in begun)
    taken = sum(float((far.target[name] - far.start[name]).norm()) for name in begun)
    assert taken == pytest.approx(steps, rel=0.5)  # two steps of an expert, other batches


def test_targets_are_means_of_the_last_weights_on_the_way() -> None:
    own = replace(OWN, expert_epochs=3, max_start_epoch=3, averaged=2, strayed=1, strayed_steps=1)
    state, real, config = new(), SPLITS.train, RECIPE.condense
    objective = state.objective
    objective.settings = own
    expert = train_expert(real, config, own, seed=1)
    objective.experts = [expert]
    ways = [objective.drawn_way(state.generator) for _ in range(20)]
    firsts = [next(epoch for epoch in range(3) if start is expert[epoch]) for start, _, _ in ways]
    assert set(firsts) == {0, 1, 2}
    for first, (_, target, _) in zip(firsts, ways, strict=True):
        for name, value in target.items():
            assert torch.allclose(value, (expert[first + 2][name] + expert[first + 3][name]) / 2, atol=1e-7)
    # A strayed network's: its ways of one, two and three epochs are one way, from which the mean is taken.
    container = state.container
    one, two, three = (
        stray(container, real, config, replace(own, expert_epochs=epochs, averaged=1), lr=0.05, seed=2).target
        for epochs in (1, 2, 3)
    )
    for averaged, parts in ((2, [two, three]), (3, [one, two, three])):
        mean = stray(container, real, config, replace(own, averaged=averaged), lr=0.05, seed=2).target
        for name, value in mean.items():
            expected = torch.stack([part[name].double() for part in parts]).mean(0)
            assert torch.allclose(value.double(), expected, atol=1e-6), name
    objective.strayed = [stray(container, real, config, own, lr=0.05, seed=2)]
    assert objective.drawn_way(state.generator)[1] is objective.strayed[0].target


def test_no_mean_over_more_than_the_way() -> None:
    recipe = replace(RECIPE, settings={**vars(OWN), "averaged": 3})
    with pytest.raises(UserError, match=r"trajectory.averaged 3: .*at most trajectory.expert_epochs, 2"):
        check_recipe(recipe, image_shape=SPLITS.train.image_shape, num_classes=SPLITS.train.num_classes)


def test_the_number_of_steps_is_drawn() -> None:
    state, real, config = new(), SPLITS.train, RECIPE.condense
    own = replace(OWN, strayed_steps=3, expert_epochs=1)
    lengths = set()
    for seed in range(12):
        way = stray(state.container, real, config, own, lr=0.01, seed=seed)
        begun = new_expert(real, config, seed=seed).weights
        lengths.add(round(sum(float((way.start[name] - begun[name]).norm()) for name in begun), 4))
        same = stray(state.container, real, config, own, lr=0.01, seed=seed)
        assert all(torch.equal(way.target[name], same.target[name]) for name in begun)
    assert len(lengths) == 12 and max(lengths) > 1.5 * min(lengths)


def test_the_oldest_makes_way_and_the_rate_is_learned_on_experts_ways_alone() -> None:
    state, real = new(), SPLITS.train
    objective = state.objective
    objective.experts = [train_expert(real, RECIPE.condense, OWN, seed=1)]
    counts, rates, newest = [], [], []
    for _ in condensing(state):
        counts.append(len(objective.strayed))
        rates.append(objective.student_lr.item())
        newest.append(objective.strayed[-1] if objective.strayed else None)
    assert counts == [0] * 3 + [1] * 3 + [2] * 5
    assert len(set(rates[:3])) == 3 and len(set(rates[2:])) == 1  # every student starts at one, as soon as there is one
    assert newest[3] is newest[5] and newest[5] is not newest[6]
    assert objective.strayed[-1] is newest[10] and all(way is not newest[3] for way in objective.strayed)
    assert [done for done in range(10) if is_due(OWN, done)] == [3, 6, 9]
    assert not any(is_due(replace(OWN, strayed=0), done) for done in range(10))


@pytest.mark.parametrize("learned_as", ["float32", "int4"])
def test_broken_off_and_resumed_ends_with_the_same_bytes(learned_as: Any, tmp_path: Path) -> None:
    own = replace(OWN, strayed_share=0.5)
    recipe = replace(RECIPE, settings=vars(own), condense=replace(RECIPE.condense, learned_as=learned_as))

    def run(out: Path, watch: Callable[[CondenseRecord], None] = lambda _: None, *, resume: bool = False) -> None:
        condense_run(
            SPLITS,
            shape_of(recipe),
            recipe,
            out,
            on_progress=watch,
            resume=resume,
            force=False,
            checkpoint_seconds=1e9,
        )

    run(tmp_path / "whole")
    for number, place in enumerate((2, 3, 4, 8)):
        with pytest.raises(Interruption):
            run(tmp_path / "broken", stop_at("condense", place), resume=number > 0)
    run(tmp_path / "broken", resume=True)
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")


def test_what_they_cost() -> None:
    own = replace(OWN, student_batch=9, strayed_steps=1)
    recipe = replace(RECIPE, settings=vars(own))
    with FlopClock() as clock:
        found = price(SPLITS, shape_of(recipe), recipe, clock=lambda: 1e-9 * clock.total, budget_seconds=1e-9).estimate
        state = new_state(SPLITS, shape_of(recipe), recipe)
        state.objective.experts = [train_expert(SPLITS.train, recipe.condense, own, seed=1)]
        clock.total = 0
        for _ in condensing(state):
            pass
    assert found.seconds_per_sweep * recipe.condense.num_sweeps == pytest.approx(1e-9 * clock.total, rel=0.03)
    assert images_seen(replace(OWN, strayed_steps=5), 4, 7) == 3 * 4 + 2 * 7


def test_copies_are_of_the_weights_as_they_are() -> None:
    net = new_student(SPLITS.train, RECIPE.condense, seed=0)
    kept = _weights_of(net)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    assert all(name in kept for name, _ in net.named_parameters()) and any(value.any() for value in kept.values())
