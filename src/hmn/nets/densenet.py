"""DenseNet-121 with a stem for small images."""

from typing import final

import torch
from torch import Tensor, nn

from hmn.nets.base import SMALL_SIDE, Gate, Net, imagenet_stem, normalise, rectified, require_side

_LAYERS_121 = (6, 12, 24, 16)


@final
class DenseLayer(nn.Module):
    """norm, ReLU, 1x1 convolution, norm, ReLU, 3x3 convolution; its output is appended to its input."""

    def __init__(self, channels: int, growth: int, norm: str) -> None:
        super().__init__()
        narrow = nn.Conv2d(channels, 4 * growth, 1, bias=False)
        last = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)
        self.new = nn.Sequential(normalise(channels, norm), Gate(), *rectified(narrow, norm), last)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.new(x)], dim=1)


@final
class DenseNet(Net):
    """DenseNet-121: blocks of 6, 12, 24 and 16 layers, halved in channels and size between blocks.

    Up to 64 pixels the stem is one 3x3 convolution without pooling, above it is ImageNet's.

    Source: arXiv:1608.06993.
    """

    def __init__(self, growth: int, num_classes: int, image_shape: tuple[int, int, int], *, norm: str) -> None:
        super().__init__()
        require_side("densenet121", image_shape, 16 if norm == "instance" else 8)
        channels = 2 * growth
        if min(image_shape[1:]) <= SMALL_SIDE:
            self.stem: nn.Module = nn.Conv2d(image_shape[0], channels, 3, padding=1, bias=False)
        else:
            self.stem = imagenet_stem(image_shape[0], channels, norm)
        # Blocks of layers that each append `growth` channels; between blocks, half of the channels at half the side.
        self.stages = nn.ModuleList()
        for stage, count in enumerate(_LAYERS_121):
            layers: list[nn.Module] = []
            if stage:
                narrow = nn.Conv2d(channels, channels // 2, 1, bias=False)
                layers += [normalise(channels, norm), Gate(), narrow, nn.AvgPool2d(2)]
                channels //= 2
            layers += [DenseLayer(channels + layer * growth, growth, norm) for layer in range(count)]
            channels += count * growth
            if stage == len(_LAYERS_121) - 1:
                layers += [normalise(channels, norm), Gate()]
            self.stages.append(nn.Sequential(*layers))
        self.classifier = nn.Linear(channels, num_classes)

    def features(self, images: Tensor) -> list[Tensor]:
        """After the stem and after each of the four blocks."""
        return [images := part(images) for part in (self.stem, *self.stages)]
