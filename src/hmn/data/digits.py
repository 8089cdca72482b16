"""The UCI optical digits, embedded: 1,797 grey images of 8 x 8. Attribution: digits.LICENSE.txt."""

from __future__ import annotations

from importlib import resources

import numpy as np

from hmn.data.decode import fit_array
from hmn.data.formats import Decoded, Labelled
from hmn.data.options import DataOptions


def read_digits(options: DataOptions) -> Decoded:
    """All 1,797 digits, to be split by a seed. digits.npz stores the values 0..16; here 16 becomes 255."""
    with resources.files("hmn.data").joinpath("digits.npz").open("rb") as stream, np.load(stream) as stored:
        grey, labels = stored["images"], stored["labels"].astype(np.int64)
    pixels = ((grey.astype(np.int64) * 255 + 8) // 16).astype(np.uint8)[:, None]
    pixels = fit_array(pixels, size=options.size, channels=options.channels)
    return Decoded(Labelled(pixels, labels), None, tuple(map(str, range(10))), 0)
