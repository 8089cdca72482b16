"""The hierarchical memory network: memories of the data set, of classes and of images, one decoder."""

from typing import Any, Self, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hmn.containers.container import Container, resized
from hmn.containers.hmn_sizes import HmnShape
from hmn.runtime.processes import sum_in_place

# Rows of a 4-tap transposed kernel (stride 2, padding 1) that reach an output of even or odd parity, as pairs of
# (offset in a 3-tap window over the input, row of the transposed kernel).
_TAPS = (((0, 3), (1, 1)), ((1, 2), (2, 0)))
BATCH_NORM_EPS = 1e-5
_BY_CLASS = ("class_memory", "extractor_weight", "extractor_bias")
"""Parameters with a row a class; instance memories have one an image, and the others are shared by all."""
_CHUNK = 512
"""Images at a time while BatchNorm's statistics are taken."""


def subpixel_kernel(weight: Tensor) -> Tensor:
    """The 3x3 kernel [4 out, in, 3, 3] whose convolution, pixel-shuffled by 2, is the transposed convolution.

    `weight` is [in, out, 4, 4] of ConvTranspose2d(kernel 4, stride 2, padding 1). Every output pixel sees a 2x2
    window of its input; the four parities become channels of one dense convolution, which CPUs run faster
    (benchmarks/bench_generate.py).
    """
    rows = weight.new_zeros(2, 3, 4)  # [parity, window, tap]
    for parity, taps in enumerate(_TAPS):
        for window, tap in taps:
            rows[parity, window, tap] = 1.0
    kernel = torch.einsum("pyk,qxl,iokl->opqiyx", rows, rows, weight)
    return kernel.reshape(-1, weight.shape[0], 3, 3)


