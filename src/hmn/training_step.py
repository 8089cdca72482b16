"""One step's gradients of a network on a batch: as torch does it, or compiled where that is worth its time.

The compiled ConvNet on the CPU: channels last, micro-batches that stay in the processor's cache, the first
convolution as one matrix product, the others by Winograd (`hmn.winograd`), norm, ReLU and pooling fused. Its results
differ from the plain ones by rounding, so a run says which it took, and the same choice gives the same bits.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import NamedTuple, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hmn import winograd
from hmn.compiled import SWITCH, Guarded, compilation_wanted, compile_step, compiler_problem
from hmn.nets.convnet import ConvNet

MICRO_BATCH = 16
COMPILE_FLOPS = 3e13
"""Least work of a training for which compiling pays: about 1,600 steps of batch 64 at width 128 and 32x32 pixels.

Compiling took 82 s of processor time, and a step 0.2 s less on one thread; the rest is margin for a busy machine."""
WINOGRAD_CHANNELS = 64
"""Fewer channels than this are convolved faster directly."""
_FIRST_CHANNELS = 4
_EPSILON = 1e-5  # that of nn.GroupNorm


class StepResult(NamedTuple):
    """What a step measured, as tensors: reading them would stop an accelerator."""

    loss: Tensor
    """Mean over the batch, of the mixed labels."""
    correct: Tensor
    """Images whose first label the network gave."""


class Layer(NamedTuple):
    """The parameters of one block: convolution kernel, scale and shift of its norm; the convolution's padding."""

    kernel: Tensor
    scale: Tensor
    shift: Tensor
    padding: int


