"""Gradient matching without double backward.

For class c the loss is D(g_syn, g_real), summed over convolution kernels, of the gradients of the mean
cross-entropy. With v = dD/dg_syn held fixed, its derivative in the images is the directional derivative, along v
in the weights, of the first-order image gradient. A ConvNet on the CPU takes that exactly
(`hmn.nets.convnet_cpu`); every other network by a finite difference of two backward passes, with every ReLU's mask
kept as it was at the centre (with free masks the difference is wrong at every step size, because kinks are crossed).

Sources: IDC (arXiv:2205.14959) section 3 for the loss, HMN supplement C.2; of the distances, squared and absolute are
IDC's (condense.py: dist), summed over convolution kernels; cosine is DC's and DSA's (arXiv:2006.05929,
arXiv:2102.08259; utils.py: distance_wb), over filters, with the linear layer.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hmn.condensation.cost.operations import NetOperations
from hmn.condensation.objectives.matching import Match, Matching
from hmn.data.source import Batch
from hmn.errors import UserError
from hmn.nets import Net, forget_masks, gates, record_masks, replay_masks
from hmn.nets.convnet_cpu import ConvNetOnCpu, mean_targets, prepared
from hmn.recipes.settings import CondenseConfig
from hmn.runtime.device import moved

Distance = Literal["squared", "absolute", "cosine"]
COSINE_EPSILON = 1e-6
"""Added to the product of norms, as in DC's code."""
RELATIVE_STEP = 2e-4
"""Step of the central difference: how far the filter that moves most, relative to its own norm, moves. A filter's norm
is what the normalisation after it divides by, so this is where curvature comes from. The tests hold the error to 1e-3
along real runs; docs/log.md has the measurements that chose it."""


class Gradient(Matching):
    """Match the gradients of the weights (the paper, IDC, DC, DSA)."""

    reads = Matching.reads | {"condense.distance"}

    def match(self, net: Net, real: Batch, generated: Batch, config: CondenseConfig) -> Match:
        """The distance between weight gradients."""
        return gradient_match(net, real, generated, distance=config.distance)

    @staticmethod
    def passes(net: NetOperations) -> tuple[int, int]:
        """Kernel gradients on both sides, then an image gradient at either end of the step in the weights.

        The derivative that `hmn.nets.convnet_cpu` takes in its place convolves as often.
        """
        return net.weight_gradient, net.weight_gradient + 2 * net.image_gradient


def gradient_match(net: nn.Module, real: Batch, generated: Batch, *, distance: Distance = "squared") -> Match:
    """Sum over classes of the distance between weight gradients, and its gradient for the generated images."""
    fast = prepared(net, generated.images)
    if fast is None:
        check_network(net)
    parameters = matched_parameters(net, distance)
    device, image_grad = generated.images.device, torch.empty_like(generated.images)
    total = torch.zeros((), device=device)
    # A class is compared with itself alone.
    for label in generated.labels.unique():
        of_class, chosen = (moved((side.labels == label).nonzero()[:, 0], device) for side in (real, generated))
        real_part = Batch(real.images[of_class], label.to(device).expand(len(of_class)))
        generated_part = Batch(generated.images[chosen], label.to(device).expand(len(chosen)))
        if fast is None:
            match = _match_class(net, parameters, real_part, generated_part, distance)
        else:
            match = _match_class_on_cpu(fast, real_part, generated_part, distance)
        total = total + match.loss
        image_grad[chosen] = match.image_grad
    return Match(total, image_grad)


def check_network(net: nn.Module) -> None:
    """Refuse a network whose kinks cannot be held, as the finite difference would be silently wrong.

    It has no gates (timm's), or takes maxima (VGG, large-image DenseNet).
    """
    if not gates(net) or any(isinstance(module, nn.MaxPool2d) for module in net.modules()):
        raise UserError(
            "gradient matching needs a network whose only kinks are hmn's own ReLUs, without max pooling: "
            "choose convnetD, resnetap10, resnet18 or densenet121 for small images, or the objective 'features'."
        )


def _match_class_on_cpu(fast: ConvNetOnCpu, real: Batch, generated: Batch, distance: Distance) -> Match:
    linear = distance == "cosine"
    targets = mean_targets(generated.labels, fast.classes)
    of_real = fast.gradients(real.images, mean_targets(real.labels, fast.classes), everything=linear)
    found = fast.gradients(generated.images, targets, keep=True, everything=linear)
    g_real, g_generated = ([*g.kernels, *(g.head[:1] if g.head else ())] for g in (of_real, found))
    loss, direction = gradient_distance(g_generated, g_real, distance)
    assert found.kept is not None
    head = direction.pop() if linear else None
    return Match(loss, fast.directional(generated.images, targets, found.kept, direction, head))


