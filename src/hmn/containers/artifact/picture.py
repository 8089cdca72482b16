"""Pictures of images: a grid with a class a row, enlarged until it can be read; the rounding to 8 bits."""

import io
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from hmn.errors import UserError
from hmn.runtime.files import write_output

READABLE_SIDE = 96
"""Images smaller than this are enlarged by the whole factor that comes closest to it, in pixels."""
GAP = 2
"""White pixels between images."""
MARGIN_LIMIT = 180
"""Widest margin for class names, in pixels; longer names are cut."""
FONT_SIZE = 14


def to_uint8(images: Tensor) -> Tensor:
    """Pixels in [0, 1] as 0..255, rounded to the nearest; values outside are clipped. uint8 passes unchanged. Raises
    UserError: a pixel is not finite.
    """
    if images.dtype == torch.uint8:
        return images
    if not bool(torch.isfinite(images).all()):
        raise UserError("the images hold pixels that are NaN or infinite: expected values in [0, 1].")
    return images.detach().clamp(0, 1).mul(255).round().to(torch.uint8)


def grid(
    images: Tensor,
    labels: Tensor,
    class_names: Sequence[str],
    *,
    per_class: int = 10,
    classes: int | Sequence[int] = 10,
    scale: int | None = None,
) -> Image.Image:
    """A picture with a class a row: the first `per_class` images of each, beside the class's name.

    Args:
        images: float [n, c, h, w] in [0, 1], or uint8; 1 or 3 channels.
        labels: int64 [n], indices into `class_names`, in any order.
        class_names: one name a class.
        per_class: at most this many images a row.
        classes: the first so many classes, or the classes to show in this order.
        scale: whole factor of the enlargement (nearest neighbour); None makes small images readable.

    Raises:
        UserError: nothing to show, a class that is not there, or a size below 1.
    """
    rows = _rows(classes, len(class_names))
    if not len(images) or per_class < 1 or (scale is not None and scale < 1):
        raise UserError(
            f"cannot draw {len(images)} images with per_class={per_class}, scale={scale}: expected at least 1 of each."
        )
    # How large everything is.
    channels, height, width = images.shape[1:]
    factor = scale or max(1, round(READABLE_SIDE / max(height, width)))
    chosen = [torch.nonzero(labels == row).flatten()[:per_class] for row in rows]
    columns = max(1, *(len(index) for index in chosen))
    font, texts, margin = _names([str(class_names[row]) for row in rows])
    step_y, step_x = max(height * factor, FONT_SIZE + 4) + GAP, width * factor + GAP
    size = margin + columns * step_x + GAP, len(rows) * step_y + GAP
    canvas = Image.new("L" if channels == 1 else "RGB", size, "white")
    # A row for each class: its name, then its images.
    draw = ImageDraw.Draw(canvas)
    for row, (index, text) in enumerate(zip(chosen, texts, strict=True)):
        top = GAP + row * step_y
        draw.text((GAP * 3, top + (step_y - GAP) // 2), text, fill="black", font=font, anchor="lm")
        tiles = to_uint8(images[index]).cpu()
        for column, tile in enumerate(tiles):
            enlarged = tile.repeat_interleave(factor, -2).repeat_interleave(factor, -1)
            canvas.paste(as_picture(enlarged), (margin + column * step_x + GAP, top))
    return canvas


def as_picture(image: Tensor) -> Image.Image:
    """One image, uint8 [c, h, w] with 1 or 3 channels, as a PIL image."""
    array = image.permute(1, 2, 0).contiguous().cpu().numpy()
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


def png_bytes(picture: Image.Image) -> bytes:
    """A PIL image as a PNG file, without timestamps: the same picture gives the same bytes."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def save_png(picture: Image.Image, path: Path) -> None:
    """Write a picture as PNG, whole or not at all. Raises UserError: the file cannot be written."""
    write_output(path, png_bytes(picture))


def _rows(classes: int | Sequence[int], num_classes: int) -> list[int]:
    rows = list(range(min(classes, num_classes))) if isinstance(classes, int) else list(classes)
    if not rows or min(rows) < 0 or max(rows) >= num_classes:
        raise UserError(f"classes={classes}: expected a number from 1, or classes in 0..{num_classes - 1}.")
    return rows


def _names(names: list[str]) -> tuple[ImageFont.FreeTypeFont | ImageFont.ImageFont, list[str], int]:
    """Font, names cut to fit, and the margin that holds them in pixels."""
    font = ImageFont.load_default(FONT_SIZE)
    room = MARGIN_LIMIT - 6 * GAP
    texts = []
    for name in names:
        text = " ".join(name.split())[:200]
        if font.getlength(text) > room:
            while text and font.getlength(text + "...") > room:
                text = text[:-1]
            text += "..."
        texts.append(text)
    return font, texts, int(max(font.getlength(text) for text in texts)) + 6 * GAP
