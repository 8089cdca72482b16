"""Loading an artifact: `hmn.load` gives its images, `hmn.load_container` the container itself.

Needs torch, numpy and safetensors. container.safetensors is enough; a ledger.json beside it adds the checksum.
"""

from __future__ import annotations

import math
import os

import safetensors
import safetensors.torch
import torch
from torch import Tensor
from torch.utils.data import Dataset

from hmn.containers.artifact.format import MAX_FLOATS, ArtifactInfo
from hmn.containers.artifact.read import read
from hmn.containers.choose import container_class
from hmn.containers.container import Container
from hmn.containers.quantise import decode
from hmn.errors import UserError


class CondensedImages(Dataset[tuple[Tensor, int]]):
    """The images of a stored container, rendered once: a map-style Dataset of (image, label), and a Source.

    An image is float32 [c, h, w] in [0, 1], or normalised per channel with `normalise`; a label is an int.
    """

    def __init__(self, container: Container, *, normalise: bool = False) -> None:
        # A clone, because tensors made in inference mode cannot be trained on.
        self.pixels = container.render_all().clone()
        """float32 [n, c, h, w] in [0, 1], whether or not items are normalised."""
        self.labels = container.labels.clone()
        """int64 [n], class by class."""
        self.class_names = container.class_names
        self.normalisation = container.normalisation
        self.normalise = normalise

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.pixels[index]
        if self.normalise:
            image = self.normalisation.apply(image[None])[0]
        return image, int(self.labels[index])

    def images(self, index: Tensor) -> Tensor:
        """Images at `index` [b], float32 [b, c, h, w] in [0, 1]."""
        return self.pixels[index]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = self.pixels.shape[1:]
        return channels, height, width


def load(path: str | os.PathLike[str], *, normalise: bool = False) -> CondensedImages:
    """The images of an artifact, given its folder or its container.safetensors, as a torch map-style Dataset.

    Args:
        path: the folder that `hmn condense` wrote, or the file in it.
        normalise: items are shifted and scaled per channel by the real data's mean and standard deviation.

    Raises:
        UserError: nothing there, not an artifact, from a newer version, damaged, or absurdly large.
    """
    found, content = read(path)
    values = found.shape.num_images * math.prod(found.shape.image_shape)
    if values > MAX_FLOATS:
        raise UserError(
            f"{path}: rendering all images takes {values:,} values, more than the limit of "
            f"{MAX_FLOATS:,}: use hmn.load_container and render in parts."
        )
    images = CondensedImages(_container(found, content), normalise=normalise)
    if not bool(torch.isfinite(images.pixels).all()):
        raise UserError(f"{path}: its values render pixels that are not finite: the file is damaged, fetch it again.")
    return images


def load_container(path: str | os.PathLike[str]) -> Container:
    """The finalised container of an artifact, in float32 on the CPU.

    Raises:
        UserError: as for `load`.
    """
    return _container(*read(path))


def info(path: str | os.PathLike[str]) -> ArtifactInfo:
    """What an artifact holds, from its header and checksum, without building the container.

    Raises:
        UserError: as for `load`.
    """
    return read(path)[0]


def _container(found: ArtifactInfo, content: bytes) -> Container:
    """The container from bytes whose header has been checked."""
    try:
        stored = safetensors.torch.load(content)
    except safetensors.SafetensorError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{found.path}: the file is damaged ({reason}): fetch it again.") from None
    state = decode(stored, found.shape.tensors())
    for name in sorted(state):
        if not bool(torch.isfinite(state[name]).all()):
            raise UserError(f"{found.path}: tensor {name!r} holds values that are not finite: fetch the file again.")
    make = container_class(found.shape.kind)
    container = make(found.shape, class_names=found.class_names, normalisation=found.normalisation, stored=True)
    container.load_state_dict(state)
    return container
