"""Trajectories whose steps are differentiated one by one, against the obvious form in float64; rates, experts."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import hmn.condensation.objectives.direct
from hmn.condensation.objectives.direct import differentiate_directly
from hmn.condensation.objectives.experts import TrajectorySettings
from hmn.condensation.objectives.student import StudentStep, TrainingGradient, Weights
from hmn.condensation.objectives.trajectory import drawn_steps, nearest_factor, trajectory_loss
from hmn.nets import Net, build_net, native
from hmn.recipes.settings import AugmentConfig
from hmn.train.augment import apply, draw
from tests.condensation.objectives.test_unrolled import BASE, data, train_expert

LR = 0.05


def problem(
    shape: tuple[int, int, int], width: int, dtype: torch.dtype
) -> tuple[Net, Tensor, list[StudentStep], Weights]:
    """A network, eleven images, six batches of them, augmented, and weights to reach."""
    nets = [
        build_net("convnet2", num_classes=3, image_shape=shape, width=width, generator=torch.Generator().manual_seed(s))
        for s in (0, 5)
    ]
    generator, steps = torch.Generator().manual_seed(2), []
    for number in range(6):
        index = torch.randperm(11, generator=generator)[: 5 + number % 3]
        params = draw(AugmentConfig(strategy="color_crop_flip"), len(index), shape, generator, one_choice=True)
        steps.append(StudentStep(index, index % 3, lambda x, params=params: apply(x, params)))
    images = torch.randn(11, *shape, generator=generator).to(dtype)
    target = {name: value.detach().to(dtype) for name, value in nets[1].named_parameters()}
    return nets[0].to(dtype), images, steps, target


def weights_of(net: Net) -> Weights:
    return {name: value.detach() for name, value in net.named_parameters()}


def obvious(net: Net, images: Tensor, steps: list[StudentStep], target: Weights) -> tuple[Tensor, Tensor, float]:
    """Loss of the last weights, and its derivatives: one graph, that knows each step's weights as numbers only."""
    start = weights_of(net)
    leaf, lr = images.clone().requires_grad_(), torch.tensor(LR, dtype=images.dtype, requires_grad=True)
    end, numbers = dict(start), dict(start)
    for step in steps:
        weights = {name: value.clone().requires_grad_() for name, value in numbers.items()}
        logits = torch.func.functional_call(net, weights, (step.show(leaf[step.rows]),))
        gradients = torch.autograd.grad(F.cross_entropy(logits, step.labels), list(weights.values()), create_graph=True)
        end = {name: value - lr * g for (name, value), g in zip(end.items(), gradients, strict=True)}
        numbers = {name: value.detach() for name, value in end.items()}
    kernels = [name for name, value in start.items() if value.dim() > 1]
    missed = sum(((end[name] - target[name]) ** 2).sum() for name in kernels)
    loss = missed / sum(((start[name] - target[name]) ** 2).sum() for name in kernels)
    by_images, by_lr = torch.autograd.grad(loss, [leaf, lr])
    return loss.detach(), by_images, float(by_lr)


def test_derivatives_are_those_of_the_obvious_form() -> None:
    net, images, steps, target = problem((1, 8, 8), 4, torch.float64)
    wanted, by_images, by_lr = obvious(net, images, steps, target)
    start = weights_of(net)
    before = copy.deepcopy(net.state_dict())
    found = differentiate_directly(
        net, images, steps, start, lr=LR, loss_after=lambda weights: trajectory_loss(weights, start, target)
    )
    assert float(found.loss) == pytest.approx(float(wanted), rel=1e-10)
    assert float((found.image_grad - by_images).norm() / by_images.norm()) < 1e-9
    assert float(found.lr_grad) == pytest.approx(by_lr, rel=1e-9)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(value.requires_grad for value in found.end.values())


