"""Networks: ConvNet-D, ResNetAP-10, ResNet-18, VGG, DenseNet-121 for small images, and timm's by name."""

from hmn.nets.base import Gate, Net, forget_masks, gates, record_masks, replay_masks
from hmn.nets.build import NET_NAMES, build_net

__all__ = ["NET_NAMES", "Gate", "Net", "build_net", "forget_masks", "gates", "record_masks", "replay_masks"]
