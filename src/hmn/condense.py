"""The condensation loop: a generator over a state that can be saved between any two of its steps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hmn.augment import apply, cutmix, draw, without_cutout
from hmn.containers.base import Container
from hmn.data.real import RealData
from hmn.data.source import Batch
from hmn.nets import Net, build_net
from hmn.objectives import Match, feature_match, gradient_match
from hmn.settings import CondenseConfig, NetworkConfig
from hmn.start import choose_targets, reconstruction_step

START_STRIDE = 10
"""Reconstruction steps between two records."""
CLASSES_TOGETHER_VALUES = 2**23
"""Classes are matched in groups whose images hold at most about this many values: bounds memory at 224 pixels."""


class CondenseRecord(NamedTuple):
    """What one record of the loop says: the phase, steps done of all its steps, and the loss."""

    phase: str
    done: int
    total: int
    loss: float


class CondenseState:
    """Everything that the rest of a run depends on; saved and restored, the run goes on to the same bits."""

    def __init__(self, container: Container, real: RealData, config: CondenseConfig, *, seed: int) -> None:
        self.container = container
        self.generator = torch.Generator().manual_seed(seed)
        self.targets = choose_targets(real, container.labels.cpu(), self.generator)
        self.members = [(real.labels == label).nonzero()[:, 0] for label in range(len(real.class_names))]
        self.start_steps_done = 0
        self.sweeps_done = 0
        self.optimizer = self._new_optimizer(config.start.lr, (0.9, 0.99))
        self.net: Net | None = None
        self.net_optimizer: torch.optim.SGD | None = None

    def _new_optimizer(self, lr: float, betas: tuple[float, float]) -> torch.optim.Adam:
        return torch.optim.Adam(self.container.parameters(), lr=lr, betas=betas)

    def begin_matching(self, config: CondenseConfig) -> None:
        """A fresh optimizer for the matching phase: the reconstruction's moments are of another loss."""
        self.optimizer = self._new_optimizer(config.lr, (config.beta1, config.beta2))

    def begin_network(self, config: NetworkConfig, real: RealData) -> None:
        """A new network with its optimizer."""
        net = build_net(
            config.name, num_classes=len(real.class_names), image_shape=real.image_shape,
            width=config.width, generator=self.generator,
        )  # fmt: skip
        self._adopt(net, config)

    def _adopt(self, net: Net, config: NetworkConfig) -> None:
        self.net = net.to(self.container.labels.device)
        self.net_optimizer = torch.optim.SGD(
            self.net.parameters(), lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
        )

    def state_dict(self) -> dict[str, Any]:
        """Nested dictionaries of tensors and numbers."""
        return {
            "container": self.container.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "net": None if self.net is None else self.net.state_dict(),
            "net_optimizer": None if self.net_optimizer is None else self.net_optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "start_steps_done": self.start_steps_done,
            "sweeps_done": self.sweeps_done,
        }

    def load_state_dict(self, saved: dict[str, Any], config: CondenseConfig, real: RealData) -> None:
        """Restore what `state_dict` gave, into a state that was built from the same data, config and seed."""
        self.container.load_state_dict(saved["container"])
        self.start_steps_done, self.sweeps_done = saved["start_steps_done"], saved["sweeps_done"]
        if self.sweeps_done:
            self.begin_matching(config)
        self.optimizer.load_state_dict(saved["optimizer"])
        if saved["net"] is not None:
            self.begin_network(config.network, real)
            assert self.net is not None and self.net_optimizer is not None
            self.net.load_state_dict(saved["net"])
            self.net_optimizer.load_state_dict(saved["net_optimizer"])
        self.generator.set_state(saved["generator"])


def condense(state: CondenseState, real: RealData, config: CondenseConfig) -> Iterator[CondenseRecord]:
    """Condense `real` into `state.container`, yielding a record after every sweep.

    It owns no files: the caller prints, saves `state.state_dict()`, or stops between two records. Started with a
    restored state it goes on where that was saved.
    Source: supplement C.2 of arXiv:2310.07506; the loop of IDC (arXiv:2205.14959).
    """
    yield from _reconstruct(state, real, config)
    while state.sweeps_done < config.num_sweeps:
        if state.sweeps_done == 0:
            state.begin_matching(config)
        if state.sweeps_done % config.inner_steps == 0:
            state.begin_network(config.network, real)
            _update_network(state, real, config, batches=config.network.warm_up_batches)
        for group in state.optimizer.param_groups:
            group["lr"] = config.lr * lr_factor(config, state.sweeps_done)
        loss = _sweep(state, real, config)
        _update_network(state, real, config, batches=config.network.update_batches)
        state.sweeps_done += 1
        yield CondenseRecord("condense", state.sweeps_done, config.num_sweeps, float(loss))


def lr_factor(config: CondenseConfig, sweeps_done: int) -> float:
    """Learning rate over its start: times 0.1 at 60 and at 80 % of the epochs, or a cosine to zero."""
    if config.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * sweeps_done / config.num_sweeps))
    epoch = sweeps_done // config.inner_steps
    return 0.1 ** sum(epoch >= share * config.epochs for share in (0.6, 0.8))


