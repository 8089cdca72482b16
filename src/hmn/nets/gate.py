"""ReLU whose pattern of open and shut units can be kept and used again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, final

from torch import Tensor, nn
from torch.nn import functional as F


@final
class Gate(nn.Module):
    """ReLU. While recording it keeps the mask (z > 0) of each call, while replaying it returns z * mask.

    A finite difference in the weights is right only where the masks stay as they were: kinks that are crossed
    between its two points make it wrong at every step size.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mode: Literal["relu", "record", "replay"] = "relu"
        self.masks: list[Tensor] = []
        self.calls = 0

    def forward(self, z: Tensor) -> Tensor:
        """Any shape; in replay the shape of the recorded call."""
        if self.mode == "relu":
            return F.relu(z)
        if self.mode == "record":
            self.masks.append(z.detach() > 0)
            return F.relu(z)
        mask = self.masks[self.calls % len(self.masks)]
        self.calls += 1
        return z * mask


def gates(net: nn.Module) -> list[Gate]:
    """The gates of a network in order of definition."""
    return [module for module in net.modules() if isinstance(module, Gate)]


@contextmanager
def record_masks(net: nn.Module) -> Iterator[None]:
    """Inside, every gate keeps the mask of each of its calls, in order; those of an earlier recording go."""
    forget_masks(net)
    with _mode(net, "record"):
        yield


@contextmanager
def replay_masks(net: nn.Module) -> Iterator[None]:
    """Inside, the calls reuse the recorded masks from the first on, in order, and start over after the last.

    Raises:
        ValueError: a gate holds no masks.
    """
    if any(not gate.masks for gate in gates(net)):
        raise ValueError("replay_masks: nothing was recorded; run the network inside record_masks first.")
    with _mode(net, "replay"):
        yield


def forget_masks(net: nn.Module) -> None:
    """Frees the recorded masks."""
    for gate in gates(net):
        gate.masks.clear()


@contextmanager
def _mode(net: nn.Module, mode: Literal["record", "replay"]) -> Iterator[None]:
    for gate in gates(net):
        gate.mode, gate.calls = mode, 0
    try:
        yield
    finally:
        for gate in gates(net):
            gate.mode, gate.calls = "relu", 0
