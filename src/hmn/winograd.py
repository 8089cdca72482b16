"""3x3 convolution by Winograd's minimal filtering, F(4x4, 3x3): a quarter of the multiplications.

Tiles of 6x6 input pixels (steps of 4) and the kernels are changed to another basis, multiplied there by 36 matrix
products, and changed back. It is written for torch.compile, which makes one vector loop of each change of basis;
uncompiled it is slower than torch's own convolution. Its rounding error is about four times a direct convolution's
(2.4e-6 against 6e-7, relative, at 128 channels). There is no second derivative.

Source: Lavin and Gray, arXiv:1509.09308, section 4.3.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_KERNEL_BASIS = (
    (1 / 4, 0.0, 0.0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0.0, 0.0, 1.0),
)


def fits(images_side: tuple[int, int], weight: Tensor) -> bool:
    """Whether `convolve` takes images of this height and width with this kernel."""
    return tuple(weight.shape[2:]) == (3, 3) and all(side % 4 == 0 and side > 0 for side in images_side)


def convolve(images: Tensor, weight: Tensor) -> Tensor:
    """Convolution of images [n, c, h, w] with kernels [o, c, 3, 3], stride 1, padding 1: [n, o, h, w].

    h and w are multiples of 4. Differentiable once in both. Images are read and written channels last.
    """
    out: Tensor = _Convolution.apply(images, weight)
    return out


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor) -> Tensor:
        tiles = _tiles(images)
        ctx.save_for_backward(tiles, weight)
        ctx.shape = images.shape
        return _assembled(torch.bmm(tiles, _kernels(weight)), images.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        tiles, weight = ctx.saved_tensors
        of_kernels = torch.bmm(tiles.transpose(1, 2), _assembled_adjoint(gradient))
        turned = weight.flip(2, 3).transpose(0, 1)
        of_images = _assembled(torch.bmm(_tiles(gradient), _kernels(turned)), ctx.shape)
        return of_images, _kernels_adjoint(of_kernels)


def _tiles(images: Tensor) -> Tensor:
    """B^T d B of every tile d: [36, n * tiles, c]."""
    n, channels, height, width = images.shape
    padded = F.pad(images.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    rows = _into([padded[:, a : a + height - 3 : 4] for a in range(6)])
    cells = [cell for row in rows for cell in _into([row[:, :, a : a + width - 3 : 4] for a in range(6)])]
    return torch.stack(cells).reshape(36, n * (height // 4) * (width // 4), channels)


def _assembled(products: Tensor, shape: torch.Size) -> Tensor:
    """A^T m A of every tile m of [36, n * tiles, o], side by side: [n, o, h, w] for images of `shape`."""
    n, _, height, width = shape
    out = products.shape[2]
    cells = products.view(6, 6, n, height // 4, width // 4, out)
    columns = [_out_of([cells[i, j] for i in range(6)]) for j in range(6)]
    rows = [torch.stack(_out_of([column[a] for column in columns]), dim=3) for a in range(4)]
    return torch.stack(rows, dim=2).reshape(n, height, width, out).permute(0, 3, 1, 2)


def _assembled_adjoint(gradient: Tensor) -> Tensor:
    """The transpose of `_assembled`: [n, o, h, w] to [36, n * tiles, o]."""
    n, out, height, width = gradient.shape
    tiles = gradient.permute(0, 2, 3, 1).reshape(n, height // 4, 4, width // 4, 4, out)
    rows = _out_of_adjoint([tiles[:, :, a] for a in range(4)])
    cells = [cell for row in rows for cell in _out_of_adjoint([row[:, :, :, b] for b in range(4)])]
    return torch.stack(cells).reshape(36, n * (height // 4) * (width // 4), out)


def _both_sides(like: Tensor) -> Tensor:
    """[36, 9]: G g G^T as one matrix on the flat kernel g."""
    basis = torch.tensor(_KERNEL_BASIS, dtype=like.dtype, device=like.device)
    return torch.kron(basis, basis)


def _kernels(weight: Tensor) -> Tensor:
    """G g G^T of every kernel of [o, c, 3, 3]: [36, c, o]."""
    out, channels = weight.shape[:2]
    flat = weight.permute(2, 3, 1, 0).reshape(9, channels * out)
    return (_both_sides(weight) @ flat).view(36, channels, out)


def _kernels_adjoint(gradient: Tensor) -> Tensor:
    """The transpose of `_kernels`: [36, c, o] to [o, c, 3, 3]."""
    _, channels, out = gradient.shape
    flat = _both_sides(gradient).t() @ gradient.reshape(36, channels * out)
    return flat.view(3, 3, channels, out).permute(3, 2, 0, 1)


def _into(d: list[Tensor]) -> list[Tensor]:
    """B^T applied to six rows."""
    a, b, c, e = d[4] - 4 * d[2], d[3] - 4 * d[1], d[4] - d[2], 2 * (d[3] - d[1])
    return [4 * d[0] - 5 * d[2] + d[4], a + b, a - b, c + e, c - e, 4 * d[1] - 5 * d[3] + d[5]]


def _out_of(m: list[Tensor]) -> list[Tensor]:
    """A^T applied to six rows."""
    p, q, r, s = m[1] + m[2], m[1] - m[2], m[3] + m[4], m[3] - m[4]
    return [m[0] + p + r, q + 2 * s, p + 4 * r, q + 8 * s + m[5]]


def _out_of_adjoint(y: list[Tensor]) -> list[Tensor]:
    """A applied to four rows."""
    p, q, r, s = y[0] + y[2], y[1] + y[3], y[0] + 4 * y[2], 2 * y[1] + 8 * y[3]
    return [y[0], p + q, p - q, r + s, r - s, y[3]]