def _reconstruct(state: CondenseState, real: RealData, config: CondenseConfig) -> Iterator[CondenseRecord]:
    start = config.start
    steps = start.steps if start.kind == "real" else 0
    while state.start_steps_done < steps:
        for group in state.optimizer.param_groups:
            group["lr"] = start.lr * 0.5 * (1 + math.cos(math.pi * state.start_steps_done / steps))
        state.optimizer.zero_grad()
        error = reconstruction_step(state.container, real, state.targets, start.batch, state.generator)
        state.optimizer.step()
        state.start_steps_done += 1
        if state.start_steps_done % START_STRIDE == 0 or state.start_steps_done == steps:
            yield CondenseRecord("start", state.start_steps_done, steps, float(error))


def _sweep(state: CondenseState, real: RealData, config: CondenseConfig) -> Tensor:
    """Match every class once and step the container; the loss summed over classes."""
    together = max(1, CLASSES_TOGETHER_VALUES // _values_per_class(state, real, config))
    groups = torch.arange(len(state.members)).split(1 if config.step_per == "class" else together)
    total = torch.zeros((), device=state.container.labels.device)
    if config.step_per == "class":
        for group in groups:
            total = total + _match_groups(state, real, config, [group])
            state.optimizer.step()
    else:
        total = _match_groups(state, real, config, list(groups))
        state.optimizer.step()
    return total


def _values_per_class(state: CondenseState, real: RealData, config: CondenseConfig) -> int:
    generated = min(config.generated_per_class, len(state.container) // len(state.members))
    return (config.real_per_class + generated) * math.prod(real.image_shape)


def _match_groups(state: CondenseState, real: RealData, config: CondenseConfig, groups: list[Tensor]) -> Tensor:
    """Gradients of the objective over groups of classes, backpropagated into the container."""
    container, device = state.container, state.container.labels.device
    # All classes are rendered together even where few of them are matched: BatchNorm sees the images of all.
    index = _choose_generated(state, config)
    rendered = container.images(index.to(device))
    image_grad = torch.zeros_like(rendered)
    labels = container.labels[index.to(device)]
    total = torch.zeros((), device=device)
    for group in groups:
        rows = torch.isin(labels, group.to(device)).nonzero()[:, 0]
        images = rendered.detach()[rows].requires_grad_()
        match, augmented = _match(state, real, config, group, images, labels[rows])
        image_grad[rows] = torch.autograd.grad(augmented, images, match.image_grad)[0]
        total = total + match.loss
    state.optimizer.zero_grad()
    rendered.backward(image_grad)
    return total


def _match(
    state: CondenseState,
    real: RealData,
    config: CondenseConfig,
    group: Tensor,
    images: Tensor,
    labels: Tensor,
) -> tuple[Match, Tensor]:
    """One objective on the classes of `group`, the same draw of the augmentation for both sides of a class."""
    assert state.net is not None
    device = labels.device
    chosen = torch.cat([_some(state.members[c], config.real_per_class, state.generator) for c in group.tolist()])
    real_labels = real.labels[chosen].to(device)
    params = draw(config.augment, len(group), real.image_shape, state.generator)
    row_of_class = torch.zeros(len(state.members), dtype=torch.int64)
    row_of_class[group] = torch.arange(len(group))
    real_images = real.normalisation.apply(real.images(chosen).to(device))
    real_images = apply(real_images, params.expand(row_of_class[real_labels.cpu()]))
    augmented = apply(real.normalisation.apply(images), params.expand(row_of_class[labels.cpu()]))
    real_batch, generated = Batch(real_images, real_labels), Batch(augmented.detach(), labels)
    if config.objective == "gradient":
        match = gradient_match(state.net, real_batch, generated, distance=config.distance)
    else:
        match = feature_match(state.net, real_batch, generated, cross_entropy_weight=config.cross_entropy_weight)
    return match, augmented


def _some(members: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Up to `count` of the members, at random and without repetition."""
    return members[torch.randperm(len(members), generator=generator)[:count]]


def _choose_generated(state: CondenseState, config: CondenseConfig) -> Tensor:
    """Indices of the generated images of this sweep, class by class."""
    labels = state.container.labels.cpu()
    starts = torch.searchsorted(labels, torch.arange(len(state.members) + 1))
    return torch.cat([
        _some(torch.arange(int(a), int(b)), config.generated_per_class, state.generator)
        for a, b in zip(starts, starts[1:], strict=False)
    ])  # fmt: skip


def _update_network(state: CondenseState, real: RealData, config: CondenseConfig, *, batches: int) -> None:
    """Train the matching network on `batches` batches of real data, augmented image by image, with CutMix.

    Source: IDC (arXiv:2205.14959), whose code trains between sweeps on real data, without cutout where it mixes.
    """
    if batches == 0:
        return
    net, optimizer, settings = state.net, state.net_optimizer, config.network
    assert net is not None and optimizer is not None
    device = state.container.labels.device
    augment = without_cutout(config.augment) if settings.cutmix_probability > 0 else config.augment
    wanted = batches * settings.update_batch_size
    rounds = -(-wanted // len(real))  # small data are gone through more than once
    order = torch.cat([torch.randperm(len(real), generator=state.generator) for _ in range(rounds)])[:wanted]
    for index in order.split(settings.update_batch_size):
        images = real.normalisation.apply(real.images(index).to(device))
        params = draw(augment, len(index), real.image_shape, state.generator, one_choice=True)
        images, labels_a, labels_b, lam = cutmix(
            apply(images, params), real.labels[index].to(device),
            probability=settings.cutmix_probability, alpha=1.0, generator=state.generator,
        )  # fmt: skip
        logits = net(images)
        loss = lam * F.cross_entropy(logits, labels_a) + (1 - lam) * F.cross_entropy(logits, labels_b)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
