"""A ConvNet's gradients on the CPU by `hmn.nets.native`: exact, in float32, several times faster than torch's.

What it gives: gradients of a cross-entropy for the weights; their derivative's adjoint, which gradient matching needs
(the derivative of the images' gradients along a direction in the weights, with no finite difference); every layer's
output, and the images' gradient from slopes of those. The same arguments give the same bits on the same number of
threads.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hmn.nets import native
from hmn.nets.convnet import ConvNet
from hmn.nets.native import MAX_DEPTH, Direction, Network, Sums

PANEL, MAX_CHANNELS = 16, 8  # as in hmn/native
BLOCK_VALUES, BLOCK = 2**21, 4
"""Images that a thread takes together: so many, or fewer where their first activations hold more values than this."""
_TILE_SIDES = {2: 4, 4: 6}  # Winograd's outputs and inputs a side


class Gradients(NamedTuple):
    """Gradients of a sum of cross-entropies, with what `directional` needs of the pass."""

    loss: Tensor
    """A scalar."""
    logits: Tensor
    """[n, classes]."""
    kernels: list[Tensor]
    """As the convolutions' weights."""
    head: tuple[Tensor, Tensor] | None
    """As the linear layer's weight and bias, where they were asked for."""
    norms: list[tuple[Tensor, Tensor]] | None
    """As the norms' scale and shift, likewise."""
    kept: Tensor | None
    """What `directional` reads, where it was asked for."""


class Stages(NamedTuple):
    """Outputs of the blocks [n, width, h, w], logits [n, classes], and what `image_gradient` reads."""

    features: list[Tensor]
    logits: Tensor
    kept: Tensor | None


def passes_problem(net: nn.Module, image_shape: Sequence[int], dtype: torch.dtype = torch.float32) -> str | None:
    """Why this network's passes over images of this shape are not taken here, in words; None where they are."""
    device = next(net.parameters()).device.type
    if device != "cpu":
        return f"on {device} torch's own passes are taken"
    if not isinstance(net, ConvNet):
        return "only ConvNets have passes of their own"
    if dtype != torch.float32 or next(net.parameters()).dtype != torch.float32:
        return "only float32 is computed so"
    # The passes in C are written for widths in whole panels and for Winograd's tiles.
    first, depth = net.layers()[0], len(net.blocks)
    width, side = len(first.kernel), image_shape[1] + 2 * first.padding - 2
    if width % PANEL or depth > MAX_DEPTH or image_shape[0] > MAX_CHANNELS:
        return f"the width is not a multiple of {PANEL}, or there are more than {MAX_CHANNELS} channels"
    sides = [side >> layer for layer in range(depth)]
    if image_shape[1] != image_shape[2] or side % 2**depth or any(layer % 4 for layer in sides[1:]):
        return "the images are not square, or do not halve evenly down to sides of 4"
    return native.problem()


def prepared(net: nn.Module, images: Tensor) -> ConvNetOnCpu | None:
    """The network made ready for images like these [n, c, h, w]; None where torch's own passes must be taken."""
    if passes_problem(net, images.shape[1:], images.dtype) is not None:
        native.library()  # says once what is missing
        return None
    assert isinstance(net, ConvNet)
    return ConvNetOnCpu(net, images.shape[2])


