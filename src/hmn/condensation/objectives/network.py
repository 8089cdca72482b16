"""The network that images are matched through, as it is trained, and what a sweep draws at random."""

from __future__ import annotations

import torch
from torch import Tensor

from hmn.condensation.state import CondenseState, has_batch_norm, shown_as_stored
from hmn.data.real import RealData
from hmn.nets import Net
from hmn.runtime.device import moved
from hmn.runtime.processes import copy_from_first, own_range, sum_gradients
from hmn.train.augment import AugmentParams, Mix, apply, draw, draw_mix, without_cutout
from hmn.train.step import choose_step


def train_network(net: Net, optimizer: torch.optim.SGD, state: CondenseState, *, batches: int) -> None:
    """Train a matching network on `batches` batches, augmented image by image, with CutMix.

    The images are real ones, or those that the container generates now. Of several processes each takes its share of
    every batch, but for networks with BatchNorm, which see whole batches in each. Sources: IDC (arXiv:2205.14959),
    whose code trains between sweeps on real data, without cutout where it mixes; DC (arXiv:2006.05929), which trains
    on the synthetic images.
    """
    settings, real, generator = state.config.network, state.real, state.generator
    undivided, probability = has_batch_norm(net), settings.cutmix_probability
    augment = without_cutout(state.config.augment) if probability > 0 else state.config.augment
    height, width = real.image_shape[1:]
    # All batches are drawn beforehand.
    source = real if settings.trained_on == "real" else _Generated(state)
    together = min(settings.update_batch_size, len(source)) if source is not real else settings.update_batch_size
    rounds = -(-batches * together // len(source))  # small data are gone through more than once
    order = torch.cat([torch.randperm(len(source), generator=generator) for _ in range(rounds)])
    for index in order[: batches * together].split(together):
        params = draw(augment, len(index), real.image_shape, generator, one_choice=True)
        mix = draw_mix(len(index), (height, width), probability=probability, alpha=1.0, generator=generator)
        own = range(len(index)) if undivided else own_range(len(index))
        optimizer.zero_grad()
        if len(own):
            _add_gradients(net, source, index, params, mix, own, state.device)
        if not undivided:
            sum_gradients(net.parameters())
        optimizer.step()
    if undivided:  # the same batches, but not every device computes the same bits twice
        moments = [value for values in optimizer.state.values() for value in values.values() if value is not None]
        copy_from_first([*net.state_dict().values(), *moments])


def _add_gradients(
    net: Net,
    source: RealData | _Generated,
    index: Tensor,
    params: AugmentParams,
    mix: Mix | None,
    own: range,
    device: torch.device,
) -> None:
    """Add to the network's gradients what the rows `own` of a batch of images add to its mean cross-entropy."""
    rows = torch.arange(own.start, own.stop)
    others = rows if mix is None else mix.other[rows]
    needed = rows if mix is None else torch.cat([rows, others]).unique()
    images = source.normalisation.apply(source.images_on(index[needed], device))
    images = apply(images, params.expand(needed))
    # The boxes of CutMix come from the batch's other images, and their labels count with the area.
    lam = 1.0
    if mix is not None:
        at, other_at = (moved(torch.searchsorted(needed, sought), device) for sought in (rows, others))
        boxes = images[:, :, mix.rows, mix.columns][other_at]
        images, lam = images[at], mix.kept_share
        images[:, :, mix.rows, mix.columns] = boxes
    labels_a, labels_b = (moved(source.labels[index[which]], device) for which in (rows, others))
    step = choose_step(net, source.image_shape)
    step(net, images, labels_a, labels_b, lam, weight=len(own) / len(index))


class _Generated:
    """The container's images as they are now, in the place of real ones; labels are on the CPU."""

    def __init__(self, state: CondenseState) -> None:
        self._container, self._learned_as, self.labels = state.container, state.config.learned_as, state.labels
        self.normalisation, self.image_shape = state.container.normalisation, state.container.image_shape

    def __len__(self) -> int:
        return len(self.labels)

    @torch.no_grad()
    def images_on(self, index: Tensor, device: torch.device) -> Tensor:
        """Images at `index` [b], float32 [b, c, h, w] in [0, 1], without gradients, on the container's device."""
        with shown_as_stored(self._container, self._learned_as):
            return self._container.images(index.to(device))


def draw_group(state: CondenseState, group: Tensor) -> tuple[Tensor, AugmentParams]:
    """Everything random about the matching of a group of classes.

    Returns:
        indices of the real images of those classes in the group that this process has, and parameters of the
        augmentation, a row for every class of all (those outside of the group repeat its first).
    """
    # Drawn for the classes of other processes too: the generators stay alike.
    drawn = {c: _some(state.members[c], state.config.real_per_class, state.generator) for c in group.tolist()}
    params = draw(state.config.augment, len(group), state.real.image_shape, state.generator)
    row_of_class = torch.zeros(len(state.members), dtype=torch.int64)
    row_of_class[group] = torch.arange(len(group))
    own = [chosen for c, chosen in drawn.items() if c in state.classes]
    return torch.cat(own) if own else group.new_empty(0), params.expand(row_of_class)


def _some(members: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Up to `count` of the members, at random and without repetition."""
    return members[torch.randperm(len(members), generator=generator)[:count]]


def choose_generated(state: CondenseState) -> Tensor:
    """Indices of the generated images of this sweep, of all processes' classes, class by class."""
    starts = torch.searchsorted(state.labels, torch.arange(len(state.members) + 1))
    each = [torch.arange(int(a), int(b)) for a, b in zip(starts, starts[1:], strict=False)]
    return torch.cat([_some(members, state.config.generated_per_class, state.generator) for members in each])
