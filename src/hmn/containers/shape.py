"""What the sizes of a container say: the tensors that it stores, what they count, and how they are chosen."""

from __future__ import annotations

import inspect
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Self

from hmn.errors import UserError
from hmn.recipes.kinds import CONTAINERS

FLOAT_BYTES = 4
BITS_PER_VALUE = {"float32": 32, "float16": 16, "int8": 8, "int4": 4}


def bytes_of(values: int, dtype: str) -> int:
    """Bytes of so many values, whole ones, without scales."""
    return (values * BITS_PER_VALUE[dtype] + 7) // 8


class LedgerPart(NamedTuple):
    """One part of a container: floats in the field's account, and floats that its file holds."""

    name: str
    num_floats: int
    stored_floats: int


class Ledger(NamedTuple):
    """Everything that generating the images needs, part by part, against the budget in floats."""

    parts: tuple[LedgerPart, ...]
    budget: int

    @property
    def num_floats(self) -> int:
        """Floats in the field's account (BatchNorm weights counted)."""
        return sum(part.num_floats for part in self.parts)

    @property
    def stored_floats(self) -> int:
        """Floats in the finalised file, where BatchNorm is folded into the layer before it."""
        return sum(part.stored_floats for part in self.parts)

    def num_bytes(self, dtype: str = "float32") -> int:
        """Bytes of the stored values at `dtype`, a key of `BITS_PER_VALUE` (scales come on top)."""
        return bytes_of(self.stored_floats, dtype)

    def check(self) -> None:
        """Refuse a container over its budget. Raises UserError: more floats than the budget, with the excess named."""
        if (excess := self.num_floats - self.budget) > 0:
            raise UserError(
                f"the container needs {self.num_floats:,} floats, {excess:,} more than the budget of {self.budget:,}: "
                "store fewer images, or raise --ipc."
            )


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a container is planned for: a data set as far as sizes go, and the floats that may be used."""

    num_classes: int
    image_shape: tuple[int, int, int]
    """Channels, height, width."""
    floats: int
    data: str = ""
    """Name of the data set, for which sizes may be published."""
    real_per_class: int | None = None
    """Real training images of the smallest class, if known."""

    def __post_init__(self) -> None:
        if self.num_classes < 2 or self.image_shape[0] not in (1, 3):
            raise UserError(
                f"cannot plan for {self.num_classes} classes of {self.image_shape} images: "
                "expected at least 2 classes and 1 or 3 channels."
            )

    @classmethod
    def of_images(cls, ipc: int, num_classes: int, image_shape: tuple[int, int, int], **more: Any) -> Budget:
        """The floats of `ipc` real images a class; `more` are further fields."""
        floats = num_classes * ipc * math.prod(image_shape)
        return cls(num_classes=num_classes, image_shape=image_shape, floats=floats, **more)

    @property
    def ipc(self) -> float:
        """Real images a class that have as many floats."""
        return self.floats / (self.num_classes * math.prod(self.image_shape))


class PlannedSize(NamedTuple):
    """A size that a plan chooses where --sizes does not give it."""

    default: int | None
    """The plan's own choice; None for one that depends on the budget."""
    help: str


