"""The condensation loop: a generator over a state that can be saved between any two of its steps."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from hmn.condense.objectives import Match, distribution_match, feature_match, gradient_match
from hmn.condense.objectives.base import CondenseRecord, lr_factor
from hmn.condense.start import reconstruction_step
from hmn.condense.state import CondenseState, has_batch_norm, shown_as_stored
from hmn.data.real import RealData
from hmn.data.source import Batch
from hmn.recipes.settings import CondenseConfig
from hmn.runtime.device import moved
from hmn.runtime.processes import copy_from_first, own_range, sum_gradients, sum_in_place
from hmn.train.augment import AugmentParams, apply, draw, without_cutout
from hmn.train.cutmix import Mix, draw_mix
from hmn.train.step import choose_step

START_STRIDE = 10
"""Reconstruction steps between two records."""
CLASSES_TOGETHER_VALUES = 2**23
"""Classes are matched in groups whose images hold at most about this many values: bounds memory at 224 pixels."""


def condense(state: CondenseState, real: RealData, config: CondenseConfig) -> Iterator[CondenseRecord]:
    """Condense `real` into `state.container`, yielding a record after every sweep.

    It owns no files: the caller prints, saves `state.state_dict()`, or stops between two records. Started with a
    restored state it goes on where that was saved. Of several processes each matches its own classes; all run this
    loop together, and their records are the same.
    Source: supplement C.2 of arXiv:2310.07506; the loop of IDC (arXiv:2205.14959).
    """
    real = real.with_pixels_on(state.container.labels.device)
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


def _reconstruct(state: CondenseState, real: RealData, config: CondenseConfig) -> Iterator[CondenseRecord]:
    start = config.start
    if start.kind != "noise" and not state.start_steps_done and not state.sweeps_done:
        state.take_targets(real)
    steps = start.steps_for(exact=state.container.shape.exact_start)
    while state.start_steps_done < steps:
        for group in state.optimizer.param_groups:
            group["lr"] = start.lr * 0.5 * (1 + math.cos(math.pi * state.start_steps_done / steps))
        state.optimizer.zero_grad()
        error = reconstruction_step(
            state.container, real, state.targets, start.batch, state.generator, own=state.images
        )
        sum_gradients(state.shared_parameters())
        state.optimizer.step()
        state.start_steps_done += 1
        if state.start_steps_done % START_STRIDE == 0 or state.start_steps_done == steps:
            yield CondenseRecord("start", state.start_steps_done, steps, float(error))


def _sweep(state: CondenseState, real: RealData, config: CondenseConfig) -> Tensor:
    """Match every class once and step the container; the loss summed over classes."""
    together = max(1, CLASSES_TOGETHER_VALUES // _values_per_class(state, real, config))
    groups = torch.arange(len(state.members)).split(1 if config.step_per == "class" else together)
    total = torch.zeros((), device=state.container.labels.device)
    for matched in [[group] for group in groups] if config.step_per == "class" else [list(groups)]:
        with shown_as_stored(state.container, config.learned_as):
            total = total + _match_groups(state, real, config, matched)
        state.optimizer.step()
    return total


def _values_per_class(state: CondenseState, real: RealData, config: CondenseConfig) -> int:
    generated = min(config.generated_per_class, len(state.labels) // len(state.members))
    return (config.real_per_class + generated) * math.prod(real.image_shape)


def _match_groups(state: CondenseState, real: RealData, config: CondenseConfig, groups: list[Tensor]) -> Tensor:
    """Gradients of the objective over groups of classes, backpropagated into the container; the loss of all."""
    container, device = state.container, state.container.labels.device
    # All classes are rendered together even where few of them are matched: BatchNorm sees the images of all.
    index = state.own(_choose_generated(state, config))
    rendered = container.images((index - state.images.start).to(device))
    image_grad = torch.zeros_like(rendered)
    labels = state.labels[index]
    total = torch.zeros((), device=device)
    for group in groups:
        chosen, params = _draw(state, real, config, group)
        own = torch.isin(labels, group).nonzero()[:, 0]
        if not len(own):
            continue  # the classes of another process
        rows = moved(own, device)
        images = rendered.detach()[rows].requires_grad_()
        match, augmented = _match(state, real, config, chosen, params, Batch(images, labels[own]))
        image_grad[rows] = torch.autograd.grad(augmented, images, match.image_grad)[0]
        total = total + match.loss
    state.optimizer.zero_grad()
    rendered.backward(image_grad)
    sum_gradients(state.shared_parameters())
    return sum_in_place(total)


def _draw(state: CondenseState, real: RealData, config: CondenseConfig, group: Tensor) -> tuple[Tensor, AugmentParams]:
    """Everything random about the matching of a group of classes.

    Returns:
        indices of the real images of those classes in the group that this process has, and parameters of the
        augmentation, a row for every class of all (those outside of the group repeat its first).
    """
    # Drawn for the classes of other processes too: the generators stay alike.
    drawn = {c: _some(state.members[c], config.real_per_class, state.generator) for c in group.tolist()}
    params = draw(config.augment, len(group), real.image_shape, state.generator)
    row_of_class = torch.zeros(len(state.members), dtype=torch.int64)
    row_of_class[group] = torch.arange(len(group))
    own = [chosen for c, chosen in drawn.items() if c in state.classes]
    return torch.cat(own) if own else group.new_empty(0), params.expand(row_of_class)


def _match(
    state: CondenseState, real: RealData, config: CondenseConfig, chosen: Tensor, params: AugmentParams, rendered: Batch
) -> tuple[Match, Tensor]:
    """One objective on some classes, the same draw of the augmentation for both sides of a class.

    Args:
        state: its network is matched on.
        real: the training data.
        config: objective and settings.
        chosen: indices of the real images.
        params: a row for every class.
        rendered: generated images, with labels on the CPU.

    Returns:
        the match, and the augmented images in the graph of `rendered.images`.
    """
    assert state.net is not None
    real_labels = real.labels[chosen]
    real_images = real.normalisation.apply(real.images_on(chosen, rendered.images.device))
    real_images = apply(real_images, params.expand(real_labels))
    augmented = apply(real.normalisation.apply(rendered.images), params.expand(rendered.labels))
    # Labels stay on the CPU, where classes are told apart: asking a GPU would stop it.
    real_batch, generated = Batch(real_images, real_labels), Batch(augmented.detach(), rendered.labels)
    if config.objective == "gradient":
        match = gradient_match(state.net, real_batch, generated, distance=config.distance)
    elif config.objective == "distribution":
        match = distribution_match(state.net, real_batch, generated)
    else:
        match = feature_match(state.net, real_batch, generated, cross_entropy_weight=config.cross_entropy_weight)
    return match, augmented


def _some(members: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Up to `count` of the members, at random and without repetition."""
    return members[torch.randperm(len(members), generator=generator)[:count]]


