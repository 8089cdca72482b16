"""The network that images are matched through, as it is trained, and what a sweep draws at random."""

from __future__ import annotations

import torch
from torch import Tensor

from hmn.condensation.state import CondenseState, has_batch_norm, shown_as_stored
from hmn.data.real import RealData
from hmn.nets import Net
from hmn.runtime.device import moved
from hmn.runtime.processes import copy_from_first, own_range, sum_gradients
from hmn.train.augment import AugmentParams, apply, draw, draw_mix, without_cutout
from hmn.train.step import choose_step


def train_network(net: Net, optimizer: torch.optim.SGD, state: CondenseState, *, batches: int) -> None:
    """Train a matching network on `batches` batches, augmented image by image, with CutMix.

    The images are real ones, or those that the container generates now. Of several processes each takes its share of
    every batch, but for networks with BatchNorm, which see whole batches in each. Sources: IDC (arXiv:2205.14959),
    whose code trains between sweeps on real data, without cutout where it mixes; DC (arXiv:2006.05929), which trains
    on the synthetic images.
    """
    settings, whole = state.config.network, has_batch_norm(net)
    source = state.real if settings.trained_on == "real" else _Generated(state)
    together = settings.update_batch_size
    if source is not state.real:
        together = min(together, len(source))
    # All batches are drawn beforehand; small data are gone through more than once.
    rounds = -(-batches * together // len(source))
    order = torch.cat([torch.randperm(len(source), generator=state.generator) for _ in range(rounds)])
    for index in order[: batches * together].split(together):
        optimizer.zero_grad()
        _add_gradients(net, source, state, index, whole=whole)
        if not whole:
            sum_gradients(net.parameters())
        optimizer.step()
    if whole:  # the same batches, but not every device computes the same bits twice
        moments = [value for values in optimizer.state.values() for value in values.values() if value is not None]
        copy_from_first([*net.state_dict().values(), *moments])


def _add_gradients(
    net: Net, source: RealData | _Generated, state: CondenseState, index: Tensor, *, whole: bool
) -> None:
    """Add to the network's gradients what this process's rows of a batch (or the whole) add to its cross-entropy."""
    settings, probability = state.config, state.config.network.cutmix_probability
    augment = without_cutout(settings.augment) if probability > 0 else settings.augment
    count, (_, height, width) = len(index), source.image_shape
    params = draw(augment, count, source.image_shape, state.generator, one_choice=True)
    mix = draw_mix(count, (height, width), probability=probability, alpha=1.0, generator=state.generator)
    own = range(count) if whole else own_range(count)
    if not len(own):
        return
    rows = torch.arange(own.start, own.stop)
    others = rows if mix is None else mix.other[rows]
    needed = rows if mix is None else torch.cat([rows, others]).unique()
    images = source.normalisation.apply(source.images_on(index[needed], state.device))
    images = apply(images, params.expand(needed))
    # The boxes of CutMix come from the batch's other images, and their labels count with the area.
    lam = 1.0
    if mix is not None:
        at, other_at = (moved(torch.searchsorted(needed, sought), state.device) for sought in (rows, others))
        boxes = images[:, :, mix.rows, mix.columns][other_at]
        images, lam = images[at], mix.kept_share
        images[:, :, mix.rows, mix.columns] = boxes
    labels_a, labels_b = (moved(source.labels[index[which]], state.device) for which in (rows, others))
    step = choose_step(net, source.image_shape)
    step(net, images, labels_a, labels_b, lam, weight=len(own) / count)


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
    """Everything random about the matching of a group of classes: its real images, and their augmentation.

    Indices are of those classes that this process has; parameters have a row for every class there is (those outside
    of the group repeat its first).
    """
    # Drawn for the classes of other processes too: the generators stay alike.
    count, generator = state.config.real_per_class, state.generator
    drawn = {label: some_of_each([state.members[label]], count, generator) for label in group.tolist()}
    params = draw(state.config.augment, len(group), state.real.image_shape, generator)
    row_of_class = torch.zeros(len(state.members), dtype=torch.int64)
    row_of_class[group] = torch.arange(len(group))
    own = [chosen for label, chosen in drawn.items() if label in state.classes]
    return torch.cat(own) if own else group.new_empty(0), params.expand(row_of_class)


def choose_generated(state: CondenseState, count: int) -> Tensor:
    """Indices of up to `count` generated images of every class at random, of all processes' classes."""
    members = [(state.labels == label).nonzero()[:, 0] for label in range(len(state.members))]
    return some_of_each(members, count, state.generator)


def some_of_each(members: list[Tensor], count: int, generator: torch.Generator) -> Tensor:
    """Up to `count` of every class's members, at random and without repetition, class by class."""
    return torch.cat([each[torch.randperm(len(each), generator=generator)[:count]] for each in members])
