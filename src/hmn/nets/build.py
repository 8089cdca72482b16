"""Networks by name, and those of the timm library, which are known by nothing else."""

import re
from typing import Any, final

import torch
from torch import Generator, Tensor, nn

from hmn.errors import UserError
from hmn.nets.base import Net
from hmn.nets.convnet import ConvNet
from hmn.nets.densenet import DenseNet
from hmn.nets.resnet import resnet18, resnet_ap10
from hmn.nets.vgg import Vgg

NET_NAMES = ("convnet3", "convnet4", "resnetap10", "resnet18", "vgg11", "vgg16", "densenet121")
_OWN_WIDTH = {"convnet": 128, "resnetap10": 64, "resnet18": 64, "vgg11": 64, "vgg16": 64, "densenet121": 32}


def build_net(
    name: str, *, num_classes: int, image_shape: tuple[int, int, int], width: int | None = None, generator: Generator
) -> Net:
    """A freshly initialised network on the CPU for images of shape (channels, height, width).

    `name` is convnetD of any depth D, one of NET_NAMES, or timm/NAME. `width` is the number of channels of the first
    convolution (densenet121: the growth rate). The weights come from `generator` alone: the global random state is
    neither read nor moved.

    ConvNet and ResNetAP-10 have instance norm. ResNet-18, VGG and DenseNet-121 have BatchNorm, as IDC's
    cross-architecture tables have; DC, DSA and MTT give ResNet-18 and VGG-11 instance norm: add "-in" to the name for
    that. Raises UserError: unknown name, a width that is not positive or not wanted, images too small for the network.
    """
    if num_classes < 1:
        raise UserError(f"num_classes={num_classes}: a network needs at least one class.")
    if width is not None and width < 1:
        raise UserError(f"width={width}: expected at least 1 channel, or none for the network's own.")
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the accelerators too
        return _build(name, num_classes, image_shape, width)


def width_of(name: str, width: int | None) -> int | None:
    """The width that `build_net` gives a network: `width`, else the network's own; None where timm decides."""
    kind = "convnet" if name.startswith("convnet") else name.removesuffix("-in")
    return width if width is not None else _OWN_WIDTH.get(kind)


def _build(name: str, num_classes: int, image_shape: tuple[int, int, int], given_width: int | None) -> Net:
    if name.startswith("timm/"):
        if given_width is not None:
            raise UserError(f"network {name} has its own widths: leave out width={given_width}.")
        return TimmNet(name.removeprefix("timm/"), num_classes=num_classes, image_shape=image_shape)
    # All others have a width; "-in" says instance norm where BatchNorm is usual.
    kind, norm = name.removesuffix("-in"), "instance" if name.endswith("-in") else "batch"
    sizes = width_of(name, given_width) or 0, num_classes, image_shape  # 0: an unknown name, refused below
    if depth := re.fullmatch(r"convnet([1-9]\d?)", name):
        return ConvNet(int(depth[1]), *sizes)
    if name == "resnetap10":
        return resnet_ap10(*sizes)
    if kind == "resnet18":
        return resnet18(*sizes, norm=norm)
    if kind in ("vgg11", "vgg16"):
        return Vgg(int(kind[3:]), *sizes, norm=norm)
    if kind == "densenet121":
        return DenseNet(*sizes, norm=norm)
    raise UserError(f"unknown network {name!r}: expected convnetD, {', '.join(NET_NAMES[2:])} or timm/NAME.")


@final
class TimmNet(Net):
    """A timm model, untrained; its feature is what timm's own forward_features gives. Raises UserError: timm is not
    installed, has no such model, or the model cannot take such images.
    """

    def __init__(self, name: str, *, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        try:
            import timm
        except ImportError:
            raise UserError(f"network timm/{name} needs timm: pip install 'hmn[vision]'.") from None
        if not timm.is_model(name):
            near = timm.list_models(f"*{name}*")[:3]
            hint = f"perhaps {', '.join(near)}" if near else "timm.list_models() lists them"
            raise UserError(f"timm has no model {name!r}: {hint}.")
        channels, height, width = image_shape
        sizes: dict[str, Any] = {"num_classes": num_classes, "in_chans": channels}
        try:
            self.net: Any = timm.create_model(name, pretrained=False, img_size=(height, width), **sizes)
        except TypeError:  # most convolutional networks take any size and know no img_size
            self.net = timm.create_model(name, pretrained=False, **sizes)
        self.net.eval()
        try:
            with torch.no_grad():
                self.net(torch.zeros(1, *image_shape))
        except (RuntimeError, AssertionError, ValueError) as error:
            reason = (str(error).splitlines() or ["it failed"])[0]
            raise UserError(f"timm/{name} cannot take images of {height}x{width} pixels: {reason}.") from None
        self.net.train()

    @property
    def classifier(self) -> nn.Module:  # type: ignore[override]
        """timm's head module."""
        return self.net.get_classifier()

    def features(self, images: Tensor) -> list[Tensor]:
        """The one activation before pooling."""
        return [self.net.forward_features(images)]

    def head(self, last: Tensor) -> Tensor:
        """Logits by timm's own pooling and head."""
        return self.net.forward_head(last)
