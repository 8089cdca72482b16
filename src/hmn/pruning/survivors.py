"""Pruning image by image: which images of each class stay.

Source: section 3 and Algorithm 1 of arXiv:2310.07506.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from hmn.containers.container import Container
from hmn.errors import UserError

Method = Literal["double-end", "random", "hard", "easy"]
METHODS: tuple[Method, ...] = get_args(Method)
BETAS = tuple(tenth / 10 for tenth in range(10))
"""The grid of the paper's search."""
_ROUNDING = 1e-9
"""Makes floor(0.29 * 100) the 29 that is meant: shares are decimal fractions, products of floats fall short of them."""


def double_end_keep(aum: Tensor, *, keep: int, hard_share: float) -> Tensor:
    """Indices of one class's images that survive pruning at both ends, int64 [keep], in storage order.

    Of the images removed, floor(hard_share * removed) have the lowest AUM, the rest the highest. Of equal AUMs the
    earlier image counts as the lower one. Source: Algorithm 1 of arXiv:2310.07506, whose beta is `hard_share`. Raises
    UserError: keep is outside 1..n, hard_share outside [0, 1], or an AUM is no number.
    """
    if not 1 <= keep <= len(aum):
        raise UserError(f"keep={keep}, but this class stores {len(aum)} images: choose 1..{len(aum)}.")
    if not 0 <= hard_share <= 1:
        raise UserError(f"hard_share={hard_share}: expected a fraction in [0, 1].")
    if bool(aum.isnan().any()):
        raise UserError("an AUM is not a number: profile the images again.")
    hardest = share_of(len(aum) - keep, hard_share)
    order = aum.argsort(stable=True)  # stable: the same AUMs prune the same images
    return order[hardest : hardest + keep].sort().values


def keep_indices(
    aum: Tensor | None,
    labels: Tensor,
    *,
    counts: Sequence[int],
    method: Method,
    hard_share: float = 0.0,
    generator: torch.Generator | None = None,
    copies: int = 1,
) -> Tensor:
    """Indices of the images that survive pruning, class by class, int64 [m] in storage order.

    Copies of what is stored once stay or go together, by the mean of their AUM.

    Args:
        aum: [n]; not needed by "random".
        labels: int64 [n], in any order.
        counts: survivors of each class.
        method: "double-end" takes `hard_share` of the removed images from the hard end, "hard" all of them, "easy"
            none; "random" draws the survivors.
        hard_share: for "double-end".
        generator: for "random".
        copies: of each stored image, one after the other; `counts` are multiples of it.

    Raises:
        UserError: an unknown method, no AUM for a method that needs it, or a count that a class cannot keep.
    """
    if method not in METHODS:
        raise UserError(f"method={method!r}: expected one of {', '.join(METHODS)}.")
    if method != "random" and (aum is None or aum.shape != labels.shape):
        got = "none" if aum is None else f"{len(aum):,}"
        raise UserError(f"{method} pruning needs an AUM for each of {len(labels):,} images, got {got}.")
    if method == "random" and generator is None:
        raise UserError("random pruning needs a generator.")
    if copies > 1:
        if odd := [count for count in counts if count % copies]:
            raise UserError(f"keep={odd[0]}: every image is shown {copies} times; choose a multiple of {copies}.")
        each = None if aum is None else aum.reshape(-1, copies).mean(dim=1)
        fewer, once = [count // copies for count in counts], labels[::copies]
        index = keep_indices(each, once, counts=fewer, method=method, hard_share=hard_share, generator=generator)
        return (index[:, None] * copies + torch.arange(copies)).flatten()

    # Class by class: every class keeps its own count, whatever the others are like.
    share = {"hard": 1.0, "easy": 0.0}.get(method, hard_share)
    kept = []
    for label, count in enumerate(counts):
        members = (labels == label).nonzero()[:, 0]
        if not len(members) and not count:
            continue
        if aum is None or method == "random":
            if not 1 <= count <= len(members):
                raise UserError(f"keep={count}, but class {label} stores {len(members)} images.")
            chosen = torch.randperm(len(members), generator=generator)[:count]
        else:
            chosen = double_end_keep(aum[members], keep=count, hard_share=share)
        kept.append(members[chosen])
    return torch.cat(kept).sort().values


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """How many images of each class stay, and which."""

    method: Method | Literal["unpruned"]
    counts: tuple[int, ...]
    """Survivors of each class."""
    beta: float | None = None
    """Share of the removed images that double-end pruning takes from the hard end."""

    def kept(self, aum: Tensor | None, labels: Tensor, *, seed: int, copies: int) -> Tensor:
        """Indices of the images that stay, int64 in storage order: all of "unpruned", else as `keep_indices` says."""
        if self.method == "unpruned":
            return torch.arange(len(labels))
        share, generator = self.beta or 0.0, torch.Generator().manual_seed(seed)
        how: dict[str, Any] = {"counts": self.counts, "hard_share": share, "generator": generator, "copies": copies}
        return keep_indices(aum, labels, method=self.method, **how)


def share_of(count: int, share: float) -> int:
    """floor(share * count), where share is meant as the decimal fraction that it reads as."""
    return math.floor(share * count + _ROUNDING)


def counts_at_rate(present: Sequence[int], rate: float, copies: int = 1) -> tuple[int, ...]:
    """Survivors of each class where it loses floor(rate * images) of those present, but never the last one. Raises
    UserError: rate is outside [0, 1).
    """
    if not 0 <= rate < 1:
        raise UserError(f"pruning rate {rate}: expected a fraction from 0 to below 1, such as 0.3.")
    stored = [count // copies for count in present]
    return tuple(copies * max(min(count, 1), count - share_of(count, rate)) for count in stored)


def counts_to(present: Sequence[int], count: int, copies: int = 1) -> tuple[int, ...]:
    """Survivors of each class: `count`, or all where fewer are present. Raises UserError: count is below 1, or above
    what every class stores, or no multiple of the copies.
    """
    if count % copies:
        asked = f"{count} images per class"
        raise UserError(f"{asked}: every image is shown {copies} times; choose a multiple of {copies}.")
    if not 1 <= count <= max(present):
        raise UserError(f"{count} images per class: expected 1..{max(present)}, what is stored.")
    return tuple(min(count, there) for there in present)


def counts_in_budget(container: Container) -> tuple[int, ...]:
    """Survivors of each class: the largest number, the same for all, whose container is within its budget. Raises
    UserError: the container cannot be pruned image by image, or one image a class is too much already.
    """
    check_prunable(container)
    labels, copies, budget = container.labels.cpu(), container.copies, container.ledger().budget
    present = container.shape.images_per_class

    def floats(stored: int) -> int:
        """What the first so many images of each class take."""
        counts = counts_to(present, stored * copies, copies)
        first = [(labels == label).nonzero()[:count, 0] for label, count in enumerate(counts)]
        return container.keep(torch.cat(first).sort().values).ledger().num_floats

    fitting = bisect_right(range(1, max(present) // copies + 1), budget, key=floats)
    if not fitting:
        raise UserError(f"one image a class takes {floats(1):,} floats, the budget is {budget:,}: it cannot be kept.")
    return counts_to(present, fitting * copies, copies)


def check_prunable(container: Container) -> None:
    """Refuse a container whose images are not independent of each other. Raises UserError: with the container's own
    reason.
    """
    if container.shape.not_prunable is not None:
        raise UserError(f"this container cannot be pruned image by image: {container.shape.not_prunable}")
