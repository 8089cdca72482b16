"""How the floats of a container are stored: float32, float16, or int8 with scales.

int8 is symmetric: value = scale * q with q in -127..127. Every row of a memory (a channel of the data set's,
a class, an image) or of a weight has its own scale where the row has at least 64 values, so that scales add
at most 1/16 to the bytes; otherwise the tensor has one. Biases are few and shift every pixel: they stay
float32.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

SCALE_SUFFIX = ".scale"
MIN_ROW = 64
"""Values that share a scale of four bytes, at least."""
STORED_AS = {"float32": torch.float32, "float16": torch.float16, "int8": torch.int8}


def layout(shapes: Mapping[str, tuple[int, ...]], dtype: str) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """Type and shape of every tensor in the file, for float tensors of these shapes.

    Args:
        shapes: the container's tensors by name.
        dtype: "float32", "float16" or "int8".
    """
    stored: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        if dtype == "int8" and name.endswith("bias"):
            stored[name] = (torch.float32, shape)
            continue
        stored[name] = (STORED_AS[dtype], shape)
        if dtype == "int8":
            stored[name + SCALE_SUFFIX] = (torch.float32, _scale_shape(shape))
    return stored


def encode(state: Mapping[str, Tensor], dtype: str, *, scales: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Float tensors as they are stored; the inverse of `decode` up to rounding.

    Values that were decoded come back to the bit with the `scales` (by the names that they have in the file) of the
    file that they came from.
    """
    stored: dict[str, Tensor] = {}
    for name, (kind, _) in layout({name: tuple(value.shape) for name, value in state.items()}, dtype).items():
        if name.endswith(SCALE_SUFFIX):
            continue  # written with its values
        value = state[name].detach().float()
        if kind == torch.int8:
            scale = _scale(value) if scales is None else scales[name + SCALE_SUFFIX]
            stored[name] = (value / scale).round().clamp(-127, 127).to(torch.int8)
            stored[name + SCALE_SUFFIX] = scale
        else:
            stored[name] = value.to(kind)
    return {name: value.cpu().contiguous() for name, value in stored.items()}


def decode(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The float32 tensors that a file holds."""
    state = {}
    for name, value in stored.items():
        if name.endswith(SCALE_SUFFIX):
            continue
        scale = stored.get(name + SCALE_SUFFIX)
        state[name] = value.float() if scale is None else value.float() * scale
    return state


def _scale_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    rest = torch.Size(shape[1:]).numel()
    return (shape[0] if rest >= MIN_ROW else 1, *(1 for _ in shape[1:]))


def _scale(value: Tensor) -> Tensor:
    """Largest magnitude over 127, row by row or over the tensor; 1 where all values are zero."""
    shape = _scale_shape(tuple(value.shape))
    if not value.numel():
        return torch.ones(shape)
    largest = value.abs().reshape(shape[0], -1).amax(dim=1) / 127
    return torch.where(largest > 0, largest, torch.ones_like(largest)).reshape(shape)
