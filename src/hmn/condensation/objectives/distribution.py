"""Distribution matching: class means of what the classifier of an untrained network would see.

One forward and one backward pass, no trained network: DM takes a freshly initialised one in every iteration.
Source: DM (arXiv:2110.04181), equation 5, and its code (main_DM.py).
"""

import torch
from torch import Tensor

from hmn.condensation.objectives.features import class_means, differentiated
from hmn.condensation.objectives.matching import Match, Matching
from hmn.data.source import Batch
from hmn.nets import Net
from hmn.nets.base import embedding
from hmn.nets.convnet_cpu import prepared
from hmn.recipes.settings import CondenseConfig
from hmn.runtime.device import moved


class Distribution(Matching):
    """Match class means of what the classifier of an untrained network would see (DM)."""

    sees_classes_together = True

    def match(self, net: Net, real: Batch, generated: Batch, config: CondenseConfig) -> Match:
        """The distance between mean embeddings."""
        return distribution_match(net, real, generated)


def distribution_match(net: Net, real: Batch, generated: Batch) -> Match:
    """Sum over classes of the squared distance between the mean embeddings of real and of generated images.

    Being a sum over classes, it is the same whether classes are matched together or in groups. BatchNorm sees each
    side's images together, as in DM's code.
    """
    fast = prepared(net, generated.images)
    with torch.no_grad():
        of_real = embedding(net, real.images) if fast is None else fast.stages(real.images).features[-1]
        targets = class_means(of_real, real.labels)
    present = moved(generated.labels.unique(), generated.images.device)

    def loss_of(stages: list[Tensor], logits: Tensor) -> Tensor:
        return (class_means(stages[-1], generated.labels)[present] - targets[present]).square().sum()

    def seen(images: Tensor) -> tuple[list[Tensor], Tensor]:
        return [embedding(net, images)], images  # no logits are asked for

    return differentiated(net, fast, generated.images, seen, loss_of)
