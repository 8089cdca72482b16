"""Trajectory matching (MTT): a student on generated images should go where an expert on real images went."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, nn

from hmn.condensation.cost.operations import BACKWARD, NetOperations, render_operations
from hmn.condensation.objectives import experts
from hmn.condensation.objectives.base import ImagesSeen
from hmn.condensation.objectives.direct import differentiate_directly
from hmn.condensation.objectives.student import (
    StudentObjective,
    StudentStep,
    TrainingGradient,
    Weights,
    differentiate_training,
    new_student,
    student_step,
)
from hmn.condensation.state import CondenseRecord, CondenseState, shown_as_stored
from hmn.containers.artifact.place import EXPERTS
from hmn.errors import UserError
from hmn.nets import Net
from hmn.recipes.settings import TrainConfig
from hmn.train.loop import total_steps, train

MIN_STUDENT_LR = 1e-3
"""Least rate that a student learns with (HaBa's code: distill_fac.py)."""
MAX_LR_FACTOR = 5.0
"""Factor between a student's rate and the one that would have been nearest, as far as that is believed."""


@final
class Trajectory(StudentObjective):
    """A student starts where an expert was, and its loss is its distance from where the expert came some epochs later.

    The squared distance is told over that of the expert's own way. A student may also start where training on generated
    images has led, and should come where real ones lead from there (`strayed`).

    Source: MTT (arXiv:2203.11932) Algorithm 1 and its code (distill.py). Deviations: no ZCA whitening; HaBa's
    contrastive term and its choice of one hallucinator a step are left out.
    """

    Settings = experts.TrajectorySettings
    rates = ("student_lr", "expert_lr")

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self.experts: Sequence[experts.Expert] | None = None
        self.expert_epochs_done = 0
        self.strayed: list[experts.Strayed] = []
        """The last ones, as many as are kept."""
        self.student_lr = nn.Parameter(torch.tensor(self.settings.student_lr))
        self.lr_optimizer = torch.optim.SGD([self.student_lr], lr=self.settings.student_lr_lr, momentum=0.5)
        self._net: Net | None = None

    def prepare(self, state: CondenseState) -> Iterator[CondenseRecord]:
        """Train the experts that are not trained yet, yielding a record after every epoch."""
        if self.experts is not None:  # those of another's choice
            self._check_length(self.experts)
            return
        assert state.folder is not None, "experts are kept in files"
        folder, epochs = state.folder / EXPERTS, self.settings.expert_length
        files = [experts.ExpertFiles(folder, number, state, self.settings) for number in range(self.settings.experts)]
        self.experts, total = files, len(files) * epochs
        while self.expert_epochs_done < total:
            number, done = divmod(self.expert_epochs_done, epochs)
            loss = files[number].after(done + 1).loss
            self.expert_epochs_done += 1
            yield CondenseRecord("experts", self.expert_epochs_done, total, loss)

    def step(self, state: CondenseState) -> Tensor:
        """One student, with the gradient of its loss; on an expert's way a step of the student's rate too."""
        if experts.is_due(self.settings, state.sweeps_done):
            seed, lr = int(torch.randint(2**31, (), generator=state.generator)), self.student_lr.item()
            with shown_as_stored(state.container, state.config.learned_as):
                way = experts.stray(state.container, state.real, state.config, self.settings, lr=lr, seed=seed)
            self.strayed = [*self.strayed, way][-self.settings.strayed :]
        *ends, is_expert = self.drawn_way(state.generator)
        start, target = ({name: value.to(state.device) for name, value in end.items()} for end in ends)
        found = self._differentiate(state, start, target)
        if is_expert:  # the rate is for the whole of training, and strayed networks are at its end
            self._step_rate(found, start, target)
        return found.loss

    def drawn_way(self, generator: torch.Generator) -> tuple[Weights, Weights, bool]:
        """Where a student starts, where it should come, and whether that is an expert's way."""
        assert self.experts is not None
        settings = self.settings
        if self.strayed and float(torch.rand((), generator=generator)) < settings.strayed_share:
            return *self.strayed[int(torch.randint(len(self.strayed), (), generator=generator))], False
        expert = self.experts[int(torch.randint(len(self.experts), (), generator=generator))]
        first = int(torch.randint(settings.max_start_epoch, (), generator=generator))
        past = first + settings.expert_epochs + 1
        return expert[first], experts.mean_of([expert[epoch] for epoch in range(past - settings.averaged, past)]), True

    def operations(self, state: CondenseState, net: NetOperations) -> int:
        """Operations of an iteration: a student there and back, and rendering.

        An image in a step is a weight gradient on the way there; on the way back that gradient once more and its own
        derivative by weights and image, which convolves as often as both together. Differentiated step by step it is
        what gradient matching does with an image, on the way back for the steps alone that are differentiated.
        """
        image = 12 * net.forward - 4 * net.first
        if self.settings.derivative == "direct":
            image = net.weight_gradient + 2 * net.image_gradient // self.settings.differentiate_every
        student = images_shown(self.settings, len(state.container)) * image
        return student + (1 + BACKWARD) * render_operations(state.container.shape, self.rendered(state))

    @property
    def together(self) -> int:
        """Steps of which one is differentiated are timed together."""
        return int(self.settings.differentiate_every)

    @contextmanager
    def reduced(self, state: CondenseState, size: int) -> Iterator[None]:
        """Within, a student takes so many steps, between any two networks, and none strays."""
        kept = self.experts
        with super().reduced(state, size):
            self.settings = replace(self.settings, max_start_epoch=1, expert_epochs=1, averaged=1, strayed=0)
            self.experts = [[experts.new_expert(state.real, state.config, seed=seed).weights for seed in (0, 1)]]
            yield
        self.experts = kept

    def training(self, state: CondenseState) -> ImagesSeen:
        """Experts, and networks that stray."""
        settings, iterations = self.settings, state.config.num_sweeps
        each = images_in(experts.expert_training(state.config, settings), len(state.real))
        networks = (iterations - 1) // settings.strayed_every if settings.strayed and iterations else 0
        strayed = networks * experts.images_seen(settings, len(state.container), each)
        before = settings.experts * settings.expert_length * each if iterations else 0
        return ImagesSeen(before=before, each=strayed / max(1, iterations))

    def train_some(self, state: CondenseState, images: int) -> int:
        """Train a network as an expert is."""
        net, batch = new_student(state.real, state.config, seed=0), self.settings.expert_batch
        training = replace(experts.expert_training(state.config, self.settings), steps=max(1, images // batch))
        generator = torch.Generator().manual_seed(0)
        for _ in train(net, state.real, training, generator=generator, device=state.device):
            pass
        return images_in(training, len(state.real))

    def state_dict(self) -> dict[str, Any]:
        """The epochs of experts, strayed networks, and the learning rate with its momentum."""
        return {
            "expert_epochs_done": self.expert_epochs_done,
            "strayed": [way._asdict() for way in self.strayed],
            "student_lr": self.student_lr.detach().clone(),
            "lr_optimizer": self.lr_optimizer.state_dict(),
        }

    def load_state_dict(self, saved: dict[str, Any], state: CondenseState) -> None:
        """Restore what `state_dict` gave."""
        self.expert_epochs_done = saved["expert_epochs_done"]
        self.strayed = [experts.Strayed(**way) for way in saved["strayed"]]
        self.student_lr.data.copy_(saved["student_lr"])
        self.lr_optimizer.load_state_dict(saved["lr_optimizer"])

    def _differentiate(self, state: CondenseState, start: Weights, target: Weights) -> TrainingGradient:
        """One student, and the gradient of its loss in the container."""
        if self._net is None:
            self._net = new_student(state.real, state.config, seed=0).to(state.device)
        steps, loss_after = self._steps(state), partial(trajectory_loss, start=start, target=target)
        how: dict[str, Any] = {"steps": steps, "start": start, "lr": self.student_lr.item(), "loss_after": loss_after}
        if self.settings.derivative == "direct":
            chosen = drawn_steps(len(steps), self.settings.differentiate_every, state.generator)
            return self.through_student(state, partial(differentiate_directly, self._net, chosen=chosen, **how))
        return self.through_student(state, partial(differentiate_training, self._net, momentum=0.0, **how))

    def _steps(self, state: CondenseState) -> list[StudentStep]:
        """What a student sees: all images in random order, batch by batch, over again until the steps are full."""
        found: list[StudentStep] = []
        while len(found) < self.settings.student_steps:
            order = torch.randperm(len(state.labels), generator=state.generator)
            batches = order.split(self.settings.student_batch)[: self.settings.student_steps - len(found)]
            found += [student_step(state, index) for index in batches]
        return found

    def _step_rate(self, found: TrainingGradient, start: Weights, target: Weights) -> None:
        if self.settings.student_lr_rule == "nearest":
            factor = min(max(nearest_factor(found.end, start, target), 1 / MAX_LR_FACTOR), MAX_LR_FACTOR)
            self.student_lr.data *= factor**self.settings.student_lr_lr
        else:
            self.student_lr.grad = found.lr_grad.cpu()
            self.lr_optimizer.step()
        self.student_lr.data.clamp_(min=min(MIN_STUDENT_LR, self.settings.student_lr))

    def _check_length(self, given: Sequence[experts.Expert]) -> None:
        if not given:
            raise UserError("trajectory matching needs at least one expert.")
        needed, shortest = self.settings.expert_length, min(map(len, given)) - 1
        if shortest < needed:
            raise UserError(
                f"an expert of {shortest} epochs is too short for max_start_epoch {self.settings.max_start_epoch} and "
                f"expert_epochs {self.settings.expert_epochs}: train each for {needed}."
            )


def trajectory_loss(weights: Weights, start: Weights, target: Weights) -> Tensor:
    """|weights - target|^2 / |start - target|^2 over all of `weights`. Source: MTT, equation 3."""
    missed = torch.stack([(weights[name] - target[name]).square().sum() for name in weights]).sum()
    way = torch.stack([(start[name] - target[name]).square().sum() for name in weights]).sum()
    return missed / way


def nearest_factor(end: Weights, start: Weights, target: Weights) -> float:
    """What a student's rate times would have ended nearest to `target`, not at `end`, with its steps' gradients."""
    moved = {name: start[name] - end[name] for name in end}
    along = torch.stack([(moved[name] * (start[name] - target[name])).sum() for name in end]).sum()
    return float(along / torch.stack([value.square().sum() for value in moved.values()]).sum())


def images_in(training: TrainConfig, count: int) -> int:
    """Images in all batches of a training, of so many that there are."""
    epochs, rest = divmod(total_steps(training, count), total_steps(replace(training, steps=None), count))
    return epochs * count + min(rest * training.batch_size, count)


def images_shown(settings: experts.TrajectorySettings, stored: int) -> int:
    """Images in all batches of a student, of so many that there are."""
    batch = settings.student_batch
    passes, rest = divmod(settings.student_steps, -(-stored // batch))
    return passes * stored + min(rest * batch, stored)


def drawn_steps(count: int, every: int, generator: torch.Generator) -> dict[int, float] | None:
    """One step at random of each `every` successive ones of `count`, counted as all of them; None where it is all."""
    if every == 1:
        return None
    runs = [range(first, min(first + every, count)) for first in range(0, count, every)]
    return {run[int(torch.randint(len(run), (), generator=generator))]: float(len(run)) for run in runs}