@final
class ConvNetOnCpu:
    """A ConvNet's weights as they were when this was made, in the order that the passes read them."""

    def __init__(self, net: ConvNet, height: int) -> None:
        library, layers = native.library(), net.layers()
        assert library is not None
        self._library, self._threads = library, torch.get_num_threads()
        self._kernels = [layer.kernel.detach() for layer in layers]
        self._width, self._channels = self._kernels[0].shape[:2]
        self._tap_panels = -(-9 * self._channels // PANEL)
        side = height + 2 * layers[0].padding - 2
        self._sides = [side >> layer for layer in range(1, len(layers) + 1)]
        self.classes = net.classifier.out_features
        """Logits a network gives."""
        network = self._network = Network(
            depth=len(layers),
            panels=self._width // PANEL,
            channels=self._channels,
            height=height,
            pad=layers[0].padding,
            classes=self.classes,
            tap_panels=self._tap_panels,
            block=max(1, min(BLOCK, BLOCK_VALUES // (side * side * self._width))),
        )
        # The weights go into the structure; what it points to is held here.
        self._held: list[Tensor] = []
        self._first_turned = self._first(self._kernels[0], turned=True)
        network.first = self._hold(self._first(self._kernels[0]))
        for i, layer in enumerate(layers):
            network.scale[i], network.shift[i] = (self._hold(part.detach()) for part in (layer.scale, layer.shift))
            if i:
                network.forward[i] = self._hold(self._changed(self._kernels[i], 2))
                network.kernels[i] = self._hold(self._changed(self._kernels[i], 4))
                network.turned[i] = self._hold(self._changed(self._kernels[i], 4, turned=True))
        network.head = self._hold(self._head_to_panels(net.classifier.weight.detach()))
        network.bias = self._hold(net.classifier.bias.detach())
        # How much memory the passes need is known once the sizes are in the structure.
        self._kept_floats, self._stage_floats, scratch = (
            count(ctypes.byref(network))
            for count in (library.hmn_kept_floats, library.hmn_stage_floats, library.hmn_scratch_floats)
        )
        self._scratch = torch.empty(self._threads * scratch)

    def gradients(self, images: Tensor, targets: Tensor, *, keep: bool = False, everything: bool = False) -> Gradients:
        """Gradients of -sum(targets * log softmax(logits)).

        Args:
            images: [n, c, h, w].
            targets: [n, classes], of any weight: means, mixed labels and signs are in them.
            keep: whether `directional` follows.
            everything: the linear layer's and the norms' gradients too, not only the convolutions'.
        """
        images, targets = images.detach().contiguous(), targets.contiguous()
        count, width, classes = len(images), self._width, self.classes
        features = width * self._sides[-1] ** 2
        sizes = [width * self._tap_panels * PANEL] + [36 * width * width] * (len(self._kernels) - 1)
        own = [*sizes, *([width] * 2 * len(self._kernels) + [classes * features, classes + -classes % 16]) * everything]
        flat = torch.zeros(self._threads, sum(own))
        sums = (Sums * self._threads)()
        for thread, parts in enumerate(zip(*(part.split(1) for part in flat.split(own, dim=1)), strict=True)):
            addresses = [part.data_ptr() for part in parts]
            sums[thread].first, sums[thread].kernels[1 : len(sizes)] = addresses[0], addresses[1 : len(sizes)]
            if everything:
                sums[thread].scale[: len(sizes)] = addresses[len(sizes) : -2 : 2]
                sums[thread].shift[: len(sizes)] = addresses[len(sizes) + 1 : -2 : 2]
                sums[thread].head, sums[thread].bias = addresses[-2:]
        kept = torch.empty(count, self._kept_floats) if keep else None
        losses, logits = torch.empty(count, dtype=torch.float64), torch.empty(count, classes)
        self._pass("first", count, images, targets, sums, kept, self._scratch, losses, logits)
        # Every thread has summed its own images; a kernel's sums come in the order of Winograd's tiles.
        kernels = [self._in_torch_order(layer, part) for layer, part in enumerate(flat.split(own, dim=1)[: len(sizes)])]
        head, norms = None, None
        if everything:
            *affine, weight, bias = flat.sum(dim=0).split(own)[len(sizes) :]
            norms = list(zip(affine[::2], affine[1::2], strict=True))
            head = (self._head_from_panels(weight.view(classes, -1)), bias[:classes])
        return Gradients(losses.sum().float(), logits, kernels, head, norms, kept)

    def directional(
        self, images: Tensor, targets: Tensor, kept: Tensor, kernels: Sequence[Tensor], head: Tensor | None = None
    ) -> Tensor:
        """Derivative of the images' gradients [n, c, h, w] as the weights move along a direction.

        Args:
            images: those that `gradients` was given.
            targets: likewise.
            kept: what it kept of them.
            kernels: the direction, as the convolutions' weights.
            head: its part in the linear layer's weight.
        """
        images, targets = images.detach().contiguous(), targets.contiguous()
        own, held = self._first_turned, [self._first(kernels[0]), self._first(kernels[0], turned=True)]
        along = Direction(first=held[0].data_ptr(), first_turned=held[1].data_ptr(), own_turned=own.data_ptr())
        for layer, kernel in enumerate(kernels[1:], start=1):
            held += [self._changed(kernel, 4), self._changed(kernel, 4, turned=True)]
            along.kernels[layer], along.turned[layer] = held[-2].data_ptr(), held[-1].data_ptr()
        if head is not None:
            held.append(self._head_to_panels(head))
            along.head = held[-1].data_ptr()
        result = torch.empty_like(images)
        self._pass("second", ctypes.byref(along), len(images), images, targets, kept, self._scratch, result)
        return result

    def logits(self, images: Tensor) -> Tensor:
        """[n, classes]."""
        images, count = images.detach().contiguous(), len(images)
        logits = torch.empty(count, self.classes)
        self._pass("stages", count, images, None, self._scratch, None, logits)
        return logits

    def stages(self, images: Tensor, *, keep: bool = False) -> Stages:
        """Forward pass; with `keep`, for `image_gradient` afterwards."""
        images, count = images.detach().contiguous(), len(images)
        kept = torch.empty(count, self._kept_floats) if keep else None
        flat, logits = torch.empty(count, self._stage_floats), torch.empty(count, self.classes)
        self._pass("stages", count, images, kept, self._scratch, flat, logits)
        parts = flat.split([self._width * side * side for side in self._sides], dim=1)
        features = [
            part.view(count, -1, side, side, PANEL).permute(0, 1, 4, 2, 3).reshape(count, self._width, side, side)
            for part, side in zip(parts, self._sides, strict=True)
        ]
        return Stages(features, logits, kept)

    def image_gradient(self, images: Tensor, kept: Tensor, features: Sequence[Tensor], logits: Tensor) -> Tensor:
        """The images' gradient [n, c, h, w] of a loss, from its gradients by every block's output and by the logits.

        `kept` is what `stages` kept of these images; it serves once.
        """
        images, logits, count = images.detach().contiguous(), logits.contiguous(), len(images)
        parts = [
            part.view(count, -1, PANEL, side * side).transpose(2, 3).reshape(count, -1)
            for part, side in zip(features, self._sides, strict=True)
        ]
        result = torch.empty_like(images)
        self._pass(
            "back", count, images, torch.cat(parts, dim=1), logits, self._first_turned, kept, self._scratch, result
        )
        return result

    def _pass(self, name: str, *arguments: Any) -> None:
        """One of the library's passes of this network."""
        self._call(name, ctypes.byref(self._network), *arguments, self._threads)

    def _call(self, name: str, *arguments: Any) -> None:
        """A function of the library: tensors go by their address, None as NULL."""
        plain = (value.data_ptr() if isinstance(value, Tensor) else value for value in arguments)
        getattr(self._library, f"hmn_{name}")(*plain)

    def _hold(self, values: Tensor) -> int:
        """The address of values that stay here."""
        self._held.append(values.contiguous())
        return self._held[-1].data_ptr()

    def _first(self, kernel: Tensor, *, turned: bool = False) -> Tensor:
        to = torch.empty(self._width * self._tap_panels * PANEL)
        self._call("first_kernels", kernel.contiguous(), self._width, self._channels, self._tap_panels, turned, to)
        return to

    def _changed(self, kernel: Tensor, tile: int, *, turned: bool = False) -> Tensor:
        to = torch.empty(_TILE_SIDES[tile] ** 2 * self._width**2)
        self._call("kernels", kernel.contiguous(), self._width, _TILE_SIDES[tile], turned, to)
        return to

    def _in_torch_order(self, layer: int, of_threads: Tensor) -> Tensor:
        """The sum over threads of a kernel's gradients."""
        gradient = torch.zeros_like(self._kernels[layer], memory_format=torch.contiguous_format)
        for part in of_threads:
            if layer:
                self._call("kernels_adjoint", part, self._width, gradient)
            else:
                self._call("first_kernels_adjoint", part, self._width, self._channels, self._tap_panels, gradient)
        return gradient

    def _head_to_panels(self, weight: Tensor) -> Tensor:
        panels = weight.view(len(weight), -1, PANEL, self._sides[-1] ** 2)
        return panels.transpose(2, 3).contiguous()

    def _head_from_panels(self, weight: Tensor) -> Tensor:
        panels = weight.view(len(weight), -1, self._sides[-1] ** 2, PANEL)
        return panels.transpose(2, 3).reshape(len(weight), -1)


def mean_targets(labels: Tensor, classes: int) -> Tensor:
    """Targets [n, classes] of a mean cross-entropy with labels [n]."""
    return F.one_hot(labels, classes).float() / len(labels)
