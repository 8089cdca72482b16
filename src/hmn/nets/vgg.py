"""VGG-11 and VGG-16 with one linear layer, as small images have them."""

from typing import final

from torch import Tensor, nn

from hmn.nets.base import Net, rectified, require_side

_STAGES = {11: ((1,), (2,), (4, 4), (8, 8), (8, 8)), 16: ((1, 1), (2, 2), (4, 4, 4), (8, 8, 8), (8, 8, 8))}
"""Per stage the channels of its convolutions, in multiples of the width; a stage ends in a 2x2 maximum."""


@final
class Vgg(Net):
    """Five stages of 3x3 convolutions, norm and ReLU; the mean over positions and one linear layer.

    Source: arXiv:1409.1556; one linear layer in the place of three is what is used for 32 pixels.
    """

    def __init__(
        self, depth: int, width: int, num_classes: int, image_shape: tuple[int, int, int], *, norm: str
    ) -> None:
        super().__init__()
        require_side(f"vgg{depth}", image_shape, 32)
        channels = image_shape[0]
        self.stages = nn.ModuleList()
        for multiples in _STAGES[depth]:
            layers: list[nn.Module] = []
            for multiple in multiples:
                layers += rectified(nn.Conv2d(channels, multiple * width, 3, padding=1), norm)
                channels = multiple * width
            self.stages.append(nn.Sequential(*layers, nn.MaxPool2d(2)))
        self.classifier = nn.Linear(channels, num_classes)

    def features(self, images: Tensor) -> list[Tensor]:
        """After each of the five stages."""
        return [images := stage(images) for stage in self.stages]
