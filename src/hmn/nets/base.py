"""What every network here has, and the parts that they share."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from hmn.errors import UserError


class Net(nn.Module, ABC):
    """Images [b, c, h, w], normalised, to logits [b, k]: `classifier` on the flat last of the `features`."""

    classifier: nn.Linear

    @abstractmethod
    def features(self, images: Tensor) -> list[Tensor]:
        """Activations after every stage, without the head; the first dimension of each is b."""

    @abstractmethod
    def head(self, last: Tensor) -> Tensor:
        """Logits [b, k] from the last of the features."""

    def forward(self, images: Tensor) -> Tensor:
        """Logits [b, k]."""
        return self.head(self.features(images)[-1])


def normalise(channels: int, norm: str) -> nn.Module:
    """Instance norm (with scale and shift) for "instance", BatchNorm for "batch".

    GroupNorm with a group per channel computes instance norm.
    """
    return nn.GroupNorm(channels, channels) if norm == "instance" else nn.BatchNorm2d(channels)


def require_side(name: str, image_shape: tuple[int, int, int], least: int) -> None:
    """Refuses images whose features would vanish.

    Raises:
        UserError: a side of the image is below `least` pixels.
    """
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
