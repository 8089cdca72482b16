"""What every container is: a learned source of labelled images with a ledger; and the way from its values to pixels."""

import copy
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hmn.containers.shape import Ledger, Shape
from hmn.data.source import Normalisation
from hmn.errors import UserError
from hmn.recipes.kinds import CONTAINERS

RENDER_CHUNK = 2048
"""Images decoded at a time when a whole container is rendered: bounds memory, large enough for full speed."""


class Container(nn.Module, ABC):
    """A learned source of images: differentiable in its parameters, countable, class by class in order.

    Its parameters are the tensors of its shape, by their names. A parameter either has rows that belong to single
    images (or to groups of images of one class), or is shared by all images.
    """

    shape_class: ClassVar[type[Shape]]
    """The class of its sizes."""
    holds_pixels: ClassVar[bool] = False
    """Whether its parameters are pixels, which are stored as they are seen: in [0, 1]."""
    shape: Shape
    labels: Tensor
    """int64 [n], one per generated image, in ascending order."""
    class_names: tuple[str, ...]
    normalisation: Normalisation
    is_part = False
    """Whether it holds the share of one process of several (`part`)."""

    def __init__(
        self,
        shape: Shape,
        *,
        class_names: tuple[str, ...],
        normalisation: Normalisation,
        generator: torch.Generator | None = None,
        stored: bool = False,
    ) -> None:
        """A fresh container with first values from `generator`, or in the form that is `stored`, to load values into.

        The shape is of this container's kind, and the normalisation the real data's.
        """
        super().__init__()
        if len(class_names) != shape.num_classes:
            raise ValueError(f"{len(class_names)} class names for {shape.num_classes} classes: expected one for each.")
        self.shape, self.class_names, self.normalisation, self.stored = shape, class_names, normalisation, stored
        self.register_buffer("labels", _class_labels(shape.images_per_class), persistent=False)
        generator = generator or torch.Generator().manual_seed(0)
        for name, size in shape.tensors().items():
            self._set(name, torch.empty(size) if stored else self._first_values(name, size, generator))
        self._prepare()

    def _set(self, name: str, values: Tensor) -> None:
        """Parameter `name` anew; what stands before a dot in it is a module that holds parameters."""
        *groups, last = name.split(".")
        module: nn.Module = self
        for group in groups:
            if group not in dict(module.named_children()):
                module.add_module(group, nn.Module())
            module = module.get_submodule(group)
        module.register_parameter(last, nn.Parameter(values))

    def _prepare(self) -> None:
        """Add what rendering needs besides the parameters."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width of a generated image."""
        return self.shape.image_shape

    @property
    def copies(self) -> int:
        """Images that share all that is stored of them (`Shape.copies`)."""
        return self.shape.copies

    def ledger(self) -> Ledger:
        """Floats and bytes, part by part."""
        return self.shape.ledger()

    @abstractmethod
    def _first_values(self, name: str, size: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Values that parameter `name` begins with."""

    @abstractmethod
    def _rows_of(self, name: str, images: Tensor) -> Tensor | None:
        """Rows of parameter `name` that these images (ordered, on the CPU) need; None for one that all share."""

    @abstractmethod
    def images(self, index: Tensor) -> Tensor:
        """Images at `index` [b], float32 [b, c, h, w] in [0, 1], differentiable in the parameters."""

    def start_from(self, targets: Tensor) -> bool:
        """Take over these images [n, c, h, w] in [0, 1], one for each of its own; False where they must be fitted."""
        return False

    def finalised(self) -> Self:
        """The container in a form in which every image is independent of the others, ready to be stored."""
        final = copy.deepcopy(self)
        if self.holds_pixels:
            for pixels in final.parameters():
                pixels.data.clamp_(0, 1)
        return final

    def render_all(self) -> Tensor:
        """Every image, float32 [n, c, h, w] in [0, 1], without gradients."""
        device = self.labels.device
        with torch.inference_mode():
            chunks = torch.arange(len(self), device=device).split(RENDER_CHUNK)
            images = [self.images(chunk) for chunk in chunks]
            return images[0] if len(images) == 1 else torch.cat(images)

    def rows(self, name: str, classes: range) -> slice | None:
        """Rows of parameter `name` that only the images of these classes need; None for one that all images share."""
        images = self._images_of(classes)
        before = self._rows_of(name, torch.arange(images.start))
        own = self._rows_of(name, torch.arange(images.start, images.stop))
        return None if before is None or own is None else slice(len(before), len(before) + len(own))

    def part(self, classes: range) -> Self:
        """A copy with the rows of these classes alone, numbered from 0, and all that is shared, for one process.

        The processes' parts make up the container: what depends on the images rendered together, such as BatchNorm,
        takes in those that all of them render at the same time, so that rendering a part is collective
        (hmn.runtime.processes).
        """
        images = self._images_of(classes)
        part = self._with(torch.arange(images.start, images.stop), classes)
        part.is_part = True
        return part

    def keep(self, index: Tensor) -> Self:
        """A smaller copy that holds the images at `index` [k]; the pixels of a finalised one's do not change.

        Raises:
            ValueError: the index is empty, repeats an image, leaves the range or a class without images.
            UserError: the container cannot be pruned image by image (`Shape.not_prunable`).
        """
        if self.shape.not_prunable is not None:
            raise UserError(self.shape.not_prunable)
        refused, ordered = f"cannot keep {index.tolist()[:8]}...", index.cpu().sort().values
        if not len(index) or ordered[0] < 0 or ordered[-1] >= len(self) or len(ordered.unique()) != len(index):
            raise ValueError(f"{refused}: expected distinct images in 0..{len(self) - 1}.")
        whole = (ordered[:: self.copies] // self.copies * self.copies)[:, None] + torch.arange(self.copies)
        if not torch.equal(ordered, whole.flatten()):
            raise ValueError(f"{refused}: expected all {self.copies} views of each image.")
        # What is left must have an image of every class.
        counts = self.labels.cpu()[ordered].bincount(minlength=len(self.class_names)).tolist()
        if 0 in counts:
            empty = self.class_names[counts.index(0)]
            raise ValueError(f"keeping these images leaves class {empty!r} without any: keep at least one of each.")
        return self._with(ordered, range(self.shape.num_classes))

    def _images_of(self, classes: range) -> range:
        """Where the images of these classes lie among all, class by class."""
        counts = self.shape.images_per_class
        return range(sum(counts[: classes.start]), sum(counts[: classes.stop]))

    def _with(self, images: Tensor, classes: range) -> Self:
        """A copy with the images at `images` (ordered) alone, all of these classes, numbered from 0."""
        smaller = copy.deepcopy(self)
        smaller.shape = self._shape_with(images, classes)
        smaller.class_names = self.class_names[classes.start : classes.stop]
        for name, values in self.named_parameters():
            if (rows := self._rows_of(name, images)) is not None:
                smaller._set(name, values.detach()[rows.to(values.device)].clone())
        smaller.labels = _class_labels(smaller.shape.images_per_class).to(self.labels.device)
        return smaller

    def _shape_with(self, images: Tensor, classes: range) -> Shape:
        """The shape with these images alone."""
        labels = self.labels.cpu()[images] - classes.start
        counts = torch.bincount(labels, minlength=len(classes))
        return replace(self.shape, images_per_class=tuple(counts.tolist()))


def _class_labels(images_per_class: tuple[int, ...]) -> Tensor:
    """int64 [n]: 0 as often as the first number says, and so on."""
    return torch.arange(len(images_per_class)).repeat_interleave(torch.tensor(images_per_class))


def container_class(name: str) -> type[Container]:
    """The container of a name, or an error that lists them."""
    found: type[Container] = CONTAINERS.load(name)
    return found


def clamped(values: Tensor) -> Tensor:
    """`values` clamped to [0, 1].

    Outside, the gradient passes only where descending along it leads back into the range: with a plain clamp's zero
    gradient a value that has once left it would stay there for ever.
    """
    return _Clamp.apply(values)


def shown(values: Tensor, normalisation: Normalisation) -> Tensor:
    """Normalised images [b, c, h, w], as the published containers hold them, as pixels in [0, 1]."""
    mean, std = (torch.tensor(v, dtype=values.dtype, device=values.device).view(1, -1, 1, 1) for v in normalisation)
    return clamped(values * std + mean)


def resized(images: Tensor, size: tuple[int, ...], *, antialias: bool = False) -> Tensor:
    """Images [b, c, h, w] at another size, bilinearly, as IDC's and LinBa's codes enlarge; no images stay none."""
    if images.shape[2:] == size:
        return images
    if not len(images):  # the share of a process may be empty, which F.interpolate does not take
        return images[:, :, :1, :1].expand(-1, -1, *size)
    return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=antialias)


class _Clamp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.save_for_backward(values)
        return values.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (values,) = ctx.saved_tensors
        inward = ((values >= 0) | (grad < 0)) & ((values <= 1) | (grad > 0))
        return grad * inward
