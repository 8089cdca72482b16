"""ResNetAP-10 (IDC's network for ImageNet) and ResNet-18."""

import math
from typing import final

from torch import Tensor, nn

from hmn.nets.base import SMALL_SIDE, Gate, Net, imagenet_stem, normalise, rectified, require_side

MIDDLE_SIDE = 128
"""Largest side in pixels for which ResNetAP's stem halves the resolution only."""


@final
class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; `pool` halves by average pooling, otherwise strides do."""

    def __init__(self, channels: int, out_channels: int, *, stride: int, norm: str, pool: bool) -> None:
        super().__init__()
        step, halve = (1, nn.AvgPool2d(stride)) if pool and stride > 1 else (stride, nn.Identity())
        first = nn.Conv2d(channels, out_channels, 3, stride=step, padding=1, bias=False)
        second = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.main = nn.Sequential(*rectified(first, norm), halve, second, normalise(out_channels, norm))
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or channels != out_channels:
            narrow = nn.Conv2d(channels, out_channels, 1, stride=step, bias=False)
            self.shortcut = nn.Sequential(narrow, halve, normalise(out_channels, norm))
        self.gate = Gate()

    def forward(self, x: Tensor) -> Tensor:
        return self.gate(self.main(x) + self.shortcut(x))


@final
class ResNet(Net):
    """A stem, four stages of `blocks` basic blocks (w, 2w, 4w, 8w channels; all but the first halve), a mean."""

    def __init__(
        self, stem: nn.Module, blocks: int, *, width: int, num_classes: int, norm: str, pool: bool = False
    ) -> None:
        super().__init__()
        self.stem = stem
        self.stages = nn.ModuleList()
        channels = width
        for stage_number in range(4):
            stage = nn.Sequential()
            for block in range(blocks):
                stride = 2 if stage_number and block == 0 else 1
                stage.append(BasicBlock(channels, width << stage_number, stride=stride, norm=norm, pool=pool))
                channels = width << stage_number
            self.stages.append(stage)
        self.classifier = nn.Linear(channels, num_classes)

    def features(self, images: Tensor) -> list[Tensor]:
        """After the stem and after each of the four stages."""
        return [images := part(images) for part in (self.stem, *self.stages)]


def resnet_ap10(width: int, num_classes: int, image_shape: tuple[int, int, int]) -> ResNet:
    """ResNetAP-10: one block a stage, instance norm, average pooling in place of strides.

    The stem is a 3x3 convolution up to 64 pixels, the same and a pooling by 2 up to 128, 7x7 and a pooling by
    4 above.

    Source: IDC, arXiv:2205.14959, its public code.
    """
    channels, side = image_shape[0], min(image_shape[1:])
    # Instance norm over one pixel gives zero: the last stage must have at least 2x2.
    require_side("resnetap10", image_shape, 16)
    kernel, pool = (3, 1) if side <= SMALL_SIDE else (3, 2) if side <= MIDDLE_SIDE else (7, 4)
    convolution = nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False)
    pooling = nn.AvgPool2d(pool) if pool > 1 else nn.Identity()
    stem = nn.Sequential(*rectified(convolution, "instance"), pooling)
    net = ResNet(stem, 1, width=width, num_classes=num_classes, norm="instance", pool=True)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):  # He's initialisation, over outputs, as IDC's
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
            nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
    return net


def resnet18(width: int, num_classes: int, image_shape: tuple[int, int, int], *, norm: str) -> ResNet:
    """ResNet-18: two blocks a stage; a 3x3 stem without pooling up to 64 pixels, above it ImageNet's.

    Source: arXiv:1512.03385; the small stem is the one of CIFAR's networks in common use.
    """
    require_side("resnet18", image_shape, 16 if norm == "instance" else 4)
    if min(image_shape[1:]) <= SMALL_SIDE:
        stem = nn.Sequential(*rectified(nn.Conv2d(image_shape[0], width, 3, padding=1, bias=False), norm))
    else:
        stem = imagenet_stem(image_shape[0], width, norm)
    return ResNet(stem, 2, width=width, num_classes=num_classes, norm=norm)
