"""Real images as WebP, JPEG or AVIF in a given number of bytes: the plain alternative to condensing.

What counts is the coded picture alone: what a decoder has to be given anew for every image. Not counted is what all
files of one format, quality and size have in common, and what says how long the parts are:

    webp   20 bytes: RIFF, WEBP and the tag VP8, with their lengths
    jpeg   about 600: everything up to the scan (quantisation and Huffman tables are the standard ones of the
           quality), and the end marker
    avif   about 290: the boxes (ftyp, meta, mdat), and in mdat the temporal delimiter, the sequence header and the
           frame's own header of two or three bytes

Where one image ends and the next begins is not counted either; two bytes an image would say it.
"""

import io
from collections.abc import Iterator
from typing import Literal, NamedTuple, get_args

import numpy as np
import PIL
import torch
from PIL import Image, features
from torch import Tensor

from hmn.data.real import RealData
from hmn.errors import UserError

Format = Literal["webp", "jpeg", "avif"]
FORMATS: tuple[Format, ...] = get_args(Format)
WEBP_HEADER_BYTES = 20
"""RIFF, its size, WEBP, VP8 and its size: the same for all images but for the sizes, so not stored."""
QUALITIES = (20, 35, 50, 65, 80, 90, 95)
_OPTIONS: dict[str, dict[str, int]] = {"webp": {"method": 6}, "jpeg": {}, "avif": {"max_threads": 1}}
"""AVIF's slower speeds save nothing on small images: at quality 25 images of CIFAR-10 take 87, 88 and 89 bytes at
speeds 6 (the default), 3 and 0."""
_SEQUENCE_HEADER, _TEMPORAL_DELIMITER = 1, 2


class CodecFacts(NamedTuple):
    """How the images were stored."""

    format: str
    quality: int
    side: int
    """Shorter side of the stored images, in pixels; they are enlarged again to be trained on."""
    images: int
    num_bytes: int
    """Bytes of all images, headers that they share not counted."""


def images_in_bytes(
    data: RealData,
    num_bytes: int,
    *,
    format: Format = "webp",
    quality: int | None = None,
    side: int | None = None,
    order: Tensor | None = None,
    seed: int = 0,
) -> tuple[RealData, CodecFacts]:
    """Real images, as many of every class as possible, encoded in memory until the bytes are used up.

    The quality is 20 where none is given: in 122,880 bytes of CIFAR-10, 744 images at 20 trained as well as
    1,040 at 5 (one seed). It is raised in steps where all images fit and bytes are left. Classes take turns:
    none gets more than one image more than another.

    Args:
        data: real training images.
        num_bytes: bytes that may be used.
        format: of the files; headers that all images share are not counted.
        quality: 1 to 100; None chooses.
        side: shorter side to shrink the images to before they are stored; None leaves them as they are.
        order: indices in the order in which images are taken, classes in turn; None is random by `seed`.
        seed: of the random order.

    Returns:
        the images as they come back from the files, in the size that they had before, and how they were stored.

    Raises:
        UserError: fewer bytes than an image of each class needs, a quality outside 1..100, a side larger than the
            images', or a format that this Pillow does not write.
    """
    check_format(format)
    if quality is not None and not 1 <= quality <= 100:
        raise UserError(f"codec quality {quality}: expected 1 to 100.")
    whole = min(data.image_shape[1:])
    if side is not None and not 1 <= side <= whole:
        raise UserError(f"codec side {side}: expected 1 to {whole}, the shorter side of the images in pixels.")
    # A quality after the other, until the bytes are used up or all images are in.
    if order is None:
        order = class_turns(data.labels, seed)
    for attempt in (quality,) if quality is not None else QUALITIES:
        index, decoded, used = _encode_until(data, order, num_bytes, format, attempt, side)
        facts = CodecFacts(format, attempt, side or whole, len(index), used)
        if len(index) < len(order):
            break
    if len(index) < data.num_classes:
        raise UserError(
            f"{num_bytes:,} bytes hold {len(index)} images as {format} at quality {facts.quality}, fewer "
            f"than the {data.num_classes} classes: choose a lower quality or a larger container."
        )
    labels, name = data.labels[index], f"{data.name} as {format}"
    return RealData(decoded, labels, data.class_names, data.normalisation, name), facts


