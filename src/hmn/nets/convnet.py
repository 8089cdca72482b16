"""ConvNet-D: the network that this field condenses and evaluates with."""

from typing import NamedTuple, final

from torch import Tensor, nn

from hmn.nets.base import Net, rectified, require_side


class Layer(NamedTuple):
    """The parameters of one block: convolution kernel, scale and shift of its norm; the convolution's padding."""

    kernel: Tensor
    scale: Tensor
    shift: Tensor
    padding: int


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
            self.blocks.append(nn.Sequential(*rectified(convolution, "instance"), nn.AvgPool2d(2)))
        self.classifier = nn.Linear(width * (height >> depth) * (columns >> depth), num_classes)

    def features(self, images: Tensor) -> list[Tensor]:
        """After each pooling: [b, width, h / 2, w / 2] and so on."""
        return [images := block(images) for block in self.blocks]

    def head(self, last: Tensor) -> Tensor:
        """Logits from the last block, flattened."""
        return self.classifier(last.flatten(1))

    def layers(self) -> list[Layer]:
        """The parameters block by block, for passes other than torch's; instance norm takes the biases away."""
        found = []
        for block in self.blocks:
            assert isinstance(block, nn.Sequential)
            convolution, norm = block[0], block[1]
            assert isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.GroupNorm)
            assert isinstance(convolution.padding[0], int)
            found.append(Layer(convolution.weight, norm.weight, norm.bias, convolution.padding[0]))
        return found
