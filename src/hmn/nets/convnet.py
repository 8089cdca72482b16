"""ConvNet-D: the network that this field condenses and evaluates with."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from hmn.nets.base import Net, normalise, require_side
from hmn.nets.gate import Gate


@final
class ConvNet(Net):
    """`depth` blocks of 3x3 convolution with bias, instance norm, ReLU, 2x2 mean pooling; one linear layer.

    Images of 28x28 pixels with one channel (MNIST) are padded to 32x32 by the first convolution, as in the
    field's code.

    Source: Gidaris and Komodakis, arXiv:1804.09458, as used from DC (arXiv:2006.05929) on.
    """

    def __init__(self, depth: int, width: int, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, height, columns = image_shape
        require_side(f"convnet{depth}", image_shape, 2**depth)
        small_grey = image_shape == (1, 28, 28)
        if small_grey:
            height = columns = 32
        self.blocks = nn.ModuleList()
        for block in range(depth):
            padding = 3 if small_grey and block == 0 else 1
            convolution = nn.Conv2d(channels if block == 0 else width, width, 3, padding=padding)
            norm = normalise(width, "instance")
            self.blocks.append(nn.Sequential(convolution, norm, Gate(), nn.AvgPool2d(2)))
        self.classifier = nn.Linear(width * (height >> depth) * (columns >> depth), num_classes)

    def features(self, images: Tensor) -> list[Tensor]:
        """After each pooling: [b, width, h / 2, w / 2] and so on."""
        stages = []
        for block in self.blocks:
            images = block(images)
            stages.append(images)
        return stages

    def head(self, last: Tensor) -> Tensor:
        """Logits from the last block, flattened."""
        return self.classifier(last.flatten(1))