def _choose_generated(state: CondenseState, config: CondenseConfig) -> Tensor:
    """Indices of the generated images of this sweep, of all processes' classes, class by class."""
    starts = torch.searchsorted(state.labels, torch.arange(len(state.members) + 1))
    return torch.cat([
        _some(torch.arange(int(a), int(b)), config.generated_per_class, state.generator)
        for a, b in zip(starts, starts[1:], strict=False)
    ])  # fmt: skip


def _update_network(state: CondenseState, real: RealData, config: CondenseConfig, *, batches: int) -> None:
    """Train the matching network on `batches` batches, augmented image by image, with CutMix.

    The images are real ones, or those that the container generates now. Of several processes each takes its share of
    every batch, but for networks with BatchNorm, which see whole batches in each. Sources: IDC (arXiv:2205.14959),
    whose code trains between sweeps on real data, without cutout where it mixes; DC (arXiv:2006.05929), which trains
    on the synthetic images.
    """
    if batches == 0:
        return
    net, optimizer, settings = state.net, state.net_optimizer, config.network
    assert net is not None and optimizer is not None
    undivided = has_batch_norm(net)
    augment = without_cutout(config.augment) if settings.cutmix_probability > 0 else config.augment
    height, width = real.image_shape[1:]
    source = real if settings.trained_on == "real" else _Generated(state, config.learned_as)
    together = min(settings.update_batch_size, len(source)) if source is not real else settings.update_batch_size
    wanted = batches * together
    rounds = -(-wanted // len(source))  # small data are gone through more than once
    order = torch.cat([torch.randperm(len(source), generator=state.generator) for _ in range(rounds)])[:wanted]
    for index in order.split(together):
        params = draw(augment, len(index), real.image_shape, state.generator, one_choice=True)
        mix = draw_mix(
            len(index), (height, width), probability=settings.cutmix_probability, alpha=1.0, generator=state.generator
        )
        own = range(len(index)) if undivided else own_range(len(index))
        optimizer.zero_grad()
        if len(own):
            _network_gradients(state, source, index, params, mix, own)
        if not undivided:
            sum_gradients(net.parameters())
        optimizer.step()
    if undivided:  # the same batches, but not every device computes the same bits twice
        momenta = [moment for moments in optimizer.state.values() for moment in moments.values() if moment is not None]
        copy_from_first([*net.state_dict().values(), *momenta])


def _network_gradients(
    state: CondenseState,
    source: RealData | _Generated,
    index: Tensor,
    params: AugmentParams,
    mix: Mix | None,
    own: range,
) -> None:
    """Add to the network's gradients what the rows `own` of a batch of images add to its mean cross-entropy."""
    assert state.net is not None
    device = state.container.labels.device
    rows = torch.arange(own.start, own.stop)
    others = rows if mix is None else mix.other[rows]
    needed = rows if mix is None else torch.cat([rows, others]).unique()
    images = source.normalisation.apply(source.images_on(index[needed], device))
    images = apply(images, params.expand(needed))
    lam = 1.0
    if mix is not None:
        at, other_at = (moved(torch.searchsorted(needed, wanted), device) for wanted in (rows, others))
        boxes = images[:, :, mix.rows, mix.columns][other_at]
        images, lam = images[at], mix.kept_share
        images[:, :, mix.rows, mix.columns] = boxes
    labels_a, labels_b = (moved(source.labels[index[which]], device) for which in (rows, others))
    step = choose_step(state.net, source.image_shape)
    step(state.net, images, labels_a, labels_b, lam, weight=len(own) / len(index))


class _Generated:
    """The container's images as they are now, in the place of real ones; labels are on the CPU."""

    def __init__(self, state: CondenseState, learned_as: str) -> None:
        self._container, self._learned_as, self.labels = state.container, learned_as, state.labels
        self.normalisation, self.image_shape = state.container.normalisation, state.container.image_shape

    def __len__(self) -> int:
        return len(self.labels)

    @torch.no_grad()
    def images_on(self, index: Tensor, device: torch.device) -> Tensor:
        """Images at `index` [b], float32 [b, c, h, w] in [0, 1], without gradients, on the container's device."""
        with shown_as_stored(self._container, self._learned_as):
            return self._container.images(index.to(device))
