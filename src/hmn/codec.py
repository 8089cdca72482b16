"""Real images as JPEG or WebP in a given number of bytes: the plain alternative to condensing."""

from __future__ import annotations

import io
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hmn.data.real import RealData
from hmn.errors import UserError

WEBP_HEADER_BYTES = 20
"""RIFF, its size, WEBP, VP8 and its size: the same for all images but for the sizes, so not stored."""
QUALITIES = (20, 35, 50, 65, 80, 90, 95)


class CodecFacts(NamedTuple):
    """How the images were stored."""

    format: str
    quality: int
    images: int
    num_bytes: int
    """Bytes of all images, headers that they share not counted."""


def images_in_bytes(
    data: RealData,
    num_bytes: int,
    *,
    format: Literal["webp", "jpeg"] = "webp",
    quality: int | None = None,
    seed: int = 0,
) -> tuple[RealData, CodecFacts]:
    """Random real images, as many of every class as possible, encoded in memory until the bytes are used up.

    The quality is 20 where none is given: in 122,880 bytes of CIFAR-10, 744 images at 20 trained as well as
    1,040 at 5 (one seed). It is raised in steps where all images fit and bytes are left. Classes take turns:
    none gets more than one image more than another.

    Args:
        data: real training images.
        num_bytes: bytes that may be used.
        format: of the files; headers that all images share are not counted.
        quality: 1 to 100; None chooses.
        seed: of the order in which images are taken.

    Returns:
        the images as they come back from the files, and how they were stored.

    Raises:
        UserError: fewer bytes than an image of each class needs, or a quality outside 1..100.
    """
    if quality is not None and not 1 <= quality <= 100:
        raise UserError(f"codec quality {quality}: expected 1 to 100.")
    order = class_turns(data.labels, seed)
    for attempt in (quality,) if quality is not None else QUALITIES:
        taken, pixels, used = _encode_until(data, order, num_bytes, format, attempt)
        best = (taken, pixels, CodecFacts(format, attempt, len(taken), used))
        if len(taken) < len(order):
            break
    index, decoded, facts = best
    if len(index) < data.num_classes:
        raise UserError(
            f"{num_bytes:,} bytes hold {len(index)} images as {format} at quality {facts.quality}, fewer "
            f"than the {data.num_classes} classes: choose a lower quality or a larger container."
        )
    return (
        RealData(
            pixels=decoded,
            labels=data.labels[index],
            class_names=data.class_names,
            normalisation=data.normalisation,
            name=f"{data.name} as {format}",
        ),
        facts,
    )


def class_turns(labels: Tensor, seed: int) -> Tensor:
    """All indices of labels [n] in random order, the classes taking turns: int64 [n]."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)
    turn = torch.empty_like(order)
    for label in labels.unique():
        members = (labels[order] == label).nonzero()[:, 0]
        turn[members] = torch.arange(len(members))
    return order[turn.argsort(stable=True)]


def _encode_until(
    data: RealData, order: Tensor, num_bytes: int, format: str, quality: int
) -> tuple[Tensor, Tensor, int]:
    used, count, decoded = 0, 0, []
    for position in order.tolist():
        content, pixels = encode_image(data.pixels[position], format, quality)
        if used + content > num_bytes:
            break
        used, count = used + content, count + 1
        decoded.append(pixels)
    empty = data.pixels[:0]
    return order[:count], torch.stack(decoded) if decoded else empty, used


def encode_image(image: Tensor, format: str, quality: int) -> tuple[int, Tensor]:
    """Bytes of an image uint8 [c, h, w] as a file without its header, and the image that comes back."""
    from PIL import Image

    array = image.permute(1, 2, 0).cpu().numpy()
    picture = Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)
    stream = io.BytesIO()
    if format == "webp":
        picture.save(stream, "WEBP", quality=quality, method=6)
        size = len(stream.getvalue()) - WEBP_HEADER_BYTES
    else:
        picture.save(stream, "JPEG", quality=quality)
        size = _jpeg_scan_bytes(stream.getvalue())
    stream.seek(0)
    with Image.open(stream) as found:
        back = np.array(found.convert("L" if array.shape[2] == 1 else "RGB"))
    return size, torch.from_numpy(back.reshape(array.shape)).permute(2, 0, 1).contiguous()


def _jpeg_scan_bytes(content: bytes) -> int:
    """Bytes after the start-of-scan segment: what is before it is the same for all images of a quality."""
    start = content.index(b"\xff\xda")
    header = int.from_bytes(content[start + 2 : start + 4], "big") + 2
    return len(content) - start - header - len(b"\xff\xd9")
