"""The one place where bytes become uint8 pixels [c, h, w].

Grey of 1 and 8 bits stays grey, that of 16 bits is divided by 257 and rounded (65535 becomes 255). Palettes, YCbCr,
CMYK and Lab are converted to RGB by Pillow, without ICC profiles; what is transparent is composited on white.
Refused are floats, integers above 65535, and more than Image.MAX_IMAGE_PIXELS, Pillow's guard against decompression
bombs. Animations and pages give their first frame. EXIF's orientation is ignored, as the field's loaders ignore it.

`channels`: 3 repeats grey, 1 takes the luma (ITU-R 601-2); None leaves a data set grey only where every image
is grey. `size`: None demands that all images are equally large; a number takes the centre square and resizes
it (bilinear, antialiased), which is resizing the short side and cropping the centre, up to rounding.
"""

import io
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.Image import Image as Picture

from hmn.errors import UserError

GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N")


@final
class UnreadableImage(UserError):
    """One image that cannot be decoded; with skip_bad it is left out and counted."""


class DecodedImage(NamedTuple):
    """One decoded image: uint8 [c, h, w], and whether its file held colour."""

    array: np.ndarray
    colour: bool


def decode_image(data: bytes | Path | Picture, name: str, *, size: int | None, channels: int | None) -> DecodedImage:
    """Decode one file, or an image that Pillow has opened, to uint8 [c, h, w].

    With channels=None c is 3 and grey is repeated. Raises UnreadableImage: the file is absent, truncated, no image, too
    large, or has no 8-bit meaning.
    """
    try:
        encoded = data.read_bytes() if isinstance(data, Path) else data
    except OSError as error:
        raise UnreadableImage(f"{name}: cannot read the file: {error.strerror or error}") from None
    try:
        # An image that was handed in stays open: it is its owner's.
        with Image.open(io.BytesIO(encoded)) if isinstance(encoded, bytes) else nullcontext(encoded) as opened:
            width, height = opened.size
            limit = Image.MAX_IMAGE_PIXELS
            if limit is not None and width * height > limit:
                raise UnreadableImage(f"{name}: {width} x {height} pixels is over Pillow's safety limit of {limit}")
            opened.load()
            picture, colour = eight_bit(opened, name)
        if size is not None:
            picture = centre_square(picture, size)
        return DecodedImage(to_array(picture, channels or 3), colour)
    except UnreadableImage:
        raise
    except UnidentifiedImageError:
        what = "is empty" if not encoded else "is not an image that Pillow knows"
        raise UnreadableImage(f"{name}: the file {what}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableImage(f"{name}: {error}") from None
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, OverflowError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableImage(f"{name}: cannot decode the image: {reason}") from None
    except Exception as error:  # zlib.error, struct.error, MemoryError: a decoder's way to say "damaged"
        raise UnreadableImage(f"{name}: cannot decode the image: {type(error).__name__}: {error}") from None


def eight_bit(picture: Picture, name: str) -> tuple[Picture, bool]:
    """Any Pillow image as mode L or RGB, and whether it held colour."""
    colour = picture.mode not in GREY_MODES
    if picture.mode == "F":
        raise UnreadableImage(f"{name}: 32-bit float pixels: expected 8- or 16-bit; convert the image first")
    if picture.mode.startswith("I"):
        return Image.fromarray(sixteen_to_eight(np.asarray(picture), name)), False
    if picture.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in picture.info:
        rgba = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return in_mode(picture, "RGB" if colour else "L"), colour


def sixteen_to_eight(values: np.ndarray, name: str) -> np.ndarray:
    """Integer grey values 0..65535 to uint8: divided by 257, rounded."""
    wide = values.astype(np.int64)
    if wide.size and (wide.min() < 0 or wide.max() > 65535):
        raise UnreadableImage(f"{name}: grey values {wide.min()}..{wide.max()}: expected 16 bits, 0..65535")
    return ((wide + 128) // 257).astype(np.uint8)


def centre_square(picture: Picture, size: int) -> Picture:
    """The largest centred square, resized to size x size."""
    width, height = picture.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    if (width, height) == (size, size):
        return picture
    box = (left, top, left + side, top + side)
    return picture.resize((size, size), Image.Resampling.BILINEAR, box=box)


def to_array(picture: Picture, channels: int) -> np.ndarray:
    """An L or RGB image as uint8 [channels, h, w]."""
    if channels == 1:
        return np.asarray(in_mode(picture, "L"))[None]
    return np.asarray(in_mode(picture, "RGB")).transpose(2, 0, 1)


def in_mode(picture: Picture, mode: str) -> Picture:
    """The image in that mode; `convert` alone would copy even where nothing changes."""
    return picture if picture.mode == mode else picture.convert(mode)


def fit_array(pixels: np.ndarray, *, size: int | None, channels: int | None) -> np.ndarray:
    """Images already in memory, uint8 [n, c, h, w], brought to `size` and `channels` by the rules above."""
    wanted = channels or pixels.shape[1]
    if wanted == pixels.shape[1] and (size is None or pixels.shape[2:] == (size, size)):
        return pixels
    height, width = pixels.shape[2:] if size is None else (size, size)
    fitted = np.empty((len(pixels), wanted, height, width), dtype=np.uint8)
    for i, image in enumerate(pixels):
        plane: Any = image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))
        picture = Image.fromarray(plane)
        fitted[i] = to_array(picture if size is None else centre_square(picture, size), wanted)
    return fitted


def to_nchw(images: np.ndarray, *, where: str) -> np.ndarray:
    """[n, h, w], NHWC or NCHW to NCHW."""
    shape = f"{where} has shape {list(images.shape)}"
    if images.ndim in (3, 4) and 0 in images.shape[1:]:
        raise UserError(f"{shape}: the images have no pixels")
    if images.ndim == 3:
        return images[:, None]
    if images.ndim != 4:
        raise UserError(f"{shape}: expected [n, h, w], [n, h, w, c] or [n, c, h, w]")
    first, last = images.shape[1] in (1, 3), images.shape[3] in (1, 3)
    if first == last:
        raise UserError(f"{shape}: {'either axis could be the channels' if first else 'no axis of 1 or 3 channels'}")
    return images if first else images.transpose(0, 3, 1, 2)
