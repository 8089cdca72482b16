"""Slow, obvious versions of the containers besides HMN: float64, one pixel of one image at a time."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from hmn.containers import Factorized, Inr, Linear, Mosaic, Pixels
from hmn.data.source import Normalisation

Array = np.ndarray


def pixels(container: Pixels) -> Tensor:
    return container.pixels.detach().double().clamp(0, 1)


def mosaic(container: Mosaic) -> Tensor:
    """Class by class, factor by factor; every tile clamped and enlarged pixel by pixel."""
    shape, found = container.shape, []
    taken = [0] * len(shape.factors)
    for label in range(shape.num_classes):
        for position in range(len(shape.factors)):
            for _ in range(shape.tiles[position][label]):
                tile = container.tiles[position][taken[position]].detach().double().clamp(0, 1).numpy()
                taken[position] += 1
                found.append(enlarged(tile, shape.image_shape[1:]))
    return torch.tensor(np.stack(found))


def linear(container: Linear) -> Tensor:
    bases, coefficients = container.bases.detach().double().numpy(), container.coefficients.detach().double().numpy()
    found = []
    for row in coefficients:
        small = np.zeros(bases.shape[1:])
        for number, base in enumerate(bases):
            small += row[number] * base
        found.append(enlarged(small, container.image_shape[1:]))
    return denormalised(np.stack(found), container.normalisation)


def factorized(container: Factorized) -> Tensor:
    """Every base of a class through every hallucinator, convolution and its transpose as sums over taps."""
    shape, found = container.shape, []
    values = {name: parameter.detach().double().numpy() for name, parameter in container.named_parameters()}
    channels, height, width = shape.image_shape
    for base in values["bases"]:
        for h in range(shape.num_hallucinators):
            inner = np.zeros((channels, height - 2, width - 2))
            for out in range(channels):
                for y in range(height - 2):
                    for x in range(width - 2):
                        taps = (values["encoder_weight"][h, out] * base[:, y : y + 3, x : x + 3]).sum()
                        inner[out, y, x] = taps + values["encoder_bias"][h, out]
            inner = inner * values["scale"][h] + values["shift"][h]
            image = np.zeros(shape.image_shape) + values["decoder_bias"][h][:, None, None]
            for y in range(height - 2):
                for x in range(width - 2):
                    for source in range(channels):
                        patch = inner[source, y, x] * values["decoder_weight"][h, source]
                        image[:, y : y + 3, x : x + 3] += patch
            found.append(image)
    return denormalised(np.stack(found), container.normalisation)


def inr(container: Inr) -> Tensor:
    shape, found = container.shape, []
    height, width = shape.image_shape[1:]
    for number in range(shape.num_images):
        image = np.zeros(shape.image_shape)
        for y in range(height):
            for x in range(width):
                hidden = np.array([2 * y / (height - 1) - 1, 2 * x / (width - 1) - 1])
                for layer, (weight, bias) in enumerate(zip(container.weights, container.biases, strict=True)):
                    hidden = weight[number].detach().double().numpy() @ hidden + bias[number].detach().double().numpy()
                    if layer < shape.hidden_layers:
                        omega = shape.first_frequency if layer == 0 else shape.frequency
                        hidden = np.sin(omega * hidden)
                image[:, y, x] = hidden
        found.append(image)
    return denormalised(np.stack(found), container.normalisation)


def enlarged(image: Array, size: tuple[int, int]) -> Array:
    """Bilinear, pixel centres aligned, edges repeated: [c, h, w] -> [c, *size]."""
    channels, height, width = image.shape
    out = np.zeros((channels, *size))
    for y in range(size[0]):
        for x in range(size[1]):
            at_y = min(max((y + 0.5) * height / size[0] - 0.5, 0), height - 1)
            at_x = min(max((x + 0.5) * width / size[1] - 0.5, 0), width - 1)
            y0, x0 = math.floor(at_y), math.floor(at_x)
            y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
            dy, dx = at_y - y0, at_x - x0
            upper = (1 - dx) * image[:, y0, x0] + dx * image[:, y0, x1]
            lower = (1 - dx) * image[:, y1, x0] + dx * image[:, y1, x1]
            out[:, y, x] = (1 - dy) * upper + dy * lower
    return out


def denormalised(images: Array, normalisation: Normalisation) -> Tensor:
    """Pixels in [0, 1] of images in normalised units."""
    mean, std = (np.array(values)[:, None, None] for values in normalisation)
    return torch.tensor(np.clip(images * std + mean, 0, 1))