@dataclass(frozen=True, kw_only=True)
class Shape(ABC):
    """The sizes of a container, whose every stored value is in a plain tensor with a name."""

    kind: ClassVar[str]
    """Name of the container, which is that of its file."""
    words: ClassVar[str]
    """What generates the images, for the card."""
    source: ClassVar[str]
    """Where the container is from, for the card, in Markdown."""
    parts: ClassVar[Mapping[str, str]] = {}
    """The ledger's line that a tensor is counted in, by its name up to the first dot, where it is not that name."""
    exact_start: ClassVar[bool] = False
    """Whether real images are taken over at the start: as they are, as bases, or their low frequencies."""
    not_prunable: ClassVar[str | None] = None
    """Why single images cannot be taken out, as a whole sentence for people; None where they can."""
    not_learned_as_stored: ClassVar[str | None] = None
    """Why values cannot be learned as a file rounds them; None where they can."""
    storing: ClassVar[str] = ""
    """What storing does to the values besides rounding, as a sentence of the card."""
    format_version: ClassVar[int] = 2
    """The oldest version of the file's format that holds such a container."""
    added: ClassVar[tuple[str, ...]] = ()
    """Fields that older files lack: their defaults are what those hold."""

    image_shape: tuple[int, int, int]
    """Channels, height, width of a generated image."""
    images_per_class: tuple[int, ...]
    """Generated images of each class; its length is the number of classes."""
    budget: int
    """Floats that may be used."""

    def __init_subclass__(cls) -> None:
        cls.kind = cls.__dict__.get("kind", cls.__module__.rpartition(".")[2])

    def __reduce__(self) -> tuple[Any, ...]:
        # By name: another process may not have imported the file of a container from elsewhere yet.
        return _restored, (self.kind, vars(self))

    def __post_init__(self) -> None:
        sizes = (*self.images_per_class, *self.image_shape, *self._least_one())
        if not self.images_per_class or min(sizes) < 1 or self.image_shape[0] not in (1, 3):
            raise UserError(f"every size of a container must be at least 1, with 1 or 3 image channels; got {self}.")

    def _least_one(self) -> tuple[int, ...]:
        """Further sizes that must be at least 1: whole numbers, and tuples of them."""
        tuples = (value if isinstance(value, tuple) else (value,) for value in self._own().values())
        return tuple(size for sizes in tuples for size in sizes if type(size) is int)

    def _own(self) -> dict[str, Any]:
        """The fields that only a container of this kind has."""
        return {name: value for name, value in vars(self).items() if name not in Shape.__dataclass_fields__}

    @classmethod
    @abstractmethod
    def plan(cls, budget: Budget) -> Self:
        """Published sizes, else planned ones; further keyword arguments are this container's --sizes, whole numbers.

        Raises:
            UserError: not one image of each class fits, or sizes that cannot be.
        """

    @classmethod
    def planned_sizes(cls) -> dict[str, PlannedSize]:
        """The --sizes of this container, by name: the arguments of its plan besides the budget."""
        arguments = list(inspect.signature(cls.plan).parameters.values())[1:]
        lines = re.findall(r"^ +(\w+): (.*(?:\n {8}.*)*)", inspect.getdoc(cls.plan) or "", re.MULTILINE)
        texts = {name: " ".join(text.split()) for name, text in lines}
        return {each.name: PlannedSize(each.default, texts.get(each.name, "")) for each in arguments}

    @classmethod
    def _for(cls, budget: Budget, images: int = 1, **sizes: Any) -> Self:
        """A shape for a budget, with so many images of every class."""
        each = (images,) * budget.num_classes
        return cls(image_shape=budget.image_shape, images_per_class=each, budget=budget.floats, **sizes)

    @classmethod
    def _filled(cls, candidates: Iterable[Self]) -> list[Self]:
        """The candidates, each with the fewest images, that fit the budget, with as many images as it holds. Raises
        UserError: none fits.
        """
        leanest = [(lean.ledger().num_floats, lean) for lean in candidates]
        found = []
        for floats, lean in leanest:
            if floats <= lean.budget:
                images = lean.images_per_class[0]
                each = lean.with_images(2 * images).ledger().num_floats - floats
                found.append(lean.with_images(images * ((lean.budget - floats) // each + 1)))
        if not found:
            needed, lean = min(leanest, key=lambda pair: pair[0])
            raise UserError(
                f"a budget of {lean.budget:,} floats cannot hold a container of kind {cls.kind} for {lean.num_classes} "
                f"classes of {lean.image_shape} images, which needs at least {needed:,}: raise --ipc."
            )
        return found

    @abstractmethod
    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor that generating the images needs, in the order of the parameters."""

    @abstractmethod
    def products_per_image(self) -> int:
        """Multiply-adds of rendering one image, in convolutions and matrix products."""

    def shared_products(self) -> int:
        """Multiply-adds of what images that are rendered together share."""
        return 0

    @property
    def num_classes(self) -> int:
        return len(self.images_per_class)

    @property
    def num_images(self) -> int:
        return sum(self.images_per_class)

    @property
    def copies(self) -> int:
        """Images that share all that is stored of them: they lie one after the other and are pruned together."""
        return 1

    def images_each(self) -> int | list[int]:
        """Generated images of each class: one number where it is the same for all."""
        return in_short(self.images_per_class)

    def with_images(self, images_per_class: int) -> Self:
        """The same sizes with another number of images in every class."""
        return replace(self, images_per_class=(images_per_class,) * self.num_classes)

    def folded(self) -> dict[str, int]:
        """Floats by part that the field counts, and that are folded into others when the container is stored."""
        return {}

    def ledger(self) -> Ledger:
        """Floats by part."""
        stored: dict[str, int] = {}
        for name, size in self.tensors().items():
            part = self.parts.get(stem := name.split(".")[0], stem)
            stored[part] = stored.get(part, 0) + math.prod(size)
        folded = self.folded()
        parts = (LedgerPart(part, count + folded.get(part, 0), count) for part, count in stored.items())
        return Ledger(tuple(parts), self.budget)

    def over_budget(self, data: str, ipc: int) -> int | None:
        """Images a class to condense before pruning, where they are published for these sizes."""
        return None

    def origin(self, data: str, ipc: int) -> str:
        """Where these sizes, which `plan` chose, come from."""
        return "published or planned for the budget: docs/methods.md"

    def facts(self) -> dict[str, Any]:
        """The sizes that only a container of this kind has, as JSON shows them."""
        return self._own()

    def in_words(self) -> str:
        """What the images are made of."""
        each = ", ".join(f"{name} {' x '.join(map(str, size))}" for name, size in self.tensors().items())
        return f"{self.kind}: {each}"

    def why(self) -> str:
        """The rule of `plan` in words, with these numbers."""
        return f"as many images as the budget holds: {self.in_words()}"


def in_short(counts: Sequence[int]) -> int | list[int]:
    """Images of each class: one number where it is the same for all."""
    return counts[0] if len({*counts}) == 1 else list(counts)


def _restored(kind: str, sizes: Mapping[str, Any]) -> Shape:
    """The shape of a container's name."""
    found: Shape = CONTAINERS.load(kind).shape_class(**sizes)
    return found
