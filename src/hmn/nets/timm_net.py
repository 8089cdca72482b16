"""Any network of the timm library by name."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor, nn

from hmn.errors import UserError
from hmn.nets.base import Net


@final
class TimmNet(Net):
    """A timm model, untrained; its feature is what timm's own forward_features gives.

    Raises:
        UserError: timm is not installed, has no such model, or the model cannot take such images.
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
