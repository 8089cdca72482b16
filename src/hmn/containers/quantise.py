"""How the floats of a container are stored: float32, float16, or int8 or int4 with scales.

Both integers are symmetric: value = scale * q, with q in -127..127 or -7..7. Every row of a memory (a channel of the
data set's, a class, an image) or of a weight has its own scale where the row has at least 64 values, so that scales
add at most 1/16 to the bytes of int8 and 1/8 to those of int4; otherwise the tensor has one. Biases are few and shift
every pixel: they stay float32 (those of an inr container are of single images, and stored as weights are).

A scale of int8 lets the largest magnitude through. With 15 levels that would leave most values two or three of them,
so int4 cuts large ones off where that makes the squared error of the row least. Two of its values share a byte, the
first in the low half, each as q + 8; a row of odd length ends in half a byte of zero.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

SCALE_SUFFIX = ".scale"
MIN_ROW = 64
"""Values that share a scale of four bytes, at least."""
STORED_AS = {"float32": torch.float32, "float16": torch.float16, "int8": torch.int8, "int4": torch.uint8}
"""Type in the file, by name."""
LEVELS = {"int8": 127, "int4": 7}
"""The largest q."""
CUTS = {"int8": (1.0,), "int4": tuple(step / 20 for step in range(20, 5, -1))}
"""Shares of a row's largest magnitude, of which a scale lets one through; of equally good ones the first."""
_ZERO = 8  # what q = 0 is in half a byte


def layout(shapes: Mapping[str, tuple[int, ...]], dtype: str) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """Type and shape of every tensor in the file, for float tensors of these shapes.

    Args:
        shapes: the container's tensors by name.
        dtype: "float32", "float16", "int8" or "int4".
    """
    stored: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        if _in_levels(name, dtype):
            stored[name] = (STORED_AS[dtype], _packed_shape(shape) if dtype == "int4" else shape)
            stored[name + SCALE_SUFFIX] = (torch.float32, _scale_shape(shape))
        else:
            stored[name] = (_float_type(dtype), shape)
    return stored


def encode(state: Mapping[str, Tensor], dtype: str, *, scales: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Float tensors as they are stored; the inverse of `decode` up to rounding.

    Values that were decoded come back to the bit with the `scales` (by the names that they have in the file) of the
    file that they came from.
    """
    stored: dict[str, Tensor] = {}
    for name, tensor in state.items():
        value = tensor.detach().float()
        if not _in_levels(name, dtype):
            stored[name] = value.to(_float_type(dtype))
            continue
        scale = _scale(value, dtype) if scales is None else scales[name + SCALE_SUFFIX]
        levels = _levels(value, scale, dtype).to(torch.int8)
        stored[name] = _packed(levels) if dtype == "int4" else levels
        stored[name + SCALE_SUFFIX] = scale
    return {name: value.cpu().contiguous() for name, value in stored.items()}


def decode(stored: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The float32 tensors of these shapes that a file holds."""
    state = {}
    for name, shape in shapes.items():
        value, scale = stored[name], stored.get(name + SCALE_SUFFIX)
        if value.dtype == torch.uint8:
            value = _unpacked(value, shape)
        state[name] = value.float() if scale is None else value.float() * scale
    return state


def rounded(name: str, value: Tensor, dtype: str) -> Tensor:
    """What comes back of the tensor `name` after it was stored, without a gradient; on its own device."""
    value = value.detach().float()
    if not _in_levels(name, dtype):
        return value.to(_float_type(dtype)).float()
    scale = _scale(value, dtype)
    return _levels(value, scale, dtype) * scale


def _in_levels(name: str, dtype: str) -> bool:
    return dtype in LEVELS and not name.endswith("bias")


def _float_type(dtype: str) -> torch.dtype:
    return torch.float32 if dtype in LEVELS else STORED_AS[dtype]


def _levels(value: Tensor, scale: Tensor, dtype: str) -> Tensor:
    return (value / scale).round().clamp(-LEVELS[dtype], LEVELS[dtype])


def _scale_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    rest = torch.Size(shape[1:]).numel()
    return (shape[0] if rest >= MIN_ROW else 1, *(1 for _ in shape[1:]))


def _scale(value: Tensor, dtype: str) -> Tensor:
    """By row or over the tensor, what one level is worth; 1 where all values are zero."""
    shape = _scale_shape(tuple(value.shape))
    if not value.numel():
        return torch.ones(shape, device=value.device)
    rows = value.reshape(shape[0], -1)
    largest = rows.abs().amax(dim=1, keepdim=True) / LEVELS[dtype]
    # A cut of the smallest numbers may be 0.
    largest = torch.where(largest * CUTS[dtype][-1] > 0, largest, torch.ones_like(largest))
    if len(CUTS[dtype]) == 1:
        return largest.reshape(shape)
    scales = torch.stack([largest * cut for cut in CUTS[dtype]])
    errors = torch.stack([(_levels(rows, scale, dtype) * scale - rows).square().sum(dim=1) for scale in scales])
    return scales.gather(0, errors.argmin(dim=0)[None, :, None])[0].reshape(shape)


def _packed_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    rows = _scale_shape(shape)[0]
    return rows, (torch.Size(shape).numel() // max(rows, 1) + 1) // 2


def _packed(levels: Tensor) -> Tensor:
    """uint8 [rows, (values + 1) // 2] of int8 levels in -7..7."""
    rows, width = _packed_shape(tuple(levels.shape))
    halves = torch.zeros(rows, 2 * width, dtype=torch.uint8, device=levels.device)
    values = levels.numel() // max(rows, 1)
    halves[:, :values] = (levels.reshape(rows, values) + _ZERO).to(torch.uint8)
    return halves[:, ::2] | halves[:, 1::2] << 4


def _unpacked(packed: Tensor, shape: tuple[int, ...]) -> Tensor:
    halves = torch.stack([packed & 15, packed >> 4], dim=2).flatten(1)
    values = torch.Size(shape).numel() // max(len(packed), 1)
    return (halves[:, :values].to(torch.int8) - _ZERO).reshape(shape)
