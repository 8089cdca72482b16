"""Operations that a condensation takes: floating-point operations, a multiply-add counted as two.

Convolutions and matrix products only, as is usual; norms, activations, pooling and augmentation are left out, though
on narrow networks they take as much time. A convolution counts as its direct form does, where Winograd's multiplies
less.
"""

from typing import NamedTuple

import torch

from hmn.containers.shape import Shape
from hmn.errors import UserError
from hmn.nets import build_net

BACKWARD = 2
"""A backward pass costs its forward pass once for the weights and once for the inputs."""
DEFAULT_TFLOPS = 20.0
"""Rate assumed for a GPU: 10^12 operations a second, 30 % of the 67 that an H100 or H200 is sold with in float32
without its tensor cores (hmn matches without TF32). Nobody has measured it."""


class NetOperations(NamedTuple):
    """Operations of a network for one image."""

    forward: int
    first: int
    """Those of the layer that sees the image, whose input gradient is only taken where the image's is wanted."""

    @property
    def weight_gradient(self) -> int:
        """Forward, and backward to the weights."""
        return (1 + BACKWARD) * self.forward - self.first

    @property
    def image_gradient(self) -> int:
        """Forward, and backward to the image with the weights fixed."""
        return 2 * self.forward


def net_operations(
    name: str, *, width: int | None, num_classes: int, image_shape: tuple[int, int, int]
) -> NetOperations:
    """Operations of one image through a network's convolutions and linear layers, which one image is sent through."""
    generator = torch.Generator().manual_seed(0)
    net = build_net(name, num_classes=num_classes, image_shape=image_shape, width=width, generator=generator)
    net.eval()  # BatchNorm in training refuses a single value per channel
    each: list[int] = []

    def see(layer: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        assert isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)
        each.append(2 * layer.weight[0].numel() * output.numel())

    for layer in net.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            layer.register_forward_hook(see)
    with torch.inference_mode():
        net(torch.zeros(1, *image_shape))
    return NetOperations(sum(each), each[0])


def render_operations(shape: Shape, images: int) -> int:
    """Forward operations of rendering some of a container's images together."""
    return 2 * (shape.shared_products() + images * shape.products_per_image())


class Reckoned(NamedTuple):
    """What operations would take on GPUs that nobody has timed: a division, no measurement."""

    gpus: int
    tflops_per_gpu: float
    seconds_per_sweep: float
    total_seconds: float
    memory_bytes_per_gpu: int | None = None
    """As this machine held it, where that is known."""


def reckon(per_sweep: int, total: int, *, gpus: int, tflops: float) -> Reckoned:
    """Operations of a sweep and of a whole run over an assumed rate.

    Args:
        per_sweep, total: the operations.
        gpus: how many share the classes and the network's batches evenly; what they tell each other is left out.
        tflops: 10^12 operations a second that each sustains.
    """
    if gpus < 1:
        raise UserError(f"--gpus {gpus}: expected at least 1.")
    if not 0 < tflops < 1e6:
        raise UserError(f"--tflops {tflops}: expected the 10^12 operations a second that one GPU sustains, above 0.")
    rate = gpus * tflops * 1e12
    return Reckoned(gpus, tflops, per_sweep / rate, total / rate)
