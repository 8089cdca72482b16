"""An objective: how generated images should change, which the loop asks for step by step."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from hmn.condensation.cost.operations import NetOperations
from hmn.condensation.state import CondenseRecord, CondenseState

COMMON = frozenset(
    f"condense.{name}"
    for name in ("objective", "epochs", "inner_steps", "optimizer", "lr", "beta1", "beta2", "momentum", "schedule")
) | {"condense.learned_as", "condense.augment", "condense.start", "condense.network.name", "condense.network.width"}
"""Settings that every objective reads, or the loop for it; a table stands for all that is in it."""


@dataclass(frozen=True, kw_only=True)
class NoSettings:
    """The settings of an objective that has none of its own."""


class ImagesSeen(NamedTuple):
    """Images in all batches of the networks that an objective trains, those in its steps themselves left out."""

    before: float = 0.0
    """Before the first step: of experts."""
    each: float = 0.0
    """For every step, on average."""
    once: float = 0.0
    """Besides, in a whole run."""


class Objective(ABC):
    """How generated images should change. A file beside this one that defines a subclass adds an objective of its name.

    One is made for a condensation, whose state it is handed with every call. What else it goes on from between two
    steps it keeps in itself and saves.
    """

    Settings: ClassVar[type] = NoSettings
    """Frozen dataclass of the settings that only this objective reads: a table and flags of its name."""
    reads: ClassVar[frozenset[str]] = COMMON
    """Common settings that it uses; any other that was asked for is refused."""
    divisible: ClassVar[bool] = False
    """Whether several processes may share its steps."""
    sees_classes_together: ClassVar[bool] = False
    """Whether a network's BatchNorm would see the images of all classes in one batch."""
    unit: ClassVar[str] = "iteration"
    """What a step is called."""
    rates: ClassVar[tuple[str, ...]] = ()
    """Those of its settings that are learning rates: named where a run diverges."""

    def __init__(self, settings: Any = None) -> None:
        self.settings = self.Settings() if settings is None else settings

    def prepare(self, state: CondenseState) -> Iterator[CondenseRecord]:
        """What must be done before the first step, with records of how far it is; nothing by default."""
        yield from ()

    @abstractmethod
    def step(self, state: CondenseState) -> Tensor:
        """Leave the objective's gradients in the state's container, and return its loss, a scalar without a graph."""

    def after_step(self, state: CondenseState) -> None:  # noqa: B027 - most need nothing
        """What follows when the container has taken the step; nothing by default."""

    @abstractmethod
    def operations(self, state: CondenseState, net: NetOperations) -> int:
        """Operations of one step, by those of one image through the network, without those of `training`.

        A multiply-add counts as two. Time is predicted from smaller steps by this number.
        """

    def sizes(self, state: CondenseState) -> Sequence[Any]:
        """Sizes of smaller steps to time in place of a whole one, each about twice the last; by default the whole."""
        return (None,)

    @contextmanager
    def reduced(self, state: CondenseState, size: Any) -> Iterator[None]:
        """Within, steps and their operations are of one of the sizes."""
        yield

    def step_bytes(self, state: CondenseState, above: Mapping[Any, float], held: float, processes: int) -> float:
        """Bytes that a whole step takes in one of the processes that share it, by those of steps of some sizes.

        A rendered image takes `held` bytes until it is sent back.
        """
        return max(above.values())

    def rendered(self, state: CondenseState) -> int:
        """Images that a step renders; all by default."""
        return len(state.container)

    def training(self, state: CondenseState) -> ImagesSeen:
        """How much networks are trained besides the steps; not at all by default."""
        return ImagesSeen()

    def train_some(self, state: CondenseState, images: int) -> int:
        """Train a network as the objective does, on about so many images in batches: how many, to time them."""
        return 0

    def state_dict(self) -> dict[str, Any]:
        """What the objective goes on from: nested dictionaries of tensors and numbers."""
        return {}

    def load_state_dict(self, saved: dict[str, Any], state: CondenseState) -> None:  # noqa: B027
        """Restore what `state_dict` gave, into an objective of the same settings."""
