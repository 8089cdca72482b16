"""HaBa: bases of each class pass through hallucinators that all classes share; every pair is an image."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hmn.containers.container import Container, shown
from hmn.containers.shape import Budget, Shape
from hmn.errors import UserError

HALLUCINATORS = 5
"""Hallucinators of HaBa (its scripts: --n_style=5)."""
_SHARED = ("encoder_weight", "encoder_bias", "scale", "shift", "decoder_weight", "decoder_bias")

KERNEL = 3
"""Side of the kernels in a hallucinator (HaBa's code: distill_fac.py)."""


@final
@dataclass(frozen=True, kw_only=True)
class FactorizedShape(Shape):
    """HaBa: every base of a class passes every hallucinator, and all classes share the hallucinators."""

    words = "bases and hallucinators"
    source = "Container: of HaBa, [arXiv:2210.16774](https://arxiv.org/abs/2210.16774)"
    exact_start = True
    not_prunable = (
        "Every image of a factorized container is a pair of a base and a hallucinator that other images need as well, "
        "so taking one out frees nothing; prune a container whose images are stored one by one (hmn, pixels, mosaic, "
        "linear, inr, frequency)."
    )
    parts: ClassVar[Mapping[str, str]] = dict.fromkeys(_SHARED, "hallucinators")

    num_hallucinators: int
    base_channels: int
    """As many as an image's, or 1: HaBa's variant of more, grey bases."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(count % self.num_hallucinators for count in self.images_per_class):
            raise UserError(
                f"images of a factorized container are bases times hallucinators: {self.images_per_class} images are "
                f"not a multiple of {self.num_hallucinators} in every class."
            )
        if min(self.image_shape[1:]) < KERNEL:
            raise UserError(f"a factorized container needs images of at least {KERNEL}x{KERNEL} pixels.")

    @classmethod
    def plan(cls, budget: Budget) -> Self:
        """Bases of full depth with five hallucinators, as published; where those do not fit, what gives most images.

        HaBa does not count its hallucinators; here they count, and at 1 IPC of CIFAR-10 (30,720 floats) the published
        27,840 floats of hallucinators leave no room for ten bases. Then the bases are grey (HaBa's --single_channel)
        and the hallucinators as many as give the most images.
        """
        depth = budget.image_shape[0]
        sizes = [(channels, count) for channels in (depth, 1) for count in range(HALLUCINATORS, 0, -1)]
        fitting = cls._filled(
            cls._for(budget, count, num_hallucinators=count, base_channels=channels) for channels, count in sizes
        )
        if (fitting[0].base_channels, fitting[0].num_hallucinators) == sizes[0]:
            return fitting[0]
        return max(fitting, key=lambda shape: (shape.num_images, shape.base_channels))

    @property
    def bases_per_class(self) -> tuple[int, ...]:
        return tuple(count // self.num_hallucinators for count in self.images_per_class)

    def tensors(self) -> dict[str, tuple[int, ...]]:
        channels, height, width = self.image_shape
        count = self.num_hallucinators
        inner = (count, channels, height - KERNEL + 1, width - KERNEL + 1)
        return {
            "bases": (sum(self.bases_per_class), self.base_channels, height, width),
            "encoder_weight": (count, channels, self.base_channels, KERNEL, KERNEL),
            "encoder_bias": (count, channels),
            "scale": inner,
            "shift": inner,
            "decoder_weight": (count, channels, channels, KERNEL, KERNEL),
            "decoder_bias": (count, channels),
        }

    def products_per_image(self) -> int:
        channels, height, width = self.image_shape
        return (self.base_channels + channels) * channels * KERNEL**2 * (height - KERNEL + 1) * (width - KERNEL + 1)


@final
class Factorized(Container):
    """Image i of a class is hallucinator i mod H of base i div H, in normalised units, as pixels in [0, 1].

    A hallucinator is a 3x3 convolution without padding, a scale and a shift for every value, and a transposed
    convolution back to the size of the image: 5,568 floats at 32 pixels and 3 channels.

    Source: HaBa (arXiv:2210.16774) and its code (utils.py: StyleTranslator; distill_fac.py). Deviations: the
    hallucinators count in the ledger, so that fewer or grey bases fit (its plan); what is shown is clamped to
    [0, 1]. Its adversarial contrastive term belongs to the objective, not to this container.
    """

    shape_class = FactorizedShape
    shape: FactorizedShape
    bases: nn.Parameter
    encoder_weight: nn.Parameter
    encoder_bias: nn.Parameter
    scale: nn.Parameter
    shift: nn.Parameter
    decoder_weight: nn.Parameter
    decoder_bias: nn.Parameter

    def _first_values(self, name: str, size: tuple[int, ...], generator: torch.Generator) -> Tensor:
        if name == "bases":
            return torch.randn(size, generator=generator)
        if name in ("scale", "shift"):
            return torch.full(size, 1.0 if name == "scale" else 0.0)
        # torch's own initialisation of convolutions, from which HaBa starts; the fan is of one output's inputs.
        part, channels = name.split("_")[0], self.image_shape[0]
        fan = 9 * (self.shape.base_channels if part == "encoder" else channels)
        return (2 * torch.rand(size, generator=generator) - 1) / math.sqrt(fan)

    def _rows_of(self, name: str, images: Tensor) -> Tensor | None:
        return (images // self.shape.num_hallucinators).unique() if name == "bases" else None

    def images(self, index: Tensor) -> Tensor:
        count = self.shape.num_hallucinators
        bases = self.bases[index // count]
        which = index.cpu() % count
        order, parts = [], []
        for number in range(count):
            chosen = (which == number).nonzero()[:, 0]
            order.append(chosen)
            parts.append(self._hallucinated(bases[chosen.to(bases.device)], number))
        return shown(torch.cat(parts)[torch.cat(order).argsort().to(index.device)], self.normalisation)

    def _hallucinated(self, bases: Tensor, number: int) -> Tensor:
        """Bases [b, c, h, w] through one hallucinator."""
        if not len(bases):
            return bases.expand(0, *self.image_shape)  # in the graph: the share of a process may be empty
        # CPU kernels round a batch of one differently: two keep every image's bits the same.
        batch = bases.repeat(2, 1, 1, 1) if len(bases) == 1 else bases
        hidden = F.conv2d(batch, self.encoder_weight[number], self.encoder_bias[number])
        hidden = hidden * self.scale[number] + self.shift[number]
        images = F.conv_transpose2d(hidden, self.decoder_weight[number], self.decoder_bias[number])
        return images[: len(bases)]

    def start_from(self, targets: Tensor) -> bool:
        """Take real images as the bases, as HaBa does, the first for each; the images that it shows are others."""
        bases = self.normalisation.apply(targets[:: self.shape.num_hallucinators])
        if self.shape.base_channels == 1:
            bases = bases.mean(dim=1, keepdim=True)
        self.bases.data.copy_(bases)
        return True
