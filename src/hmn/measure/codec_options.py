"""Real images as files of a codec: which format, quality and size the flags ask for, and the images of one choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hmn.data.real import RealData
from hmn.errors import UserError
from hmn.measure.candidates import SUBSET_SEED
from hmn.measure.codec import FORMATS, CodecFacts, Format, check_format, images_in_bytes
from hmn.measure.coresets import CORESETS, Chooser, Selection

AUTO_QUALITIES = {"webp": (5, 10, 20, 35, 50), "jpeg": (5, 10, 20, 35, 50), "avif": (15, 25, 35, 45, 60)}
AUTO_SHARES = (1, 15 / 16, 7 / 8, 3 / 4, 5 / 8, 1 / 2)
"""Sides to choose from, in shares of the images' own: 32, 30, 28, 24, 20 and 16 of 32 pixels."""


@dataclass(frozen=True, kw_only=True)
class CodecSettings:
    """How real images are to be compressed."""

    format: Format
    qualities: tuple[int, ...] | None = None
    """None: 20, or more where bytes are left. One: that. Several: chosen on validation. None of them (): the grid."""
    sides: tuple[int, ...] | None = None
    """Shorter side in pixels. None: the images' own. Otherwise as for qualities."""
    images: Selection = "random"

    def points(self, image_shape: tuple[int, int, int]) -> list[tuple[int | None, int | None]]:
        """Qualities and sides to choose from."""
        qualities: tuple[int | None, ...] = (None,)
        if self.qualities is not None:
            qualities = self.qualities or AUTO_QUALITIES[self.format]
        sides: tuple[int | None, ...] = (None,)
        if self.sides is not None:
            whole = min(image_shape[1:])
            sides = self.sides or tuple(dict.fromkeys(max(1, round(share * whole)) for share in AUTO_SHARES))
        return [(quality, side) for side in sides for quality in qualities]


def codec_flags(codec: str | None, quality: str | None, side: str | None, images: str | None) -> list[CodecSettings]:
    """What --codec, --codec-quality, --codec-side and --codec-images ask for, a format each.

    Raises:
        UserError: a format, a number or a way to choose that is none.
    """
    formats = ["webp"] if codec is None else list(dict.fromkeys(name for name in codec.split(",") if name))
    found: list[Format] = [known for name in formats for known in FORMATS if known == name]
    if len(found) < len(formats) or not found:
        wrong = next((name for name in formats if name not in FORMATS), "''")
        raise UserError(f"--codec {wrong}: expected {', '.join(FORMATS)}, joined by commas.")
    qualities, sides = numbers("--codec-quality", quality, 100), numbers("--codec-side", side, None)
    if qualities == () and sides is None:
        sides = ()
    chosen = [known for known in CORESETS if known == (images or "random")]
    if not chosen:
        raise UserError(f"--codec-images {images}: expected {', '.join(CORESETS)}.")
    return [CodecSettings(format=name, qualities=qualities, sides=sides, images=chosen[0]) for name in found]


def numbers(flag: str, text: str | None, most: int | None) -> tuple[int, ...] | None:
    """Whole numbers joined by commas, each once; () for auto, None for None.

    Raises:
        UserError: something else, or a number out of range.
    """
    if text is None or text == "auto":
        return None if text is None else ()
    limit = "at least 1" if most is None else f"1 to {most}"
    try:
        found = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        found = (0,)
    if any(value < 1 or (most is not None and value > most) for value in found):
        raise UserError(f"{flag} {text}: expected auto, or whole numbers ({limit}) joined by commas.")
    return found


def check_codec(codec: CodecSettings, data: RealData) -> None:
    """Refuse a format or a side that cannot be, before any training.

    Raises:
        UserError: this Pillow does not write the format, or a side is larger than the images'.
    """
    check_format(codec.format)
    shorter = min(data.image_shape[1:])
    for side in codec.sides or ():
        if side > shorter:
            raise UserError(f"--codec-side {side}: expected 1 to {shorter}, the shorter side of the images in pixels.")


def compressed(
    chooser: Chooser, num_bytes: int, codec: CodecSettings, quality: int | None, side: int | None
) -> tuple[RealData, CodecFacts]:
    """The images as they come back from the files; those that a method chooses, as many as the bytes hold."""
    data = chooser.data
    how: dict[str, Any] = {"format": codec.format, "quality": quality, "side": side, "seed": SUBSET_SEED}
    train, facts = images_in_bytes(data, num_bytes, **how)
    if codec.images == "random":
        return train, facts
    most = data.fewest
    per_class = -(-facts.images // data.num_classes)
    while True:  # chosen images may take fewer bytes than random ones
        per_class = min(most, per_class + max(2, per_class // 4))
        order = chooser.in_turns(codec.images, per_class)
        train, facts = images_in_bytes(data, num_bytes, **how, order=order)
        if facts.images < len(order) or per_class == most:
            return train, facts
