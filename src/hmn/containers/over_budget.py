"""Sizes over their budget, to be pruned into it: so many images a class, so many per cent, or the published number.

Source: section 3 of arXiv:2310.07506; over-budget numbers of Table 1 of its supplement.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hmn.containers.shape import Shape
from hmn.errors import UserError

PRESET = "preset"
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class OverBudget:
    """A container that is larger than its budget on purpose."""

    asked: str
    """As given: a count, a per cent, or "preset"."""
    in_budget: int
    """Images per class that pruning leaves."""
    images: int
    """Images per class that are condensed."""
    excess_floats: int
    """More than the budget; not above 0 where a published number of images leaves room for one more."""

    def __str__(self) -> str:
        over = f"{self.excess_floats:,} floats over its budget"
        return f"{over}: {self.images:,} images per class, {self.in_budget:,} fit; `hmn prune` brings it within"


def enlarged(shape: Shape, asked: str, *, data: str, ipc: int) -> tuple[Shape, OverBudget]:
    """The same sizes with more images a class than fit.

    Args:
        shape: sizes within the budget, with the same number of images in every class.
        asked: "93", "10%" (of the images that fit, rounded down, at least one) or "preset" (the published number).
        data: name of the data set, for "preset".
        ipc: of the budget, for "preset".

    Raises:
        UserError: none of these, not more than fits, nothing published for these sizes, or a container that pruning
            cannot bring back.
    """
    if shape.not_prunable is not None:
        raise UserError(f"--over-budget {asked}: it could not be pruned into its budget. {shape.not_prunable}")
    fits = shape.images_per_class[0]
    images = _images(asked, fits, shape, data, ipc)
    if images <= fits:
        raise UserError(
            f"--over-budget {asked}: {fits:,} images per class are within the budget already; give more than that, "
            "or --images for fewer."
        )
    larger = shape.with_images(images)
    account = larger.ledger()
    excess = account.num_floats - account.budget
    return larger, OverBudget(asked=asked, in_budget=fits, images=images, excess_floats=excess)


def _images(asked: str, fits: int, shape: Shape, data: str, ipc: int) -> int:
    if asked == PRESET:
        published = shape.over_budget(data, ipc)
        if published is None:
            raise UserError(f"--over-budget preset: no published number for {data} at {ipc} ipc; give a count or 10%.")
        return published
    # A count, or a per cent of what fits.
    number = asked.removesuffix("%")
    try:
        if number == asked:
            return int(asked)
        percent = float(number)
    except ValueError:
        percent = -1.0
    if not 0 < percent < math.inf:
        raise UserError(f"--over-budget {asked}: expected images per class (93), a per cent (10%) or preset.")
    stored = fits // shape.copies
    return fits + shape.copies * max(1, math.floor(stored * percent / 100 + _ROUNDING))