@final
class Hmn(Container):
    """Image i of class c is decoder(concat(f_c(m_D), m_C[c], m_I[c, i])).

    The decoder is three transposed convolutions (kernel 4, stride 2, padding 1) with BatchNorm and an activation
    after the first two and a sigmoid at the end; the sources leave activation and squashing open, docs/log.md has
    the measurements. While it is being condensed BatchNorm sees the images rendered together; `finalised` replaces
    that by statistics over all images and folds them into the layer before, after which no image depends on another.
    Source: section 3 and Fig. 2 of arXiv:2310.07506; supplement C.1.
    """

    shape_class = HmnShape
    shape: HmnShape
    dataset_memory: nn.Parameter
    class_memory: nn.Parameter
    instance_memory: nn.Parameter
    extractor_weight: nn.Parameter
    extractor_bias: nn.Parameter

    def _first_values(self, name: str, size: tuple[int, ...], generator: torch.Generator) -> Tensor:
        if name.endswith("bias"):
            return torch.zeros(size)
        values = torch.randn(size, generator=generator)
        if name == "extractor_weight":
            return values * self.shape.dataset_channels**-0.5
        # Each output sees 4 taps of every input channel: this keeps the variance of the activations near one.
        return values * (2 / (4 * size[0])) ** 0.5 if name.startswith("decoder") else values

    def _prepare(self) -> None:
        if not self.stored:
            norms = (nn.BatchNorm2d(n, eps=BATCH_NORM_EPS, track_running_stats=False) for n in self.shape.hidden)
            self.norms = nn.ModuleList(norms)

    def _rows_of(self, name: str, images: Tensor) -> Tensor | None:
        if name == "instance_memory":
            return images
        return self.labels.cpu()[images].unique() if name in _BY_CLASS else None

    def images(self, index: Tensor) -> Tensor:
        # CPU kernels round a batch of one differently: two keep every image's bits the same. A part's batch is never
        # alone, and each of its images counts once in what the processes compute together.
        alone = len(index) == 1 and not self.is_part
        if alone:
            index = index.repeat(2)
        images = resized(torch.sigmoid(self._hidden(index, 2)), self.image_shape[1:], antialias=True)
        return images[:1] if alone else images

    def _hidden(self, index: Tensor, last: int) -> Tensor:
        """What comes out of layer `last` of the decoder, for the images at `index`."""
        hidden = self._first_layer(index)
        for position in range(last):
            if not self.stored:
                norm = self.norms[position]
                assert isinstance(norm, nn.BatchNorm2d)
                hidden = batch_norm_together(hidden, norm) if self.is_part else norm(hidden)
            hidden = _transposed(F.leaky_relu(hidden, 0.1), *self._decoder(position + 1))
        return hidden

    def _decoder(self, position: int) -> tuple[nn.Parameter, nn.Parameter]:
        """Weight and bias of a layer."""
        layer = f"decoder.{position}"
        return self.get_parameter(f"{layer}.weight"), self.get_parameter(f"{layer}.bias")

    def _first_layer(self, index: Tensor) -> Tensor:
        """Before the first BatchNorm, [b, hidden, 2m, 2m].

        The layer is linear: the share of the data set and of the class is computed once a class, not once an image.
        """
        weight, bias = self._decoder(0)
        shared, own = weight.tensor_split([self.shape.dataset_features + self.shape.class_channels])
        features = torch.cat([self._dataset_features(), self.class_memory], dim=1)
        per_class = _transposed(features, shared, bias)
        return _transposed(self.instance_memory[index], own, None) + per_class[self.labels[index]]

    def _dataset_features(self) -> Tensor:
        """f_c(m_D) for every class, [classes, features, m, m]."""
        if not self.shape.extractor:
            return self.dataset_memory.expand(self.shape.num_classes, -1, -1, -1)
        features = torch.einsum("cod,dyx->coyx", self.extractor_weight, self.dataset_memory)
        return features + self.extractor_bias[:, :, None, None]

    def finalised(self) -> Self:
        """The container with BatchNorm's statistics taken over all images and folded into the weights, by layers."""
        if self.stored:
            return self
        final = type(self)(self.shape, class_names=self.class_names, normalisation=self.normalisation, stored=True)
        # On the CPU, whatever the container is on: the statistics are taken in float64, which not every device has.
        final.load_state_dict({k: v for k, v in self.state_dict().items() if not k.startswith("norms.")})
        for position, norm in enumerate(self.norms):
            mean, variance = final._statistics(position)
            assert isinstance(norm, nn.BatchNorm2d)
            scale = norm.weight.detach().cpu() / (variance + BATCH_NORM_EPS).sqrt()
            weight, bias = final._decoder(position)
            weight.data.mul_(scale.view(1, -1, 1, 1))
            bias.data.sub_(mean).mul_(scale).add_(norm.bias.detach().cpu())
        return final.to(self.dataset_memory.device)

    @torch.no_grad()
    def _statistics(self, position: int) -> tuple[Tensor, Tensor]:
        """Mean and (biased) variance per channel of layer `position`'s output over all images, in float64."""
        total = squares = torch.zeros((), dtype=torch.float64)
        count = 0
        for index in torch.arange(len(self)).split(_CHUNK):
            values = self._hidden(index, position).double()
            total = total + values.sum((0, 2, 3))
            squares = squares + values.square().sum((0, 2, 3))
            count += values.numel() // values.shape[1]
        mean = total / count
        return mean.float(), (squares / count - mean.square()).clamp_min(0).float()


def _transposed(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Transposed convolution (kernel 4, stride 2, padding 1): [b, in, s, s] -> [b, out, 2s, 2s]."""
    wide = None if bias is None else bias.repeat_interleave(4)
    parities = F.conv2d(hidden, subpixel_kernel(weight), wide, padding=1)
    if not len(parities):  # the share of a process may be empty, which pixel_shuffle's backward does not take
        return parities.reshape(0, weight.shape[1], 2 * hidden.shape[2], 2 * hidden.shape[3])
    return F.pixel_shuffle(parities, 2)


def batch_norm_together(hidden: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    """What `norm` makes of [b, c, h, w], with mean and variance over the batches of all processes, differentiable.

    Collective, forwards and backwards. A batch may be empty, as long as one is not. SyncBatchNorm knows no CPU.
    """
    places = hidden.new_tensor([hidden.numel() // hidden.shape[1]])
    sums = _Sum.apply(torch.cat([hidden.sum((0, 2, 3)), places]))
    count = sums[-1].detach()
    centred = hidden - (sums[:-1] / count).view(1, -1, 1, 1)
    variance = _Sum.apply(centred.square().sum((0, 2, 3))) / count
    scale = norm.weight * (variance + norm.eps).rsqrt()
    return centred * scale.view(1, -1, 1, 1) + norm.bias.view(1, -1, 1, 1)


class _Sum(torch.autograd.Function):
    """The sum over processes. Every process's loss depends on it, so its gradient is their sum as well."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return sum_in_place(values.clone())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return sum_in_place(grad.contiguous().clone())