def _match_class(
    net: nn.Module, parameters: list[nn.Parameter], real: Batch, generated: Batch, distance: Distance
) -> Match:
    g_real = torch.autograd.grad(_loss(net, real.images, real.labels), parameters)
    images, labels = generated.images.detach().requires_grad_(), generated.labels
    with record_masks(net):
        g_generated = torch.autograd.grad(_loss(net, images, labels), parameters)
    loss, direction = gradient_distance(g_generated, g_real, distance)
    step = RELATIVE_STEP / _largest_move(parameters, direction).clamp_min(1e-30)
    sides = []
    for sign in (1.0, -1.0):
        with at_offset(parameters, direction, sign * step), replay_masks(net):
            sides.append(torch.autograd.grad(_loss(net, images, labels), images)[0])
    forget_masks(net)
    return Match(loss, (sides[0] - sides[1]) / (2 * step))


def _loss(net: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(net(images), labels)


def _largest_move(kernels: list[nn.Parameter], direction: list[Tensor]) -> Tensor:
    """Over all filters (a kernel's output channels), the largest norm of the direction over that of the filter.

    A filter that is all but zero counts with a tenth of its layer's root mean square, or it alone would set the step.
    """
    largest = []
    for kernel, along in zip(kernels, direction, strict=True):
        norms = kernel.detach().flatten(1).norm(dim=1)
        floor = 0.1 * norms.square().mean().sqrt()
        largest.append((along.flatten(1).norm(dim=1) / norms.maximum(floor).clamp_min(1e-30)).max())
    return torch.stack(largest).max()


@contextmanager
def at_offset(kernels: list[nn.Parameter], direction: list[Tensor], step: Tensor) -> Iterator[None]:
    """Inside, the kernels stand at kernel + step * direction and ask for no gradient; afterwards as before."""
    before = [kernel.data for kernel in kernels]
    for kernel, along in zip(kernels, direction, strict=True):
        kernel.data = torch.addcmul(kernel.data, along, step)
        kernel.requires_grad_(False)
    try:
        yield
    finally:
        for kernel, data in zip(kernels, before, strict=True):
            kernel.data = data
            kernel.requires_grad_(True)


class Along(NamedTuple):
    """A distance (a scalar) and its derivative by each of the generated images' gradients."""

    loss: Tensor
    direction: list[Tensor]


def matched_parameters(net: nn.Module, distance: Distance) -> list[nn.Parameter]:
    """The parameters whose gradients are compared: convolution kernels; for "cosine" weights of linear layers too.

    Never 1-D parameters (biases, norms).
    """
    least = 2 if distance == "cosine" else 4
    return [parameter for parameter in net.parameters() if parameter.dim() >= least]


def gradient_distance(g_generated: Sequence[Tensor], g_real: Sequence[Tensor], distance: Distance) -> Along:
    """The distance summed over parameters, as which gradients are shaped, and its derivative by `g_generated`.

    squared: sum of squared differences. absolute: sum of their magnitudes; at zero its derivative is 0. cosine: sum
    over a parameter's first dimension (filters, or outputs of a linear layer) of 1 - a.b / (|a| |b| + 1e-6).
    """
    losses, direction = [], []
    with torch.no_grad():
        for own, other in zip(g_generated, g_real, strict=True):
            if distance == "cosine":
                loss, along = _cosine(own, other)
            elif distance == "squared":
                loss, along = (own - other).square().sum(), 2 * (own - other)
            else:
                loss, along = (own - other).abs().sum(), (own - other).sign()
            losses.append(loss)
            direction.append(along)
        return Along(torch.stack(losses).sum(), direction)


def _cosine(own: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    a, b = own.flatten(1), other.flatten(1)
    norm_a, norm_b = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    inner, scale = (a * b).sum(dim=1, keepdim=True), norm_a * norm_b + COSINE_EPSILON
    # |a| has no derivative at zero; as torch does, it is taken as zero there.
    unit = torch.where(norm_a > 0, a / norm_a.clamp_min(torch.finfo(a.dtype).tiny), 0.0)
    along = inner * norm_b / scale.square() * unit - b / scale
    return (1 - inner / scale).sum(), along.view_as(own)
