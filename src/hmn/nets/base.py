"""What every network here has, and the parts that they share."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, final

import torch.nn.functional as F
from torch import Tensor, nn

from hmn.errors import UserError

SMALL_SIDE = 64
"""Largest side in pixels for which the stems of ResNets and DenseNets keep the resolution."""


class Net(nn.Module, ABC):
    """Images [b, c, h, w], normalised, to logits [b, k]: `classifier` on the flat last of the `features`."""

    classifier: nn.Linear

    @abstractmethod
    def features(self, images: Tensor) -> list[Tensor]:
        """Activations after every stage, without the head; the first dimension of each is b."""

    def head(self, last: Tensor) -> Tensor:
        """Logits [b, k] from the last of the features, by its mean over positions where a network says nothing else."""
        return self.classifier(last.mean(dim=(2, 3)))

    def forward(self, images: Tensor) -> Tensor:
        """Logits [b, k]."""
        return self.head(self.features(images)[-1])


@final
class Gate(nn.Module):
    """ReLU. While recording it keeps the mask (z > 0) of each call, while replaying it returns z * mask.

    A finite difference in the weights is right only where the masks stay as they were: kinks that are crossed
    between its two points make it wrong at every step size.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mode: Literal["relu", "record", "replay"] = "relu"
        self.masks: list[Tensor] = []
        self.calls = 0

    def forward(self, z: Tensor) -> Tensor:
        """Any shape; in replay the shape of the recorded call."""
        if self.mode == "replay":
            mask = self.masks[self.calls % len(self.masks)]
            self.calls += 1
            return z * mask
        if self.mode == "record":
            self.masks.append(z.detach() > 0)
        return F.relu(z)


def gates(net: nn.Module) -> list[Gate]:
    """The gates of a network in order of definition."""
    return [module for module in net.modules() if isinstance(module, Gate)]


@contextmanager
def record_masks(net: nn.Module) -> Iterator[None]:
    """Inside, every gate keeps the mask of each of its calls, in order; those of an earlier recording go."""
    forget_masks(net)
    with _mode(net, "record"):
        yield


@contextmanager
def replay_masks(net: nn.Module) -> Iterator[None]:
    """Inside, the calls reuse the recorded masks from the first on, in order, and start over after the last. Raises
    ValueError: a gate holds no masks.
    """
    if any(not gate.masks for gate in gates(net)):
        raise ValueError("replay_masks: nothing was recorded; run the network inside record_masks first.")
    with _mode(net, "replay"):
        yield


def forget_masks(net: nn.Module) -> None:
    """Frees the recorded masks."""
    for gate in gates(net):
        gate.masks.clear()


@contextmanager
def _mode(net: nn.Module, mode: Literal["record", "replay"]) -> Iterator[None]:
    for gate in gates(net):
        gate.mode, gate.calls = mode, 0
    try:
        yield
    finally:
        for gate in gates(net):
            gate.mode, gate.calls = "relu", 0


def normalise(channels: int, norm: str) -> nn.Module:
    """Instance norm (with scale and shift) for "instance", BatchNorm for "batch".

    GroupNorm with a group per channel computes instance norm.
    """
    return nn.GroupNorm(channels, channels) if norm == "instance" else nn.BatchNorm2d(channels)


def rectified(convolution: nn.Conv2d, norm: str) -> list[nn.Module]:
    """A convolution, norm and ReLU."""
    return [convolution, normalise(convolution.out_channels, norm), Gate()]


def imagenet_stem(channels: int, width: int, norm: str) -> nn.Sequential:
    """The stem of ResNets and DenseNets for large images, which divides their sides by 4."""
    convolution = nn.Conv2d(channels, width, 7, stride=2, padding=3, bias=False)
    return nn.Sequential(*rectified(convolution, norm), nn.MaxPool2d(3, stride=2, padding=1))


def require_side(name: str, image_shape: tuple[int, int, int], least: int) -> None:
    """Refuses images whose features would vanish."""
    _, height, width = image_shape
    if min(height, width) < least:
        raise UserError(
            f"{name} needs images of at least {least}x{least} pixels and got {height}x{width}: "
            "take a shallower network (convnet2, convnet3) or larger images."
        )


def embedding(net: Net, images: Tensor) -> Tensor:
    """What the network's classifier takes, [b, features]: after the last pooling, flattened."""
    taken: list[Tensor] = []
    hook = net.classifier.register_forward_pre_hook(lambda module, inputs: taken.append(inputs[0]))
    try:
        net(images)
    finally:
        hook.remove()
    return taken[0].flatten(1)
