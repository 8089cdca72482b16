"""Augmentation image by image and pixel by pixel in float64, one operation after the other."""

import math

import numpy as np
import torch
from torch import Tensor

from hmn.train.augment import CROP, SCALE, AugmentParams


def apply_slow(images: Tensor, params: AugmentParams) -> Tensor:
    """Images [b, c, h, w] changed as `params` says; float64."""
    out = [_one(image, params.expand(torch.tensor([i]))) for i, image in enumerate(images.double().numpy())]
    return torch.from_numpy(np.stack(out))


def _one(image: np.ndarray, params: AugmentParams) -> np.ndarray:
    if params.flip is not None and params.flip[0]:
        image = image[:, :, ::-1]
    if params.color is not None:
        shift, saturation, contrast = params.color[0].tolist()
        image = image + shift
        if image.shape[0] > 1:
            grey = image.mean(axis=0, keepdims=True)
            image = (image - grey) * saturation + grey
        image = (image - image.mean()) * contrast + image.mean()
    choice = int(params.choice[0])
    if choice == CROP:
        image = _crop(image, *params.shift[0].tolist())
    elif choice >= SCALE:
        image = _sample(image, params.warp[0].numpy())
    if params.hole is not None:
        image = _cutout(image, *params.hole[0].tolist())
    return image


def _crop(image: np.ndarray, down: int, right: int) -> np.ndarray:
    out = np.zeros_like(image)
    _, height, width = image.shape
    for y in range(height):
        for x in range(width):
            if 0 <= y + down < height and 0 <= x + right < width:
                out[:, y, x] = image[:, y + down, x + right]
    return out


def _cutout(image: np.ndarray, top: int, left: int, bottom: int, right: int) -> np.ndarray:
    out = image.copy()
    for y in range(image.shape[1]):
        for x in range(image.shape[2]):
            if top <= y < bottom and left <= x < right:
                out[:, y, x] = 0
    return out


def _sample(image: np.ndarray, warp: np.ndarray) -> np.ndarray:
    """Bilinear; the borders of the image are at -1 and 1, what is outside is zero."""
    out = np.zeros_like(image)
    channels, height, width = image.shape

    def pixel(y: int, x: int) -> np.ndarray:
        inside = 0 <= y < height and 0 <= x < width
        return image[:, y, x] if inside else np.zeros(channels)

    for y in range(height):
        for x in range(width):
            target = np.array([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1])
            u, v = warp @ target
            column, row = ((u + 1) * width - 1) / 2, ((v + 1) * height - 1) / 2
            x0, y0 = math.floor(column), math.floor(row)
            a, b = column - x0, row - y0
            out[:, y, x] = (
                (1 - b) * (1 - a) * pixel(y0, x0)
                + (1 - b) * a * pixel(y0, x0 + 1)
                + b * (1 - a) * pixel(y0 + 1, x0)
                + b * a * pixel(y0 + 1, x0 + 1)
            )
    return out
