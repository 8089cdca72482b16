"""What the containers besides HMN hold and cost: their sizes, tensors and ledgers, without torch.

Each is a frozen dataclass with the fields that `hmn.plan.HmnShape` has for everybody (image_shape, images_per_class,
budget), and `tensors()`: the names and shapes of everything that is stored, from which the ledger is counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, final

from hmn.errors import UserError
from hmn.frequencies import extent
from hmn.plain_shape import RivalShape
from hmn.plan import HmnShape

KERNEL = 3
"""Side of the kernels in a hallucinator (HaBa's code: distill_fac.py)."""


@final
@dataclass(frozen=True, kw_only=True)
class PixelsShape(RivalShape):
    """Free pixels: DC, DSA, DM, IDC-I, and coresets of real images."""

    kind = "pixels"
    exact_start = True
    parts: ClassVar[Mapping[str, str]] = {"pixels": "pixels"}

    def tensors(self) -> dict[str, tuple[int, ...]]:
        return {"pixels": (self.num_images, *self.image_shape)}

    def products_per_image(self) -> int:
        return 0


@final
@dataclass(frozen=True, kw_only=True)
class MosaicShape(RivalShape):
    """IDC's multi-formation: a tile of 1/factor of the side is an image, enlarged when it is used."""

    kind = "mosaic"
    exact_start = True
    parts: ClassVar[Mapping[str, str]] = {"tiles": "tiles"}

    factors: tuple[int, ...]
    """Factors in use, largest first; one, but for the bounded form."""
    tiles: tuple[tuple[int, ...], ...]
    """For each factor, the tiles of each class; images_per_class are their sums."""

    def __post_init__(self) -> None:
        super().__post_init__()
        sums = tuple(sum(counts) for counts in zip(*self.tiles, strict=True))
        if sums != self.images_per_class or len(self.tiles) != len(self.factors):
            raise UserError(f"tiles of a mosaic must add up to its images: got {sums} for {self.images_per_class}.")
        if list(self.factors) != sorted(set(self.factors), reverse=True) or min(map(min, self.tiles)) < 0:
            raise UserError(f"factors of a mosaic must be different and fall, got {self.factors}, {self.tiles}.")

    def _more_sizes(self) -> tuple[int, ...]:
        return self.factors

    def tile_size(self, factor: int) -> tuple[int, int]:
        """Height and width of a tile, rounded up where the factor does not divide the side."""
        return -(-self.image_shape[1] // factor), -(-self.image_shape[2] // factor)

    def tensors(self) -> dict[str, tuple[int, ...]]:
        return {
            f"tiles.{position}": (sum(counts), self.image_shape[0], *self.tile_size(factor))
            for position, (factor, counts) in enumerate(zip(self.factors, self.tiles, strict=True))
        }

    def products_per_image(self) -> int:
        return 0

    def with_images(self, images_per_class: int) -> MosaicShape:
        """The same with more or fewer tiles of the largest factor."""
        tiles = [list(counts) for counts in self.tiles]
        for label, before in enumerate(self.images_per_class):
            tiles[0][label] += images_per_class - before
        return replace(
            self, images_per_class=(images_per_class,) * self.num_classes, tiles=tuple(tuple(row) for row in tiles)
        )


@final
@dataclass(frozen=True, kw_only=True)
class FactorizedShape(RivalShape):
    """HaBa: every base of a class passes every hallucinator, and all classes share the hallucinators."""

    kind = "factorized"
    exact_start = True
    not_prunable = (
        "Every image of a factorized container is a pair of a base and a hallucinator that other images need as well, "
        "so taking one out frees nothing; prune a container whose images are stored one by one (hmn, pixels, mosaic, "
        "linear, inr, frequency)."
    )
    parts: ClassVar[Mapping[str, str]] = {
        "bases": "bases", "encoder_weight": "hallucinators", "encoder_bias": "hallucinators", "scale": "hallucinators",
        "shift": "hallucinators", "decoder_weight": "hallucinators", "decoder_bias": "hallucinators",
    }  # fmt: skip

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

    def _more_sizes(self) -> tuple[int, ...]:
        return self.num_hallucinators, self.base_channels

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
@dataclass(frozen=True, kw_only=True)
class LinearShape(RivalShape):
    """LinBa: bases at reduced size, shared by all classes, and coefficients for every image."""

    kind = "linear"
    parts: ClassVar[Mapping[str, str]] = {"bases": "bases", "coefficients": "coefficients"}

    num_bases: int
    downsample: int
    """An image's side over a base's, rounded down."""

    def _more_sizes(self) -> tuple[int, ...]:
        return self.num_bases, self.downsample, *self.base_size

    @property
    def base_size(self) -> tuple[int, int]:
        return self.image_shape[1] // self.downsample, self.image_shape[2] // self.downsample

    def tensors(self) -> dict[str, tuple[int, ...]]:
        return {
            "bases": (self.num_bases, self.image_shape[0], *self.base_size),
            "coefficients": (self.num_images, self.num_bases),
        }

    def products_per_image(self) -> int:
        return self.num_bases * self.image_shape[0] * math.prod(self.base_size)


@final
@dataclass(frozen=True, kw_only=True)
class InrShape(RivalShape):
    """DDiF: a small sinusoidal network (SIREN) for each image, from a pixel's place to its colour."""

    kind = "inr"
    parts: ClassVar[Mapping[str, str]] = {"weights": "networks", "biases": "networks"}

    width: int
    hidden_layers: int
    """Sinusoidal layers; one linear layer to the channels follows."""
    first_frequency: float = 30.0
    frequency: float = 10.0
    """omega_0 of the first and of the other layers (not stored: settings, not values)."""

    def _more_sizes(self) -> tuple[int, ...]:
        return self.width, self.hidden_layers

    @property
    def widths(self) -> tuple[int, ...]:
        """Values between the layers, from two coordinates to the channels."""
        return 2, *(self.width,) * self.hidden_layers, self.image_shape[0]

    def tensors(self) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {}
        pairs = list(zip(self.widths, self.widths[1:], strict=False))
        for layer, (n_in, n_out) in enumerate(pairs):
            found[f"weights.{layer}"] = (self.num_images, n_out, n_in)
        for layer, (_, n_out) in enumerate(pairs):
            found[f"biases.{layer}"] = (self.num_images, n_out)
        return found

    def products_per_image(self) -> int:
        pairs = zip(self.widths, self.widths[1:], strict=False)
        return math.prod(self.image_shape[1:]) * sum(n_in * n_out for n_in, n_out in pairs)


@final
@dataclass(frozen=True, kw_only=True)
class FrequencyShape(RivalShape):
    """After FreD: cosine coefficients for each image, at low frequencies that a rule chooses (hmn.frequencies)."""

    kind = "frequency"
    exact_start = True
    parts: ClassVar[Mapping[str, str]] = {"coefficients": "coefficients"}

    coefficients: int
    """Values of an image."""
    views: int = 1
    """2 where every image is also shown mirrored, at no further floats."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.views not in (1, 2):
            raise UserError(f"{self.views} views of an image: expected 1, or 2 with its mirror image.")
        if odd := [count for count in self.images_per_class if count % self.views]:
            raise UserError(f"{odd[0]:,} images of a class: with 2 views they come in pairs; choose an even number.")
        if not 1 <= self.coefficients <= math.prod(self.image_shape):
            raise UserError(f"{self.coefficients} coefficients: expected 1 to all of an image {self.image_shape}.")

    def tensors(self) -> dict[str, tuple[int, ...]]:
        return {"coefficients": (self.num_images // self.views, self.coefficients)}

    @property
    def copies(self) -> int:
        return self.views

    def products_per_image(self) -> int:
        (channels, height, width), (down, across) = self.image_shape, extent(self.image_shape, self.coefficients)
        return channels * down * width * (across + height)


RIVAL_SHAPES: dict[str, type[RivalShape]] = {
    shape.kind: shape for shape in (PixelsShape, MosaicShape, FactorizedShape, LinearShape, InrShape, FrequencyShape)
}
"""Shapes by the container's name."""

ContainerShape = HmnShape | RivalShape
"""The sizes of any container."""
