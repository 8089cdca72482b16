"""What a condensation goes on from: container, optimizers, network, random numbers; whole, or one process's share."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hmn.containers.container import Container
from hmn.containers.quantise import rounded
from hmn.data.real import RealData
from hmn.errors import UserError
from hmn.nets import Net, build_net
from hmn.recipes.kinds import OBJECTIVES
from hmn.recipes.settings import CondenseConfig
from hmn.runtime.processes import agreed, gather, is_first, own_range, place


class CondenseRecord(NamedTuple):
    """One record of the loop: the phase, steps done of all its steps, and the loss."""

    phase: str
    done: int
    total: int
    loss: float


class CondenseState:
    """Everything that the rest of a run depends on; saved and restored, the run goes on to the same bits.

    Of several processes each holds the memories of its own classes with their moments, and a copy of the rest. The
    generator is the same in all of them: each draws for all classes and uses its share, so that the draws do not
    depend on the number of processes, and neither does what is saved.

    Args:
        container: what is learned.
        real: the training data.
        config: the settings.
        seed: of everything random.
        settings: the objective's own; None is their defaults.
        folder: where the objective may keep what must not be made twice.
    """

    def __init__(
        self,
        container: Container,
        real: RealData,
        config: CondenseConfig,
        *,
        seed: int,
        settings: Any = None,
        folder: Path | None = None,
    ) -> None:
        self.config, self.seed, self.folder = config, seed, folder
        self.device = container.labels.device
        self.real = real.with_pixels_on(self.device)
        self.objective = OBJECTIVES.load(config.objective)(settings)
        self.generator = torch.Generator().manual_seed(seed)
        self.labels = container.labels.cpu()
        self.targets = choose_targets(real, self.labels, self.generator)
        self.members = [(real.labels == label).nonzero()[:, 0] for label in range(real.num_classes)]
        # This process's share of the classes, and of the container.
        self.classes = own_range(len(self.members))
        before, end = (int((self.labels < label).sum()) for label in (self.classes.start, self.classes.stop))
        self.images = range(before, end)
        self._rows = {name: container.rows(name, self.classes) for name, _ in container.named_parameters()}
        self._whole = container if is_first() else None
        self.container = container if place().size == 1 else container.part(self.classes)
        self.start_steps_done = 0
        self.sweeps_done = 0
        self.optimizer = self._new_adam(config.start.lr, (0.9, 0.99))

    def _new_adam(self, lr: float, betas: tuple[float, float]) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.container.parameters(), lr=lr, betas=betas)

    def begin_matching(self) -> None:
        """A fresh optimizer for the objective's steps: the reconstruction's moments are of another loss."""
        config = self.config
        if config.optimizer == "sgd":
            self.optimizer = torch.optim.SGD(self.container.parameters(), lr=config.lr, momentum=config.momentum)
        else:
            self.optimizer = self._new_adam(config.lr, (config.beta1, config.beta2))

    def take_targets(self) -> None:
        """Begin at the chosen real images, where the container takes them over."""
        if self.container.shape.exact_start:
            chosen = self.targets[self.images.start : self.images.stop]
            self.container.start_from(self.real.images(chosen).to(self.device))

    def own(self, index: Tensor) -> Tensor:
        """Those of the images at `index` that this process renders, in their order."""
        return index[(index >= self.images.start) & (index < self.images.stop)]

    def shared_parameters(self) -> list[torch.nn.Parameter]:
        """The container's parameters that every process holds."""
        return [values for name, values in self.container.named_parameters() if self._rows[name] is None]

    def whole(self) -> Container:
        """The container of all classes; collective: the first process gets it, the others their part."""
        if place().size == 1:
            return self.container
        saved = self._saved_container()
        if self._whole is None:
            return self.container
        self._whole.load_state_dict(saved)
        return self._whole

    def state_dict(self) -> dict[str, Any]:
        """Nested dictionaries of tensors and numbers, the same from any number of processes.

        Collective: all of them call it, and the first gets the memories of every class, the others their own.
        """
        return {
            "container": self._saved_container(),
            "optimizer": self._by_parameter(self.optimizer.state_dict(), self._all_rows),
            "objective": self.objective.state_dict(),
            "generator": self.generator.get_state(),
            "start_steps_done": self.start_steps_done,
            "sweeps_done": self.sweeps_done,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore what `state_dict` gave, into a state that was built from the same data, config and seed.

        The number of processes may be another than when it was saved.
        """
        self.container.load_state_dict({name: self._own_rows(name, v) for name, v in saved["container"].items()})
        self.start_steps_done, self.sweeps_done = saved["start_steps_done"], saved["sweeps_done"]
        if self.sweeps_done:
            self.begin_matching()
        self.optimizer.load_state_dict(self._by_parameter(saved["optimizer"], self._own_rows))
        self.objective.load_state_dict(saved["objective"], self)
        self.generator.set_state(saved["generator"])

    def _saved_container(self) -> dict[str, Tensor]:
        return {name: self._all_rows(name, values) for name, values in self.container.state_dict().items()}

    def _by_parameter(self, saved: dict[str, Any], change: Any) -> dict[str, Any]:
        """An optimizer's saved state with `change(name of the parameter, moments)` for its moments."""
        names = [name for name, _ in self.container.named_parameters()]
        state = {
            number: {key: change(names[number], v) if v.dim() else v for key, v in moments.items()}
            for number, moments in saved["state"].items()
        }
        return {**saved, "state": state}

    def _own_rows(self, name: str, values: Tensor) -> Tensor:
        rows = self._rows.get(name)
        return values if rows is None or place().size == 1 else values[rows]

    def _all_rows(self, name: str, values: Tensor) -> Tensor:
        """Every process's rows of a parameter, on the first; as they are where they are shared."""
        if self._rows.get(name) is None or place().size == 1:
            return values
        parts = gather(values.detach().cpu())
        return torch.cat(parts) if parts else values


def choose_targets(real: RealData, labels: Tensor, generator: torch.Generator) -> Tensor:
    """For each generated image, the index of a random real image of its class; repeated only where there are too few.

    int64 [n], indices into `real`, from the generated images' labels, int64 [n].
    """
    targets = torch.empty_like(labels)
    for label in labels.unique():
        members = (real.labels == label).nonzero()[:, 0]
        wanted = (labels == label).nonzero()[:, 0]
        rounds = -(-len(wanted) // len(members))
        order = torch.cat([torch.randperm(len(members), generator=generator) for _ in range(rounds)])
        targets[wanted] = members[order[: len(wanted)]]
    return targets


def check_split(config: CondenseConfig, real: RealData) -> None:
    """Refuse what cannot be divided between the processes there are (UserError); nothing in one process."""
    size, classes = place().size, real.num_classes
    if size == 1:
        return
    objective = OBJECTIVES.load(config.objective)
    if not objective.divisible:
        why = f"condense.objective {config.objective}: runs in one process, and these are {size}"
        raise UserError(f"{why}: run without torchrun.")
    if size > classes:
        why = f"{size} processes for {classes} classes, and a class is never divided"
        raise UserError(f"{why}: start at most {classes} (torchrun --nproc-per-node).")
    if config.step_per == "class":
        why = "condense.step_per class takes the classes one after another, which cannot be divided between"
        raise UserError(f"{why} {size} processes: choose sweep, or run without torchrun.")
    # What would need the values, or the images, of all processes at once.
    if config.learned_as != "float32":
        why = f"condense.learned_as {config.learned_as}: a scale may be that of a whole tensor, which is divided"
        raise UserError(f"{why} between {size} processes: choose float32, or run without torchrun.")
    if config.network.trained_on == "generated":
        why = "condense.network.trained_on generated needs the images of all classes together, which are divided"
        raise UserError(f"{why} between {size} processes: choose real, or run without torchrun.")
    if objective.sees_classes_together and has_batch_norm(new_network(config, real, torch.Generator().manual_seed(0))):
        raise UserError(
            f"condense.network.name {config.network.name} has BatchNorm, which with the objective "
            f"{config.objective!r} sees all classes together: choose a network without it (convnetD, resnetap10, "
            "or add -in to the name), or run without torchrun."
        )


def new_network(config: CondenseConfig, real: RealData, generator: torch.Generator) -> Net:
    """A fresh network of the condensation, fitted to the data."""
    name, width, shape = config.network.name, config.network.width, real.image_shape
    return build_net(name, num_classes=real.num_classes, image_shape=shape, width=width, generator=generator)


def has_batch_norm(net: torch.nn.Module) -> bool:
    """Whether what the network makes of an image depends on the others of its batch."""
    return any(isinstance(module, torch.nn.modules.batchnorm._BatchNorm) for module in net.modules())


@contextmanager
def shown_as_stored(container: Container, dtype: str) -> Iterator[None]:
    """Within, parameters hold what a file of `dtype` would give back; after it, their own values again.

    A gradient that is taken within is that of the rounded values and goes straight through to their own.
    Source: the straight-through estimator (arXiv:1308.3432).
    """
    if dtype == "float32":
        yield
        return
    own = {name: parameter.data for name, parameter in container.named_parameters()}
    try:
        for name, parameter in container.named_parameters():
            parameter.data = rounded(name, parameter, dtype)
        yield
    finally:
        for name, parameter in container.named_parameters():
            parameter.data = own[name]


def check_alike(told: dict[str, str]) -> None:
    """Refuse to work together on different things (UserError): `told` must be the same on every process."""
    everyone = gather(told)

    def compare() -> None:
        for rank, other in enumerate(everyone):
            different = [name for name in told if other[name] != everyone[0][name]]
            if different:
                why = f"process {rank} has other {' and '.join(different)} than process 0"
                raise UserError(f"{why}: give every machine the same files and environment variables.")

    agreed(compare)
