"""Derivatives through a training against the whole graph in float64; the two loops that use them, on tiny data."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from hmn.condensation.loop import condensing
from hmn.condensation.objectives.experts import TrajectorySettings, expert_training, new_expert, trained_on
from hmn.condensation.objectives.student import StudentStep, Weights, differentiate_training, new_student
from hmn.condensation.objectives.trajectory import trajectory_loss
from hmn.condensation.objectives.unrolled import UnrolledSettings
from hmn.condensation.state import CondenseState
from hmn.containers.container import Container, container_class
from hmn.containers.shape import Budget
from hmn.data.real import RealData
from hmn.data.source import Normalisation
from hmn.errors import UserError
from hmn.nets import Net, build_net
from hmn.recipes.kinds import CONTAINERS
from hmn.recipes.settings import (
    AugmentConfig,
    CondenseConfig,
    NetworkConfig,
    StartConfig,
)
from hmn.train.augment import apply, draw

SIZE = (1, 8, 8)
NAMES = ("dark", "grey", "light")
NORM = Normalisation((0.4,), (0.3,))


def network(seed: int = 0, dtype: torch.dtype = torch.float64) -> Net:
    generator = torch.Generator().manual_seed(seed)
    return build_net("convnet2", num_classes=3, image_shape=SIZE, width=4, generator=generator).to(dtype)


def data() -> RealData:
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(60) % 3
    pixels = (60 * labels.view(-1, 1, 1, 1) + torch.randint(0, 100, (60, *SIZE), generator=generator)).byte()
    return RealData(pixels, labels, NAMES, NORM, "shades")


def student_steps(count: int, generator: torch.Generator) -> list[StudentStep]:
    """Batches of different sizes, images seen again, the augmentation of the product."""
    steps = []
    for number in range(count):
        index = torch.randperm(9, generator=generator)[: 4 + number % 3]
        params = draw(AugmentConfig(strategy="color_crop_flip"), len(index), SIZE, generator, one_choice=True)
        steps.append(StudentStep(index, index % 3, lambda x, params=params: apply(x, params)))
    return steps


def whole_graph(
    net: Net, images: Tensor, steps: list[StudentStep], *, lr: Tensor, momentum: float, target: Weights
) -> Tensor:
    """All steps in one graph, kernel by kernel."""
    start = {name: value.detach() for name, value in net.named_parameters()}
    weights = {name: value.clone().requires_grad_() for name, value in start.items()}
    velocity = {name: torch.zeros_like(value) for name, value in start.items()}
    for step in steps:
        logits = torch.func.functional_call(net, weights, (step.show(images[step.rows]),))
        loss = F.cross_entropy(logits, step.labels)
        for name, g in zip(weights, torch.autograd.grad(loss, list(weights.values()), create_graph=True), strict=True):
            velocity[name] = momentum * velocity[name] + g
        weights = {name: value - lr * velocity[name] for name, value in weights.items()}
    missed = sum(((weights[name] - target[name]) ** 2).sum() for name in target)
    way = sum(((start[name] - target[name]) ** 2).sum() for name in target)
    return missed / way


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_derivatives_are_those_of_the_whole_graph(momentum: float) -> None:
    net, generator = network(), torch.Generator().manual_seed(2)
    target = {name: value.detach() for name, value in network(5).named_parameters()}
    images = torch.randn(9, *SIZE, dtype=torch.float64, generator=generator)
    steps = student_steps(6, generator)
    leaf, lr = images.clone().requires_grad_(), torch.tensor(0.05, dtype=torch.float64, requires_grad=True)
    wanted = whole_graph(net, leaf, steps, lr=lr, momentum=momentum, target=target)
    by_images, by_lr = torch.autograd.grad(wanted, [leaf, lr])
    start = dict(net.named_parameters())
    before = copy.deepcopy(net.state_dict())
    found = differentiate_training(
        net,
        images,
        steps,
        start,
        lr=0.05,
        momentum=momentum,
        loss_after=lambda weights: trajectory_loss(weights, start, target).double(),
    )
    assert float(found.loss) == pytest.approx(float(wanted.detach()), rel=1e-10)
    assert float((found.image_grad - by_images).norm() / by_images.norm()) < 1e-9
    assert float(found.lr_grad) == pytest.approx(float(by_lr), rel=1e-9)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(value.requires_grad for value in found.end.values())


def container_of(kind: str) -> Container:
    shape = container_class(kind).shape_class.plan(Budget.of_images(10, 3, SIZE))
    return container_class(kind)(shape, class_names=NAMES, normalisation=NORM)


BASE = CondenseConfig(
    epochs=1,
    inner_steps=6,
    real_per_class=8,
    lr=0.02,
    augment=AugmentConfig(strategy="crop_flip"),
    start=StartConfig(kind="noise"),
    network=NetworkConfig(name="convnet2", width=4),
)
UNROLLED = UnrolledSettings(student_steps=5, student_per_class=4, student_lr=0.05)
TRAJECTORY = TrajectorySettings(
    student_steps=4,
    student_batch=16,
    student_lr=0.05,
    student_lr_lr=1e-4,
    expert_epochs=2,
    max_start_epoch=2,
    experts=2,
    expert_batch=16,
    expert_lr=0.05,
)
DIRECT = replace(TRAJECTORY, derivative="direct", student_lr_rule="nearest", student_lr_lr=0.5)


def fresh(kind: str, settings: UnrolledSettings | TrajectorySettings, config: CondenseConfig = BASE) -> CondenseState:
    """A state of the objective whose settings are given."""
    objective = "unrolled" if isinstance(settings, UnrolledSettings) else "trajectory"
    state = CondenseState(container_of(kind), data(), replace(config, objective=objective), seed=3, settings=settings)
    if objective == "trajectory":
        state.objective.experts = experts()
    return state


@pytest.mark.parametrize("kind", CONTAINERS.names())
def test_unrolled_training_lowers_its_loss_for_every_container(kind: str) -> None:
    """From the same noise, the first three losses against the last three of twenty-four."""
    config = replace(BASE, inner_steps=24, augment=AugmentConfig(strategy="none"))
    records = list(condensing(fresh(kind, replace(UNROLLED, student_lr=0.1), config)))
    assert [(r.phase, r.done, r.total) for r in records] == [("condense", n, 24) for n in range(1, 25)]
    losses = [r.loss for r in records]
    assert sum(losses[-3:]) < sum(losses[:3]), losses


def test_unrolled_training_goes_on_to_the_same_bits() -> None:
    config = replace(BASE, start=StartConfig(kind="real", steps=4, batch=8))
    unbroken = fresh("linear", UNROLLED, config)
    records = list(condensing(unbroken))
    assert records[0].phase == "start" and records[-1].done == 6
    broken = fresh("linear", UNROLLED, config)
    for record in condensing(broken):
        if record.phase == "condense" and record.done == 3:
            break
    resumed = fresh("linear", UNROLLED, config)
    resumed.load_state_dict(copy.deepcopy(broken.state_dict()))
    rest = list(condensing(resumed))
    assert [r.loss for r in rest] == [r.loss for r in records[-3:]]
    assert torch.equal(resumed.container.render_all(), unbroken.container.render_all())


def train_expert(real: RealData, config: CondenseConfig, own: TrajectorySettings, *, seed: int) -> list[Weights]:
    """One network trained on real data by plain SGD, epoch by epoch."""
    epochs, training = [new_expert(real, config, seed=seed)], expert_training(config, own)
    for _ in range(own.expert_length):
        net = new_student(real, config, seed=0)
        epochs.append(trained_on(net, real, training, epochs[-1], torch.device("cpu")))
    return [one.weights for one in epochs]


def experts(count: int = 2) -> list[list[Weights]]:
    return [train_expert(data(), BASE, TRAJECTORY, seed=seed) for seed in range(count)]


def test_experts_are_networks_on_their_way() -> None:
    expert = train_expert(data(), BASE, TRAJECTORY, seed=0)
    assert len(expert) == 4  # as far as a student that starts after epoch 1 has to go
    again = train_expert(data(), BASE, TRAJECTORY, seed=0)
    assert all(torch.equal(a[name], b[name]) for a, b in zip(expert, again, strict=True) for name in a)
    images = NORM.apply(data().images(torch.arange(60)))
    losses = [
        float(F.cross_entropy(torch.func.functional_call(network(0, torch.float32), weights, (images,)), data().labels))
        for weights in expert
    ]
    assert losses[-1] < losses[0]
    # Plain SGD: one epoch of one batch, by hand.
    one = replace(TRAJECTORY, max_start_epoch=1, expert_epochs=1, expert_batch=60)
    plain = replace(BASE, augment=AugmentConfig(strategy="none"))
    start, after = train_expert(data(), plain, one, seed=7)
    net = network(0, torch.float32)
    net.load_state_dict(start)
    F.cross_entropy(net(images), data().labels).backward()
    for name, value in net.named_parameters():
        assert value.grad is not None
        assert torch.allclose(after[name], start[name] - 0.05 * value.grad, atol=1e-6), name


@pytest.mark.parametrize(
    ("kind", "own", "least"),
    [
        *((kind, TRAJECTORY, 1e-6) for kind in ("pixels", "factorized", "hmn")),
        *((kind, DIRECT, 5e-5) for kind in ("pixels", "frequency", "hmn")),
    ],
)
def test_trajectory_matching_learns_images_and_learning_rate(kind: str, own: TrajectorySettings, least: float) -> None:
    config = replace(BASE, inner_steps=20, augment=AugmentConfig(strategy="none"))
    own = replace(own, max_start_epoch=1)
    state = fresh(kind, own, config)
    state.objective.experts = [train_expert(data(), config, own, seed=0)]  # one way, one start: losses can be compared
    losses = [r.loss for r in condensing(state)]
    assert sum(losses[-3:]) < 0.95 * sum(losses[:3]), losses
    assert float(state.objective.student_lr.detach()) != pytest.approx(0.05, abs=least)


@pytest.mark.parametrize(("kind", "own"), [("pixels", TRAJECTORY), ("frequency", DIRECT)])
def test_trajectory_matching_goes_on_to_the_same_bits(kind: str, own: TrajectorySettings) -> None:
    unbroken = fresh(kind, own)
    records = list(condensing(unbroken))
    broken = fresh(kind, own)
    for record in condensing(broken):
        if record.done == 2:
            break
    resumed = fresh(kind, own)
    resumed.load_state_dict(copy.deepcopy(broken.state_dict()))
    rest = list(condensing(resumed))
    assert [r.loss for r in rest] == [r.loss for r in records[2:]]
    assert torch.equal(resumed.objective.student_lr, unbroken.objective.student_lr)
    assert torch.equal(resumed.container.render_all(), unbroken.container.render_all())


def test_mistakes_are_told() -> None:
    state = fresh("pixels", TRAJECTORY)
    state.objective.experts = []
    with pytest.raises(UserError, match="at least one expert"):
        next(condensing(state))
    far = fresh("pixels", replace(TRAJECTORY, max_start_epoch=4))
    with pytest.raises(UserError, match="an expert of 3 epochs is too short .* train each for 5"):
        next(condensing(far))
