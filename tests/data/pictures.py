"""Made-up images for the tests of the readers."""

from __future__ import annotations

import numpy as np
from PIL import Image


def picture(seed: int, *, side: int = 8, mode: str = "RGB") -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(noise).convert(mode)
