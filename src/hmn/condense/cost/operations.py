"""Operations that a condensation takes: floating-point operations, a multiply-add counted as two.

Convolutions and matrix products only, as is usual; norms, activations, pooling and augmentation are left out, though
on narrow networks they take as much time. A convolution counts as its direct form does, where Winograd's multiplies
less. Importing this needs no torch, counting a network does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from hmn.containers.shape import Shape
from hmn.errors import UserError
from hmn.recipes.settings import CondenseConfig

BACKWARD = 2
"""A backward pass costs its forward pass once for the weights and once for the inputs."""
DEFAULT_TFLOPS = 20.0
"""Assumed of a GPU: 10^12 operations a second, 30 % of the 67 that an H100 or H200 is sold with in float32 without its
tensor cores (hmn matches without TF32). Nobody has measured it."""


class NetOperations(NamedTuple):
    """Operations of a network for one image."""

    forward: int
    first: int
    """Share of the layer that sees the image, whose input gradient is only taken where the image's is wanted."""

    @property
    def weight_gradient(self) -> int:
        """Forward, and backward to the weights."""
        return (1 + BACKWARD) * self.forward - self.first

    @property
    def image_gradient(self) -> int:
        """Forward, and backward to the image with the weights fixed."""
        return 2 * self.forward

    @property
    def both_gradients(self) -> int:
        """Forward, and backward to weights and image at once."""
        return (1 + BACKWARD) * self.forward


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How much of everything a sweep handles."""

    classes: int
    real_per_class: int
    generated_per_class: int
    update_batches: int
    update_batch_size: int

    @property
    def generated(self) -> int:
        """Generated images of a sweep."""
        return self.classes * self.generated_per_class


class SweepOperations(NamedTuple):
    """Operations of one sweep: matching on both sides, rendering with its backward pass, the network's update."""

    real: int
    generated: int
    render: int
    update: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self)


def net_operations(
    name: str, *, width: int | None, num_classes: int, image_shape: tuple[int, int, int]
) -> NetOperations:
    """Operations of one image through a network's convolutions and linear layers, which one image is sent through.

    torch's own counter and tensors without values would do the same, after ten seconds of imports.

    Raises:
        UserError: the network is unknown, or the images too small for it.
    """
    import torch

    from hmn.nets import build_net

    net = build_net(
        name, num_classes=num_classes, image_shape=image_shape, width=width, generator=torch.Generator().manual_seed(0)
    )
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


def counts_of(config: CondenseConfig, shape: Shape, *, images_per_class: int) -> Counts:
    """What a sweep of a run handles.

    Args:
        config: the run's settings.
        shape: its container.
        images_per_class: real images of a class.
    """
    stored = max(shape.images_per_class)
    return Counts(
        classes=shape.num_classes,
        real_per_class=min(config.real_per_class, images_per_class),
        generated_per_class=min(config.generated_per_class, stored),
        update_batches=config.network.update_batches,
        update_batch_size=min(config.network.update_batch_size, images_per_class * shape.num_classes),
    )


def matching_operations(counts: Counts, net: NetOperations, objective: str) -> int:
    """Operations of the objective alone, both sides."""
    real, generated = _passes(net, objective)
    return counts.classes * (counts.real_per_class * real + counts.generated_per_class * generated)


def _passes(net: NetOperations, objective: str) -> tuple[int, int]:
    """Operations for a real and for a generated image.

    gradient: kernel gradients on both sides, then an image gradient at either end of the step in the weights; the
    derivative that `hmn.nets.convnet_cpu` takes in its place convolves as often.
    features: a forward pass of the real images, an image gradient of the generated ones.
    """
    if objective == "gradient":
        return net.weight_gradient, net.weight_gradient + 2 * net.image_gradient
    return net.forward, net.image_gradient


def sweep_operations(counts: Counts, net: NetOperations, shape: Shape, objective: str) -> SweepOperations:
    """Operations of one sweep, part by part."""
    real, generated = _passes(net, objective)
    return SweepOperations(
        real=counts.classes * counts.real_per_class * real,
        generated=counts.generated * generated,
        render=(1 + BACKWARD) * render_operations(shape, counts.generated),
        update=counts.update_batches * counts.update_batch_size * net.weight_gradient,
    )


def run_operations(config: CondenseConfig, counts: Counts, net: NetOperations, shape: Shape) -> int:
    """Operations of a whole run: reconstruction, sweeps, and the first training of every network."""
    start = config.start
    steps = start.steps_for(exact=shape.exact_start)
    fitting = steps * (1 + BACKWARD) * render_operations(shape, min(start.batch, shape.num_images))
    warm_up = config.epochs * config.network.warm_up_batches * counts.update_batch_size * net.weight_gradient
    return fitting + warm_up + config.num_sweeps * sweep_operations(counts, net, shape, config.objective).total


class Reckoned(NamedTuple):
    """What operations would take on GPUs that nobody has timed: a division, no measurement."""

    gpus: int
    tflops_per_gpu: float
    seconds_per_sweep: float
    total_seconds: float


def reckon(per_sweep: int, total: int, *, gpus: int, tflops: float) -> Reckoned:
    """Operations over an assumed rate.

    Args:
        per_sweep: operations of a sweep.
        total: operations of a run.
        gpus: how many share the classes and the network's batches evenly; what they tell each other is left out.
        tflops: 10^12 operations a second that each sustains.

    Raises:
        UserError: no GPU, or no rate.
    """
    if gpus < 1:
        raise UserError(f"--gpus {gpus}: expected at least 1.")
    if not 0 < tflops < 1e6:
        raise UserError(f"--tflops {tflops}: expected the 10^12 operations a second that one GPU sustains, above 0.")
    rate = gpus * tflops * 1e12
    return Reckoned(gpus, tflops, per_sweep / rate, total / rate)
