"""HaBa: bases of each class pass through hallucinators that all classes share; every pair is an image."""

from __future__ import annotations

import math
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hmn.containers.pixel_range import shown
from hmn.containers.rival import Rival
from hmn.rival_shapes import FactorizedShape


@final
class Factorized(Rival[FactorizedShape]):
    """Image i of a class is hallucinator i mod H of base i div H, in normalised units, as pixels in [0, 1].

    A hallucinator is a 3x3 convolution without padding, a scale and a shift for every value, and a transposed
    convolution back to the size of the image: 5,568 floats at 32 pixels and 3 channels.

    Source: HaBa (arXiv:2210.16774) and its code (utils.py: StyleTranslator; distill_fac.py). Deviations: the
    hallucinators count in the ledger, so that fewer or grey bases fit (hmn.plan_rivals); what is shown is clamped to
    [0, 1]. Its adversarial contrastive term belongs to the objective, not to this container.
    """

    bases: nn.Parameter
    encoder_weight: nn.Parameter
    encoder_bias: nn.Parameter
    scale: nn.Parameter
    shift: nn.Parameter
    decoder_weight: nn.Parameter
    decoder_bias: nn.Parameter

    def _first_values(self, name: str, size: tuple[int, ...], generator: torch.Generator) -> Tensor:
        if name == "bases":
            return torch.randn(size, generator=generator)
        if name in ("scale", "shift"):
            return torch.full(size, 1.0 if name == "scale" else 0.0)
        # torch's own initialisation of convolutions, from which HaBa starts; the fan is of one output's inputs.
        part, channels = name.split("_")[0], self.image_shape[0]
        fan = 9 * (self.shape.base_channels if part == "encoder" else channels)
        return (2 * torch.rand(size, generator=generator) - 1) / math.sqrt(fan)

    def _rows_of(self, name: str, images: Tensor) -> Tensor | None:
        if name != "bases":
            return None
        return (images // self.shape.num_hallucinators).unique()

    def images(self, index: Tensor) -> Tensor:
        """Images at `index` [b], float32 [b, c, h, w] in [0, 1], differentiable in the parameters."""
        count = self.shape.num_hallucinators
        bases = self.bases[index // count]
        which = index.cpu() % count
        order, parts = [], []
        for number in range(count):
            chosen = (which == number).nonzero()[:, 0]
            order.append(chosen)
            parts.append(self._hallucinated(bases[chosen.to(bases.device)], number))
        return shown(torch.cat(parts)[torch.cat(order).argsort().to(index.device)], self.normalisation)

    def _hallucinated(self, bases: Tensor, number: int) -> Tensor:
        """Bases [b, c, h, w] through one hallucinator."""
        if not len(bases):
            return bases.expand(0, *self.image_shape)  # in the graph: the share of a process may be empty
        # CPU kernels round a batch of one differently: two keep every image's bits the same.
        batch = bases.repeat(2, 1, 1, 1) if len(bases) == 1 else bases
        hidden = F.conv2d(batch, self.encoder_weight[number], self.encoder_bias[number])
        hidden = hidden * self.scale[number] + self.shift[number]
        images = F.conv_transpose2d(hidden, self.decoder_weight[number], self.decoder_bias[number])
        return images[: len(bases)]

    def start_from(self, targets: Tensor) -> bool:
        """Take real images as the bases, as HaBa does: of the targets [n, c, h, w], the first for each base.

        The hallucinators stay as they are, so the images are not the targets.
        """
        first = targets[:: self.shape.num_hallucinators]
        mean, std = (targets.new_tensor(v).view(1, -1, 1, 1) for v in self.normalisation)
        bases = (first - mean) / std
        if self.shape.base_channels == 1:
            bases = bases.mean(dim=1, keepdim=True)
        self.bases.data.copy_(bases)
        return True
