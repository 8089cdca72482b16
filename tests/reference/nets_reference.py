"""ConvNet in float64 with every operation written out."""

import numpy as np
import torch
from torch import Tensor, nn


def instance_norm_slow(x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """Each channel of each image [b, c, h, w] to mean 0 and (biased) variance 1, then scaled and shifted."""
    out = np.zeros(x.shape)
    scale, shift = weight.detach().double().numpy(), bias.detach().double().numpy()
    for i, image in enumerate(x.double().numpy()):
        for c, plane in enumerate(image):
            variance = ((plane - plane.mean()) ** 2).mean()
            out[i, c] = (plane - plane.mean()) / np.sqrt(variance + eps) * scale[c] + shift[c]
    return torch.from_numpy(out)


def conv3x3_slow(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """3x3 correlation with one pixel of zeros around."""
    b, _, height, width = x.shape
    padded = np.pad(x.double().numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)))
    kernel = weight.detach().double().numpy()
    out = np.zeros((b, len(kernel), height, width))
    for y in range(height):
        for column in range(width):
            patch = padded[:, :, y : y + 3, column : column + 3]
            out[:, :, y, column] = np.einsum("bchw,ochw->bo", patch, kernel)
    return torch.from_numpy(out + bias.detach().double().numpy()[None, :, None, None])


def convnet_slow(net: nn.Module, x: Tensor) -> Tensor:
    """Logits of a ConvNet, from its parameters in the order of definition."""
    parameters = [p.detach().double() for p in net.parameters()]
    x = x.double()
    while len(parameters) > 2:
        kernel, kernel_bias, scale, shift, *parameters = parameters
        x = instance_norm_slow(conv3x3_slow(x, kernel, kernel_bias), scale, shift).clamp(min=0)
        height, width = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
        x = x[:, :, :height, :width]
        x = (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4
    weight, bias = parameters
    return x.flatten(1) @ weight.T + bias
