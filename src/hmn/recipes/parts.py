"""What recipes are made from: the data that one is fitted to, its networks, DSA's augmentation, rates in pixels."""

from dataclasses import dataclass
from typing import Any, final

from hmn.recipes.settings import AugmentConfig, EvaluateConfig, NetworkConfig, Recipe, StartConfig

DSA = AugmentConfig(strategy="color_crop_cutout_flip_scale_rotate", at_once="one")
"""One operation a call, with DSA's strengths. Source: VICO-UoE/DatasetCondensation utils.py: ParamDiffAug."""
NO_AUGMENT = AugmentConfig(strategy="none")
FROM_REAL, FROM_NOISE = StartConfig(kind="real"), StartConfig(kind="noise")


@final
@dataclass(frozen=True, kw_only=True)
class Fitted:
    """The data and the budget that a recipe is fitted to."""

    dataset: str
    """Its name, which decides where a method's settings differ between data sets."""
    ipc: int
    """Images per class in budget."""
    image_shape: tuple[int, int, int]
    """Channels, height, width: small images take shallower networks, large ones ResNetAP-10."""
    num_classes: int = 10
    """With `ipc` it gives DC's batches and MTT's."""
    std: tuple[float, ...] = (0.25,)
    """Standard deviation of the pixels by which images are normalised, per channel."""

    @property
    def side(self) -> int:
        """The shorter side of an image, in pixels."""
        return min(self.image_shape[1:])


def column(ipc: int) -> int:
    """Which of the published budgets holds: 0 for 1, 1 for up to 10, 2 for more images a class."""
    return 0 if ipc <= 1 else 1 if ipc <= 10 else 2


def in_pixels(lr: float, fitted: Fitted) -> float:
    """A published learning rate of SGD on normalised images as one on pixels in [0, 1], to two digits.

    With x = (p - m) / s, a step of p with rate r is one of x with rate r / s^2: the published rate times s^2, averaged
    over the channels.
    """
    return float(f"{lr * sum(s * s for s in fitted.std) / len(fitted.std):.2g}")


def network_name(fitted: Fitted) -> str:
    """ConvNet-3 below 64 pixels, ConvNet-4 from there and ResNetAP-10 from 96, as the literature has them.

    Below 16 pixels ConvNet-2: a third pooling would leave less than 2x2 positions.
    """
    if fitted.side >= 96:
        return "resnetap10"
    if fitted.side >= 64:
        return "convnet4"
    return "convnet3" if fitted.side >= 16 else "convnet2"


def untrained(fitted: Fitted) -> NetworkConfig:
    """Networks as they are drawn, of their own width: nothing trains them."""
    return NetworkConfig(name=network_name(fitted), width=None, update_batches=0, cutmix_probability=0.0)


def made(name: str, fitted: Fitted, *, protocol: str, **more: Any) -> Recipe:
    """A recipe that is tested by a protocol, with networks of the data's size; the rest of it is given."""
    net = network_name(fitted)
    tested = EvaluateConfig(net=net, width=64 if net == "convnet2" else None, protocol=protocol)
    return Recipe(name=name, ipc=fitted.ipc, evaluate=tested, **more)