def check_format(format: str) -> None:
    """Refuse a format that is unknown, or that this Pillow was built without. Raises UserError: so."""
    if format not in FORMATS:
        raise UserError(f"codec {format}: expected {', '.join(FORMATS)}.")
    if format != "jpeg" and not features.check(format):
        least = "11.3" if format == "avif" else "10"
        raise UserError(f"Pillow {PIL.__version__} writes no {format.upper()} here: pip install 'pillow>={least}'.")


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
    data: RealData, order: Tensor, num_bytes: int, format: str, quality: int, side: int | None
) -> tuple[Tensor, Tensor, int]:
    used, decoded = 0, []
    for position in order.tolist():
        size, pixels = encode_image(data.pixels[position], format, quality, side)
        if used + size > num_bytes:
            break
        used += size
        decoded.append(pixels)
    return order[: len(decoded)], torch.stack(decoded) if decoded else data.pixels[:0], used


def encode_image(image: Tensor, format: str, quality: int, side: int | None = None) -> tuple[int, Tensor]:
    """Bytes of an image uint8 [c, h, w] as a file without its header, and the image that comes back.

    With a `side`, the file holds the image shrunken so that this is its shorter side, and what comes back is enlarged.
    """
    array = image.permute(1, 2, 0).cpu().numpy()
    picture = Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)
    whole, shorter = picture.size, min(picture.size)
    if side is not None and side < shorter:
        width, height = (max(side, round(length * side / shorter)) for length in whole)
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, format.upper(), quality=quality, **_OPTIONS[format])
    size = coded_bytes(stream.getvalue(), format)
    stream.seek(0)
    with Image.open(stream) as found:
        back = found.convert("L" if array.shape[2] == 1 else "RGB")
    if back.size != whole:
        back = back.resize(whole, Image.Resampling.BICUBIC)
    return size, torch.from_numpy(np.array(back).reshape(array.shape)).permute(2, 0, 1).contiguous()


def coded_bytes(content: bytes, format: str) -> int:
    """Bytes of a file that are its own: see the head of this module."""
    if format == "webp":
        return len(content) - WEBP_HEADER_BYTES
    if format == "jpeg":
        return _jpeg_scan_bytes(content)
    return sum(size for kind, size in _av1_units(content) if kind not in (_SEQUENCE_HEADER, _TEMPORAL_DELIMITER))


def _jpeg_scan_bytes(content: bytes) -> int:
    """Bytes after the start-of-scan segment: what is before it is the same for all images of a quality."""
    start = content.index(b"\xff\xda")
    header = int.from_bytes(content[start + 2 : start + 4], "big") + 2
    return len(content) - start - header - len(b"\xff\xd9")


def _av1_units(content: bytes) -> Iterator[tuple[int, int]]:
    """Type and payload bytes of every open bitstream unit in the mdat box of an AVIF.

    Source: section 5.3 of the AV1 bitstream specification; ISO/IEC 14496-12 for the boxes.
    """
    start = 0
    while content[start + 4 : start + 8] != b"mdat":
        start += int.from_bytes(content[start : start + 4], "big")
    end = start + int.from_bytes(content[start : start + 4], "big")
    place = start + 8
    while place < end:
        header = content[place]
        place += 2 if header & 0b100 else 1
        # The size in seven bits a byte, the lowest first (leb128); without one, up to the end.
        size, shift, more = 0, 0, bool(header & 0b10)
        if not more:
            size = end - place
        while more:
            more = bool(content[place] & 0x80)
            size |= (content[place] & 0x7F) << shift
            shift, place = shift + 7, place + 1
        yield header >> 3 & 0b1111, size
        place += size
