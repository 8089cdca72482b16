"""Matching: what a network makes of generated images should be what it makes of real ones, class by class.

Objectives of this kind differ in what they compare. Common to them are the sweeps over all classes, one draw of the
augmentation for both sides of a class, and a network that is trained as condensation goes on.
Source: supplement C.2 of arXiv:2310.07506; the loop of IDC (arXiv:2205.14959).
"""

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hmn.condensation.cost.operations import BACKWARD, NetOperations, render_operations
from hmn.condensation.objectives.base import ImagesSeen, Objective
from hmn.condensation.objectives.network import choose_generated, draw_group, train_network
from hmn.condensation.state import CondenseState, new_network, shown_as_stored
from hmn.data.source import Batch
from hmn.nets import Net
from hmn.recipes.settings import CondenseConfig
from hmn.runtime.device import moved
from hmn.runtime.processes import sum_gradients, sum_in_place
from hmn.train.augment import apply

CLASSES_TOGETHER_VALUES = 2**23
"""Values that the images of a group of classes hold at most, or about: groups bound memory at 224 pixels."""


class Match(NamedTuple):
    """A loss (a scalar without a graph) and its gradient for the generated images, shaped as they are.

    With the gradient itself no double backward is needed: the container's small graph finishes the chain.
    """

    loss: Tensor
    image_grad: Tensor


class Counts(NamedTuple):
    """How many images a sweep matches."""

    classes: int
    real_per_class: int
    generated_per_class: int

    @property
    def images(self) -> int:
        """Images of a class, of both sides."""
        return self.real_per_class + self.generated_per_class


