"""One step's gradients of a network on a batch: by hmn's own passes where it has them, else as torch takes them.

A ConvNet on the CPU goes through `hmn.nets.convnet_cpu`. On CUDA, with HMN_COMPILE=1, torch compiles it. The forms
differ by rounding, so a run says which it took, and the same choice gives the same bits.
"""

import functools
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hmn.nets import native
from hmn.nets.compiled import Guarded, compile_step, compiler_problem
from hmn.nets.convnet import ConvNet, Layer
from hmn.nets.convnet_cpu import Gradients, passes_problem, prepared

NATIVE, COMPILED = "hmn's own passes", "compiled by torch"
_EPSILON = 1e-5  # that of nn.GroupNorm


class StepResult(NamedTuple):
    """What a step measured, as tensors: reading them would stop an accelerator."""

    loss: Tensor
    """Mean over the batch, of the mixed labels."""
    correct: Tensor
    """Images whose first label the network gave."""
    logits: Tensor
    """[b, k], of the forward pass that the gradients were taken from, without a graph."""


Head = tuple[Tensor, Tensor]
Loss = Callable[[list[Layer], Head, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def training_path(net: nn.Module, image_shape: Sequence[int]) -> str:
    """How a network's steps on images of this shape are taken: NATIVE, COMPILED, or "torch's passes: " and why."""
    device = next(net.parameters()).device.type
    if device == "cpu":
        against = passes_problem(net, image_shape)
        return NATIVE if against is None else f"torch's passes: {against}"
    if os.environ.get(native.SWITCH, "").strip() != "1":
        return f"torch's passes: compiling for {device} is done only with {native.SWITCH}=1: nobody has tried it there"
    if not isinstance(net, ConvNet):
        return "torch's passes: only ConvNets are compiled"
    against = compiler_problem(device)
    return COMPILED if against is None else f"torch's passes: {against}"


@final
class TrainingStep:
    """Adds a batch's gradients to a network's parameters. `path` is what `training_path` said."""

    def __init__(self, path: str) -> None:
        self.path, self._take = path, {NATIVE: _native, COMPILED: _compiled}.get(path, _plain)

    def __call__(
        self, net: nn.Module, images: Tensor, labels: Tensor, others: Tensor, share: float, *, weight: float = 1.0
    ) -> StepResult:
        """Gradients of weight * (share * CE(labels) + (1 - share) * CE(others)), means over images [b, c, h, w]."""
        return self._take(net, images, labels, others, share, weight)


def choose_step(net: nn.Module, image_shape: Sequence[int]) -> TrainingStep:
    """The step for a network that is where it will be trained; what is built or missing for it is said on stderr."""
    if next(net.parameters()).device.type == "cpu" and isinstance(net, ConvNet):
        native.library()
    return TrainingStep(training_path(net, image_shape))


def _plain(net: nn.Module, images: Tensor, labels: Tensor, others: Tensor, share: float, weight: float) -> StepResult:
    logits = net(images)
    loss = F.cross_entropy(logits, labels)
    if share < 1:
        loss = share * loss + (1 - share) * F.cross_entropy(logits, others)
    (weight * loss).backward()
    logits = logits.detach()
    return StepResult(loss.detach(), (logits.argmax(dim=1) == labels).sum(), logits)


def _native(net: nn.Module, images: Tensor, labels: Tensor, others: Tensor, share: float, weight: float) -> StepResult:
    passes = prepared(net, images)
    assert passes is not None and isinstance(net, ConvNet)
    targets = share * F.one_hot(labels, passes.classes) + (1 - share) * F.one_hot(others, passes.classes)
    found = passes.gradients(images, targets.float() * (weight / len(images)), everything=True)
    gradients = by_parameter(net, found)
    for name, parameter in net.named_parameters():
        if parameter.grad is None:
            parameter.grad = gradients[name]
        else:
            parameter.grad += gradients[name]
    return StepResult(found.loss / weight, (found.logits.argmax(dim=1) == labels).sum(), found.logits)


def by_parameter(net: ConvNet, found: Gradients) -> dict[str, Tensor]:
    """Gradients of everything that the passes on the CPU gave, by the parameter's name and shaped as it.

    Instance norm takes a convolution's bias away: its gradient is zero, and weight decay applies to it as to all.
    """
    assert found.norms is not None and found.head is not None
    of = {id(net.classifier.weight): found.head[0], id(net.classifier.bias): found.head[1]}
    for layer, kernel, norm in zip(net.layers(), found.kernels, found.norms, strict=True):
        of |= {id(layer.kernel): kernel, id(layer.scale): norm[0], id(layer.shift): norm[1]}
    return {
        name: of[id(parameter)].view_as(parameter) if id(parameter) in of else torch.zeros_like(parameter)
        for name, parameter in net.named_parameters()
    }


def _compiled(
    net: nn.Module, images: Tensor, labels: Tensor, others: Tensor, share: float, weight: float
) -> StepResult:
    assert isinstance(net, ConvNet)
    loss_of = _compiled_loss(images.device.type)
    weights = torch.tensor([share, 1 - share], device=images.device) * (weight / len(images))
    head = (net.classifier.weight, net.classifier.bias)
    loss, logits = loss_of(net.layers(), head, images, labels, others, weights)
    for parameter in net.parameters():
        if parameter.grad is None:  # a convolution's bias, as in `by_parameter`
            parameter.grad = torch.zeros_like(parameter)
    return StepResult(loss / weight, (logits.argmax(dim=1) == labels).sum(), logits)


@functools.cache
def _compiled_loss(device: str) -> Loss:
    """One for the process: networks come as tensors, so that a second one of the same sizes is not compiled again."""
    forward = compile_step(_weighted_loss, what="the training step", device=device)

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
        return loss.detach().clone(), logits.clone()

    return with_gradients


def _weighted_loss(
    layers: list[Layer], head: Head, images: Tensor, labels: Tensor, others: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """Sum over images of the cross-entropies with both labels, weighted by `weights` [2]; logits without a graph.

    The convolutions' biases are left out: instance norm takes them away.
    """
    for layer in layers:
        z = F.conv2d(images, layer.kernel, padding=layer.padding)
        z = F.group_norm(z, z.shape[1], layer.scale, layer.shift, _EPSILON)
        images = F.avg_pool2d(F.relu(z), 2)
    logits = F.linear(images.flatten(1), *head)
    first, second = (F.cross_entropy(logits, wanted, reduction="sum") for wanted in (labels, others))
    return first * weights[0] + second * weights[1], logits.detach()
