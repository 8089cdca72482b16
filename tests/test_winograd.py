"""Winograd's convolution against torch's, values and both gradients, in float64."""

import pytest
import torch
from torch.nn import functional as F

from hmn import winograd


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("n", "channels", "out", "height", "width"), [(3, 2, 5, 8, 12), (1, 4, 3, 4, 4), (2, 1, 1, 16, 4)]
)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_agrees_with_direct_convolution(
    n: int, channels: int, out: int, height: int, width: int, memory_format: torch.memory_format
) -> None:
    images = torch.randn(n, channels, height, width, dtype=torch.float64, generator=seeded())
    images = images.to(memory_format=memory_format).requires_grad_()
    weight = torch.randn(out, channels, 3, 3, dtype=torch.float64, generator=seeded(1)).requires_grad_()
    towards = torch.randn(n, out, height, width, dtype=torch.float64, generator=seeded(2))
    found, expected = winograd.convolve(images, weight), F.conv2d(images, weight, padding=1)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)
    ours = torch.autograd.grad(found, [images, weight], towards)
    theirs = torch.autograd.grad(expected, [images, weight], towards)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def test_float32_rounds_little() -> None:
    images, weight = torch.randn(2, 64, 16, 16, generator=seeded()), torch.randn(64, 64, 3, 3, generator=seeded(1))
    exact = F.conv2d(images.double(), weight.double(), padding=1)
    assert float((winograd.convolve(images, weight) - exact).norm() / exact.norm()) < 1e-5


def test_what_it_fits() -> None:
    kernel = torch.zeros(2, 2, 3, 3)
    assert winograd.fits((16, 8), kernel)
    assert not winograd.fits((16, 6), kernel) and not winograd.fits((2, 2), kernel)
    assert not winograd.fits((16, 16), torch.zeros(2, 2, 5, 5))
