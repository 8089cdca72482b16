"""Slow, obvious versions of the containers besides HMN: float64, one pixel of one image at a time."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from hmn.containers.factorized import Factorized
from hmn.containers.frequency import Frequency
from hmn.containers.inr import Inr
from hmn.containers.linear import Linear
from hmn.containers.mosaic import Mosaic
from hmn.containers.pixels import Pixels
from hmn.data.source import Normalisation

Array = np.ndarray
AXES = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
"""Red, green and blue of the three channels of the container `frequency`."""


def pixels(container: Pixels) -> Tensor:
    return container.pixels.detach().double().clamp(0, 1)


def mosaic(container: Mosaic) -> Tensor:
    """Class by class, factor by factor; every tile clamped and enlarged pixel by pixel."""
    shape, found = container.shape, []
    taken = [0] * len(shape.factors)
    for label in range(shape.num_classes):
        for position in range(len(shape.factors)):
            for _ in range(shape.tiles[position][label]):
                tile = (
                    container.get_parameter(f"tiles.{position}")[taken[position]].detach().double().clamp(0, 1).numpy()
                )
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
    weights, biases = (list(group.parameters()) for group in container.children())
    shape, found = container.shape, []
    height, width = shape.image_shape[1:]
    for number in range(shape.num_images):
        image = np.zeros(shape.image_shape)
        for y in range(height):
            for x in range(width):
                hidden = np.array([2 * y / (height - 1) - 1, 2 * x / (width - 1) - 1])
                for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
                    hidden = weight[number].detach().double().numpy() @ hidden + bias[number].detach().double().numpy()
                    if layer < shape.hidden_layers:
                        omega = shape.first_frequency if layer == 0 else shape.frequency
                        hidden = np.sin(omega * hidden)
                image[:, y, x] = hidden
        found.append(image)
    return denormalised(np.stack(found), container.normalisation)


def frequency(container: Frequency) -> Tensor:
    shape = container.shape
    waves = [wave(place, shape.image_shape) for place in places(shape.image_shape, shape.coefficients)]
    found = []
    for row in container.coefficients.detach().double().numpy():
        image = np.full(shape.image_shape, 0.5)
        for value, (scale, picture) in zip(row, waves, strict=True):
            image += value * scale * picture
        shown = np.clip(image, 0, 1)
        found += [shown, shown[:, :, ::-1]][: shape.views]
    return torch.tensor(np.stack(found))


def low_frequencies(images: Array, count: int) -> tuple[Array, Array]:
    """What the container `frequency` stores of images [n, c, h, w], and what it then shows."""
    stored, found = np.zeros((len(images), count)), np.full(images.shape, 0.5)
    size = images.shape[1:]
    for number, place in enumerate(places((size[0], size[1], size[2]), count)):
        scale, picture = wave(place, (size[0], size[1], size[2]))
        for row, image in enumerate(images):
            value = ((image - 0.5) * picture).sum()
            stored[row, number] = value / scale
            found[row] += value * picture
    return stored, np.clip(found, 0, 1)


def places(image_shape: tuple[int, int, int], count: int) -> list[tuple[int, int, int]]:
    """Channel, row and column of the frequencies that are kept: all of them, ordered by the rule's variance."""
    channels, height, width = image_shape
    everything = [(c, u, v) for c in range(channels) for u in range(height) for v in range(width)]
    everything.sort(key=lambda place: -variance(place, image_shape))  # stable: the first of equal ones stays first
    return everything[:count]


def variance(place: tuple[int, int, int], image_shape: tuple[int, int, int]) -> float:
    channel, u, v = place
    return (100, 12, 3)[channel] * image_shape[1] * image_shape[2] / 1024 * (1 + math.hypot(u, v)) ** -2.7


def wave(place: tuple[int, int, int], image_shape: tuple[int, int, int]) -> tuple[float, Array]:
    """The scale of a stored value, and the picture of norm 1 that it stands for."""
    (channel, u, v), (channels, height, width) = place, image_shape
    picture = np.zeros(image_shape)
    for y in range(height):
        for x in range(width):
            value = math.cos(math.pi * u * (y + 0.5) / height) * math.cos(math.pi * v * (x + 0.5) / width)
            value *= math.sqrt((2 if u else 1) / height) * math.sqrt((2 if v else 1) / width)
            picture[:, y, x] = value if channels == 1 else value * AXES[channel]
    return math.sqrt(variance(place, image_shape)), picture


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
