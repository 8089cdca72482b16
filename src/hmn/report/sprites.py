"""Images of a class as one picture, small enough for a page: exact where there is room, else as lossy WebP."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

import torch.nn.functional as F
from PIL import Image, features
from torch import Tensor

from hmn.containers.artifact.picture import as_picture
from hmn.errors import UserError

COLUMNS = 16
MAX_SIDE = 64
"""Longest side of an image, in pixels: larger ones are shrunk."""


class Sprite(NamedTuple):
    """Images in a grid, from left to right and from top to bottom, as a URL that holds them."""

    url: str
    columns: int
    rows: int


class Sheet(NamedTuple):
    """The sprites of several classes, and how they were stored."""

    sprites: list[Sprite]
    side: int
    """Side of an image, in pixels."""
    quality: int | None
    """Quality of WebP; None is lossless."""
    num_bytes: int


def sheet(pixels: Tensor, chosen: Sequence[Tensor], quality: int | None) -> Sheet:
    """Sprites of some images, a class each.

    Args:
        pixels: uint8 [n, c, h, w].
        chosen: for every class, indices of its images.
        quality: that of WebP, 1 to 100; None is lossless.

    Raises:
        UserError: this Pillow cannot write WebP.
    """
    if not features.check("webp"):
        raise UserError("this Pillow cannot write WebP: pip install --upgrade pillow")
    small = shrunk(pixels)
    files = [_webp(small[index], quality) for index in chosen]
    sprites = [
        Sprite(f"data:image/webp;base64,{base64.b64encode(file).decode()}", *_grid(len(index)))
        for file, index in zip(files, chosen, strict=True)
    ]
    return Sheet(sprites, max(small.shape[2:]), quality, sum(map(len, files)))


def shrunk(pixels: Tensor) -> Tensor:
    """uint8 images at no more than `MAX_SIDE` pixels a side, averaged over areas."""
    height, width = pixels.shape[2:]
    if max(height, width) <= MAX_SIDE:
        return pixels
    factor = MAX_SIDE / max(height, width)
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    return F.interpolate(pixels.float(), size, mode="area").round().to(pixels.dtype)


def _grid(count: int) -> tuple[int, int]:
    columns = max(1, min(count, COLUMNS))
    return columns, max(1, -(-count // columns))


def _webp(images: Tensor, quality: int | None) -> bytes:
    """A grid of images as one WebP file, on squares of their longer side."""
    columns, rows = _grid(len(images))
    side = max(images.shape[2:])
    canvas = Image.new("RGB", (columns * side, rows * side))
    for place, image in enumerate(images):
        canvas.paste(as_picture(image), (place % columns * side, place // columns * side))
    buffer = io.BytesIO()
    options = {"lossless": True} if quality is None else {"quality": quality}
    canvas.save(buffer, format="WEBP", method=4, **options)
    return buffer.getvalue()