@pytest.mark.skipif(native.problem() is not None, reason="hmn's own passes cannot be built here")
def test_own_passes_find_the_same_and_keep_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    net, images, steps, target = problem((3, 16, 16), 16, torch.float32)
    in_double = problem((3, 16, 16), 16, torch.float64)
    wanted, by_images, by_lr = obvious(*in_double)
    start = weights_of(net)
    found = []
    for kept_bytes in (2**30, 2**20, 0):
        monkeypatch.setattr(hmn.condensation.objectives.direct, "KEPT_BYTES", kept_bytes)
        found.append(
            differentiate_directly(
                net, images, steps, start, lr=LR, loss_after=lambda weights: trajectory_loss(weights, start, target)
            )
        )
    assert hmn.condensation.objectives.direct.prepared(net, images) is not None
    assert float(found[0].loss) == pytest.approx(float(wanted), rel=1e-5)
    assert float((found[0].image_grad - by_images).norm() / by_images.norm()) < 1e-4
    assert float(found[0].lr_grad) == pytest.approx(by_lr, rel=1e-3)
    assert all(torch.equal(one.image_grad, found[0].image_grad) for one in found)


def test_drawn_steps_stand_for_their_neighbours() -> None:
    """Over all draws, the derivative of some steps is on average that of all; the student's way is the same."""
    net, images, steps, target = problem((3, 8, 8), 4, torch.float64)
    start = weights_of(net)

    def found(chosen: dict[int, float] | None) -> TrainingGradient:
        return differentiate_directly(
            net,
            images,
            steps,
            start,
            lr=LR,
            chosen=chosen,
            loss_after=lambda weights: trajectory_loss(weights, start, {name: target[name] for name in weights}),
        )

    whole = found(None)
    every = [found({number: 1.0}) for number in range(len(steps))]
    assert torch.allclose(sum(one.image_grad for one in every), whole.image_grad, rtol=1e-12, atol=1e-15)
    assert all(torch.equal(one.lr_grad, whole.lr_grad) for one in every)
    assert torch.allclose(found({2: 3.0}).image_grad, 3 * every[2].image_grad, rtol=1e-12, atol=1e-15)
    generator = torch.Generator().manual_seed(0)
    drawn = [drawn_steps(7, 3, generator) for _ in range(300)]
    assert all(one is not None and sum(one.values()) == 7 and sorted(one) == list(one) for one in drawn)
    assert {number for one in drawn if one for number in one} == {*range(7)}
    assert all(one and [number // 3 for number in one] == [0, 1, 2] and one[6] == 1.0 for one in drawn)
    assert drawn_steps(7, 1, generator) is None


def test_the_nearest_rate_is_the_best_of_all() -> None:
    generator = torch.Generator().manual_seed(0)
    start, target, gradient = (
        {name: torch.randn(4, 3, generator=generator, dtype=torch.float64) for name in "ab"} for _ in range(3)
    )

    def missed(lr: float) -> float:
        return sum(float(((start[name] - lr * gradient[name] - target[name]) ** 2).sum()) for name in "ab")

    end = {name: start[name] - 0.3 * gradient[name] for name in "ab"}
    best = 0.3 * nearest_factor(end, start, target)
    tried = [best + 1e-3 * step for step in range(-5, 6)]
    assert min(tried, key=missed) == best


def test_an_experts_epoch_may_be_some_steps() -> None:
    """One step of all images is plain SGD by hand; more than an epoch's steps go through the data again."""
    plain = replace(BASE, augment=AugmentConfig(strategy="none"))
    own = TrajectorySettings(
        expert_batch=60, expert_lr=0.05, expert_steps=1, expert_epochs=1, max_start_epoch=3, experts=1
    )
    expert = train_expert(data(), plain, own, seed=7)
    assert len(expert) == 4
    net = build_net("convnet2", num_classes=3, image_shape=(1, 8, 8), width=4, generator=torch.Generator())
    images = data().normalisation.apply(data().images(torch.arange(60)))
    for start, after in pairwise(expert):
        net.load_state_dict(start)
        net.zero_grad()
        F.cross_entropy(net(images), data().labels).backward()
        for name, value in net.named_parameters():
            assert value.grad is not None
            assert torch.allclose(after[name], start[name] - 0.05 * value.grad, atol=1e-6), name
    twice = train_expert(data(), plain, replace(own, expert_steps=2, max_start_epoch=1), seed=7)
    assert all(torch.allclose(twice[1][name], expert[2][name], atol=1e-6) for name in expert[2])