class Matching(Objective):
    """An objective that compares both sides of every class through a network; `match` says what is compared."""

    reads = Objective.reads | {"condense.real_per_class", "condense.generated_per_class"}
    reads |= {"condense.step_per", "condense.network"}
    divisible = True
    unit = "sweep"

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self.net: Net | None = None
        self.net_optimizer: torch.optim.SGD | None = None

    @abstractmethod
    def match(self, net: Net, real: Batch, generated: Batch, config: CondenseConfig) -> Match:
        """Compare real and generated images of some classes through the network, summed over the classes.

        Images [n, c, h, w] are normalised and augmented, labels [n] on the CPU; `real` has all classes of `generated`.
        """

    @staticmethod
    def passes(net: NetOperations) -> tuple[int, int]:
        """Operations that a real image takes, and a generated one: a forward pass, and an image gradient."""
        return net.forward, net.image_gradient

    def step(self, state: CondenseState) -> Tensor:
        """A sweep, with a new network where one is due."""
        if state.sweeps_done % state.config.inner_steps == 0:
            self.begin_network(state)
            self._train(state, state.config.network.warm_up_batches)
        return self.sweep(state)

    def sweep(self, state: CondenseState) -> Tensor:
        """Match every class once; the loss summed over classes. After each class but the last where so asked, a step.

        Of several processes each matches its own classes.
        """
        by_class = state.config.step_per == "class"
        groups = torch.arange(len(state.members)).split(1 if by_class else classes_together(state))
        total = torch.zeros((), device=state.device)
        for number, matched in enumerate([[group] for group in groups] if by_class else [list(groups)]):
            if number:
                state.optimizer.step()
            with shown_as_stored(state.container, state.config.learned_as):
                total = total + self.match_groups(state, matched)
        return total

    def after_step(self, state: CondenseState) -> None:
        """Train the network on."""
        self._train(state, state.config.network.update_batches)

    def counts(self, state: CondenseState) -> Counts:
        """Images of a sweep: as many as are asked for, where there are so many."""
        config, real = state.config, min(len(members) for members in state.members)
        stored = max(state.container.shape.images_per_class)
        generated = min(config.generated_per_class, stored)
        return Counts(len(state.members), min(config.real_per_class, real), generated)

    def operations(self, state: CondenseState, net: NetOperations) -> int:
        """Operations of a sweep: both sides of every class, and rendering."""
        counts = self.counts(state)
        steps = counts.classes if state.config.step_per == "class" else 1
        rendered = render_operations(state.container.shape, self.rendered(state))
        return self.matching_operations(counts, net) + steps * (1 + BACKWARD) * rendered

    def matching_operations(self, counts: Counts, net: NetOperations) -> int:
        """Operations of both sides of every class alone."""
        real, generated = self.passes(net)
        return counts.classes * (counts.real_per_class * real + counts.generated_per_class * generated)

    def sizes(self, state: CondenseState) -> list[Counts]:
        """One class with 2, 4, 8 ... images on either side, then 1, 2, 4 ... classes, no more than half of them."""
        whole = self.counts(state)
        most = max(whole.real_per_class, whole.generated_per_class)
        images = [2**power for power in range(1, (most - 1).bit_length())]
        fewer = [Counts(1, min(n, whole.real_per_class), min(n, whole.generated_per_class)) for n in images]
        classes = [2**power for power in range(max(1, whole.classes // 2).bit_length())]
        return [*fewer, *(whole._replace(classes=count) for count in classes)]

    @contextmanager
    def reduced(self, state: CondenseState, size: Counts) -> Iterator[None]:
        """Within, a sweep is over so many classes and images."""
        config, members = state.config, state.members
        # A recipe may ask for more real images than there are, and groups classes by what it asks for.
        asked, all_of_them = config.real_per_class, self.counts(state).real_per_class
        real = asked if size.real_per_class == all_of_them else size.real_per_class
        state.config = replace(config, real_per_class=real, generated_per_class=size.generated_per_class)
        state.members = members[: size.classes]
        try:
            yield
        finally:
            state.config, state.members = config, members

    def step_bytes(self, state: CondenseState, above: Mapping[Counts, float], held: float, processes: int) -> float:
        """Memory of a sweep's matching.

        Rendered images, with what each holds for its way back, grow with all classes. What the objective holds grows
        with the classes of a group, and with a class's images where the timed sweeps had fewer.
        """
        whole, together = self.counts(state), classes_together(state)
        classes = -(-whole.classes // processes)
        (low, less), (high, peak) = sorted(above.items())[0], sorted(above.items())[-1]
        rendered, each = high.generated_per_class * held, 0.0
        if high.classes > low.classes:
            each = max(0.0, (peak - less) / (high.classes - low.classes) - rendered)
        found = peak + each * max(0, min(classes, together) - min(high.classes, together))
        found += rendered * (classes - high.classes)
        missing = whole.images - high.images
        if missing > 0:
            of_image = (peak - less) / (high.images - low.images) if high.images > low.images else peak / high.images
            found += max(0.0, of_image) * missing
            found += held * classes * (whole.generated_per_class - high.generated_per_class)
        return found

    def rendered(self, state: CondenseState) -> int:
        """Images of a sweep."""
        counts = self.counts(state)
        return counts.classes * counts.generated_per_class

    def training(self, state: CondenseState) -> ImagesSeen:
        """The network's batches after each sweep, and those before the first of a new one."""
        config = state.config.network
        batch = min(config.update_batch_size, sum(len(members) for members in state.members))
        return ImagesSeen(each=config.update_batches * batch, once=state.config.epochs * config.warm_up_batches * batch)

    def train_some(self, state: CondenseState, images: int) -> int:
        """Train the network in batches, or in one smaller batch."""
        config = state.config
        batch = min(config.network.update_batch_size, images)
        state.config = replace(config, network=replace(config.network, update_batch_size=batch))
        self._train(state, images // batch)
        state.config = config
        return images // batch * batch

    def begin_network(self, state: CondenseState) -> None:
        """A new network with its optimizer."""
        config = state.config.network
        self.net = new_network(state.config, state.real, state.generator).to(state.device)
        self.net_optimizer = torch.optim.SGD(
            self.net.parameters(), lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
        )

    def _train(self, state: CondenseState, batches: int) -> None:
        if batches:
            assert self.net is not None and self.net_optimizer is not None
            train_network(self.net, self.net_optimizer, state, batches=batches)

    def state_dict(self) -> dict[str, Any]:
        """The network and its optimizer, as soon as there is one."""
        if self.net is None or self.net_optimizer is None:
            return {}
        return {"net": self.net.state_dict(), "net_optimizer": self.net_optimizer.state_dict()}

    def load_state_dict(self, saved: dict[str, Any], state: CondenseState) -> None:
        """Restore the network and its optimizer."""
        if saved:
            self.begin_network(state)
            assert self.net is not None and self.net_optimizer is not None
            self.net.load_state_dict(saved["net"])
            self.net_optimizer.load_state_dict(saved["net_optimizer"])

    def match_groups(self, state: CondenseState, groups: list[Tensor]) -> Tensor:
        """Gradients over groups of classes, backpropagated into the container; the loss of all."""
        assert self.net is not None
        real, normalised = state.real, state.real.normalisation.apply
        # All classes are rendered together even where few of them are matched: BatchNorm sees the images of all.
        index = state.own(choose_generated(state, state.config.generated_per_class))
        rendered = state.container.images((index - state.images.start).to(state.device))
        image_grad, labels = torch.zeros_like(rendered), state.labels[index]
        total = torch.zeros((), device=state.device)
        for group in groups:
            chosen, params = draw_group(state, group)
            own = torch.isin(labels, group).nonzero()[:, 0]
            if not len(own):
                continue  # the classes of another process
            rows = moved(own, state.device)
            images = rendered.detach()[rows].requires_grad_()
            # Both sides of a class have one draw of the augmentation. Labels stay on the CPU, where classes are told
            # apart: asking a GPU would stop it.
            sides = Batch(real.images_on(chosen, state.device), real.labels[chosen]), Batch(images, labels[own])
            seen, augmented = (apply(normalised(side.images), params.expand(side.labels)) for side in sides)
            generated = Batch(augmented.detach(), labels[own])
            match = self.match(self.net, Batch(seen, sides[0].labels), generated, state.config)
            image_grad[rows] = torch.autograd.grad(augmented, images, match.image_grad)[0]
            total = total + match.loss
        state.optimizer.zero_grad()
        rendered.backward(image_grad)
        sum_gradients(state.shared_parameters())
        return sum_in_place(total)


def classes_together(state: CondenseState) -> int:
    """Classes of a group: as many as hold `CLASSES_TOGETHER_VALUES` on both sides, but one at least."""
    config = state.config
    generated = min(config.generated_per_class, len(state.labels) // state.real.num_classes)
    values = (config.real_per_class + generated) * math.prod(state.real.image_shape)
    return max(1, CLASSES_TOGETHER_VALUES // values)