Head = tuple[Tensor, Tensor]
Loss = Callable[[list[Layer], Head, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def training_path(net: nn.Module | None = None, *, flops: float = float("inf"), device: str = "cpu") -> str:
    """ "compiled", or "plain: " and the reason; what `choose_step` goes by, and what `hmn doctor` tells.

    Args:
        net: the network; None for a ConvNet.
        flops: the work of everything that it will be trained for.
        device: type of its device.
    """
    forced = os.environ.get(SWITCH, "").strip() == "1"
    if not compilation_wanted():
        return f"plain: {SWITCH} is {os.environ[SWITCH]}"
    if net is not None and not isinstance(net, ConvNet):
        return "plain: only ConvNets are compiled"
    if device != "cpu" and not forced:
        return f"plain: compiling for {device} is done only with {SWITCH}=1, since nobody has tried it there"
    if flops < COMPILE_FLOPS and not forced:
        return f"plain: shorter than compiling ({SWITCH}=1 compiles all the same)"
    problem = compiler_problem(device)
    return "compiled" if problem is None else f"plain: {problem}"


def training_flops(net: nn.Module, image_shape: tuple[int, int, int], *, images: int) -> float:
    """Multiplications and additions to train a ConvNet on `images` images (each as often as it is seen); else 0."""
    if not isinstance(net, ConvNet):
        return 0.0
    height, width = image_shape[1:]
    per_image = 0
    for layer in _layers(net):
        grown = 2 * layer.padding - 2
        height, width = height + grown, width + grown
        per_image += 2 * layer.kernel.numel() * height * width
        height, width = height // 2, width // 2
    return 3.0 * per_image * images


@final
class TrainingStep:
    """Adds a batch's gradients to a network's parameters. `path` is what `training_path` said."""

    def __init__(self, path: str, device: str) -> None:
        self.path = path
        self._device = device
        self._loss: Loss | None = _compiled_loss(device) if path == "compiled" else None

    def __call__(self, net: nn.Module, images: Tensor, labels: Tensor, others: Tensor, share: float) -> StepResult:
        """Gradients of share * CE(labels) + (1 - share) * CE(others), means over images [b, c, h, w]."""
        if self._loss is None:
            return _plain(net, images, labels, others, share)
        assert isinstance(net, ConvNet)
        micro_batch = MICRO_BATCH if self._device == "cpu" else images.shape[0]
        return _in_micro_batches(self._loss, net, images, labels, others, share, micro_batch)


def choose_step(net: nn.Module, *, flops: float) -> TrainingStep:
    """The step for a network that is where it will be trained; `flops` is the work that lies before it.

    A word on stderr is said when it compiles, at the first step.
    """
    device = next(net.parameters()).device.type
    return TrainingStep(training_path(net, flops=flops, device=device), device)


def _plain(net: nn.Module, images: Tensor, labels: Tensor, others: Tensor, share: float) -> StepResult:
    logits = net(images)
    loss = F.cross_entropy(logits, labels)
    if share < 1:
        loss = share * loss + (1 - share) * F.cross_entropy(logits, others)
    loss.backward()
    return StepResult(loss.detach(), (logits.detach().argmax(dim=1) == labels).sum())


def _in_micro_batches(
    loss_of: Loss, net: ConvNet, images: Tensor, labels: Tensor, others: Tensor, share: float, size: int
) -> StepResult:
    """Gradients summed over micro-batches; the last is filled with rows of no weight, so that one shape is compiled."""
    count, device = len(images), images.device
    weights = torch.tensor([[share / count], [(1 - share) / count]], device=device).expand(2, count)
    missing = -count % size
    images = F.pad(images, (0, 0) * 3 + (0, missing)).contiguous(memory_format=torch.channels_last)
    labels, others, weights = (F.pad(rows, (0, missing)) for rows in (labels, others, weights))
    layers, head = _layers(net), (net.classifier.weight, net.classifier.bias)
    total, correct = torch.zeros((), device=device), torch.zeros((), dtype=torch.int64, device=device)
    for start in range(0, count, size):
        rows = slice(start, start + size)
        # Contiguous: strides are part of what is compiled, and the last part's may differ.
        part = weights[:, rows].contiguous()
        loss, right = loss_of(layers, head, images[rows], labels[rows], others[rows], part)
        total, correct = total + loss, correct + right[: count - start].sum()
    for block in net.blocks:
        assert isinstance(block, nn.Sequential) and isinstance(block[0], nn.Conv2d) and block[0].bias is not None
        # Instance norm takes it away again: its gradient is zero, and weight decay applies to it all the same.
        if block[0].bias.grad is None:
            block[0].bias.grad = torch.zeros_like(block[0].bias)
    return StepResult(total, correct)


def _layers(net: ConvNet) -> list[Layer]:
    layers = []
    for block in net.blocks:
        assert isinstance(block, nn.Sequential)
        convolution, norm = block[0], block[1]
        assert isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.GroupNorm)
        assert isinstance(convolution.padding[0], int)
        layers.append(Layer(convolution.weight, norm.weight, norm.bias, convolution.padding[0]))
    return layers


@functools.cache
def _compiled_loss(device: str) -> Loss:
    """One for the process: networks come as tensors, so that a second one of the same sizes is not compiled again."""
    forward = compile_step(_weighted_loss, what="the training step", device=device, otherwise=_weighted_loss_plain)

    def with_gradients(
        layers: list[Layer], head: Head, images: Tensor, labels: Tensor, others: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        if device == "cuda":
            torch.compiler.cudagraph_mark_step_begin()
        loss, logits = forward(layers, head, images, labels, others, weights)
        try:
            loss.backward()
        except Exception as error:  # its compiled form is made here, as one piece: nothing was added to a gradient yet
            if not isinstance(forward, Guarded) or forward.failed:
                raise
            forward.give_up(error)
            loss, logits = forward(layers, head, images, labels, others, weights)
            loss.backward()
        return loss.detach().clone(), logits.argmax(dim=1) == labels

    return with_gradients


def _weighted_loss(
    layers: list[Layer], head: Head, images: Tensor, labels: Tensor, others: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """Cross-entropies with both labels, weighted by `weights` [2, b] and summed; and the logits without a graph."""
    logits = convnet_logits(layers, head, images)
    return _mixed(logits, labels, others, weights), logits.detach()


def _weighted_loss_plain(
    layers: list[Layer], head: Head, images: Tensor, labels: Tensor, others: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """The same by torch's own functions, for where compiling fails."""
    for layer in layers:
        z = F.conv2d(images, layer.kernel, padding=layer.padding)
        z = F.group_norm(z, z.shape[1], layer.scale, layer.shift, _EPSILON)
        images = F.avg_pool2d(F.relu(z), 2)
    logits = F.linear(images.flatten(1), *head)
    return _mixed(logits, labels, others, weights), logits.detach()


def _mixed(logits: Tensor, labels: Tensor, others: Tensor, weights: Tensor) -> Tensor:
    log_probabilities = logits.log_softmax(dim=1)
    first, second = (log_probabilities.gather(1, wanted[:, None])[:, 0] for wanted in (labels, others))
    return -(first * weights[0] + second * weights[1]).sum()


def convnet_logits(layers: list[Layer], head: Head, images: Tensor) -> Tensor:
    """Logits [b, k] of a ConvNet, up to rounding; to be compiled. Images [b, c, h, w] are best channels last."""
    for layer in layers:
        images = _norm_relu_pool(_convolve(images, layer), layer)
    return F.linear(images.flatten(1), *head)


def _convolve(images: Tensor, layer: Layer) -> Tensor:
    """The convolution without its bias, which instance norm takes away."""
    out, channels = layer.kernel.shape[:2]
    on_cpu = images.device.type == "cpu"
    if on_cpu and channels <= _FIRST_CHANNELS:
        return _by_one_product(images, layer)
    if on_cpu and min(out, channels) >= WINOGRAD_CHANNELS and winograd.fits(_sides(images), layer.kernel):
        return winograd.convolve(images, layer.kernel)
    return F.conv2d(images, layer.kernel, padding=layer.padding)


def _sides(images: Tensor) -> tuple[int, int]:
    return images.shape[2], images.shape[3]


def _by_one_product(images: Tensor, layer: Layer) -> Tensor:
    """Few channels: the nine neighbours of every pixel side by side, times the kernels."""
    n, channels, height, width = images.shape
    out, pad = layer.kernel.shape[0], layer.padding
    height, width = height + 2 * pad - 2, width + 2 * pad - 2
    padded = F.pad(images.permute(0, 2, 3, 1), (0, 0, pad, pad, pad, pad))
    near = torch.cat([padded[:, a : a + height, b : b + width] for a in range(3) for b in range(3)], dim=3)
    kernels = layer.kernel.permute(2, 3, 1, 0).reshape(9 * channels, out)
    return (near.view(n * height * width, 9 * channels) @ kernels).view(n, height, width, out).permute(0, 3, 1, 2)


def _norm_relu_pool(z: Tensor, layer: Layer) -> Tensor:
    """Instance norm with scale and shift, ReLU, mean over 2x2 (an odd last row or column is left out)."""
    n, channels, height, width = z.shape
    flat = z.permute(0, 2, 3, 1).reshape(n, height * width, channels)
    mean = flat.mean(dim=1, keepdim=True)
    variance = (flat - mean).square().mean(dim=1, keepdim=True)
    scale = layer.scale * (variance + _EPSILON).rsqrt()
    shown = torch.relu(flat * scale + (layer.shift - mean * scale)).view(n, height, width, channels)
    shown = shown[:, : height // 2 * 2, : width // 2 * 2]
    pooled = shown.reshape(n, height // 2, 2, width // 2, 2, channels).sum(dim=(2, 4)) / 4
    return pooled.permute(0, 3, 1, 2)
