"""The images of a report: which are shown, in what order they are pruned, and what the page's script is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hmn.errors import UserError
from hmn.report.gather import RunFacts
from hmn.report.sprites import Sheet, sheet

MOST_SHOWN = 6000
"""Most images of a page; where there are more, every class shows some, evenly over their AUM."""
MOST_BYTES = 3_000_000
"""Most bytes of a page's pictures; as base64 they take a third more."""
WEBP_QUALITIES = (None, 92, 80, 65, 45)
"""Qualities of WebP, in the order in which they are tried; None is lossless."""
PAGE_SIDE = 64
"""Side of a picture on the page, in CSS pixels: smaller images are enlarged to about that."""
DECIMALS = 4


def sheets(runs: Sequence[RunFacts]) -> list[tuple[Sheet, list[list[int]]]]:
    """For every run its pictures, and for every class the images in them, counted within the class.

    All runs have the same quality: the best that keeps the page small. Where the lowest does not, fewer are shown.
    """
    counts = [len(order) for run in runs for order, _ in orders(run)]
    most = fair_share(counts, MOST_SHOWN)
    while True:
        chosen = [[spaced(order, most) for order, _ in orders(run)] for run in runs]
        indices = [
            [(run.labels == label).nonzero()[:, 0][some] for label, some in enumerate(classes)]
            for run, classes in zip(runs, chosen, strict=True)
        ]
        for quality in WEBP_QUALITIES:
            found = [sheet(run.pixels, index, quality) for run, index in zip(runs, indices, strict=True)]
            if sum(one.num_bytes for one in found) <= MOST_BYTES:
                return list(zip(found, chosen, strict=True))
        if most == 1:
            raise UserError(f"one image a class takes more than {MOST_BYTES:,} bytes: report on fewer runs at once.")
        most //= 2


def fair_share(counts: Sequence[int], most: int) -> int:
    """The largest number of images a class, at least 1, of which all classes together show no more than `most`."""
    left = most
    for position, count in enumerate(sorted(counts)):
        share = left // (len(counts) - position)
        if count > share:
            return max(1, share)
        left -= count
    return max(counts)


def orders(run: RunFacts) -> list[tuple[list[int], list[float] | None]]:
    """For every class: its images by rising AUM, counted from 0 within the class, and their AUMs in storage order.

    The order is the one that `hmn.prune` removes by: stable, so that of equal AUMs the earlier image is the lower one.
    Without a profile it is the order of storage.
    """
    found: list[tuple[list[int], list[float] | None]] = []
    for label in range(len(run.info.class_names)):
        members = (run.labels == label).nonzero()[:, 0]
        if run.profile is None:
            found.append((list(range(len(members))), None))
        else:
            aum = run.profile.aum[members]
            found.append((aum.argsort(stable=True).tolist(), aum.tolist()))
    return found


def spaced(order: Sequence[int], count: int) -> list[int]:
    """At most `count` images of a class, evenly over their order, both ends among them; ascending."""
    if count >= len(order):
        return sorted(order)
    last = len(order) - 1
    return sorted({order[round(place * last / max(1, count - 1))] for place in range(count)})


def script_data(run: RunFacts, sprites: Sheet, chosen: Sequence[Sequence[int]]) -> dict[str, Any]:
    """What the script works with: for every class the order of its images and where each is drawn."""
    classes = []
    names, ledger = run.info.class_names, run.info.ledger
    for name, (order, aum), shown, sprite in zip(names, orders(run), chosen, sprites.sprites, strict=True):
        rounded = None if aum is None else [round(value, DECIMALS) for value in aum]
        classes.append({"name": name, "order": order, "aum": rounded, "shown": shown, **sprite._asdict()})
    # Floats and budget let the script say what a pruned set would take.
    return {
        "classes": classes,
        "side": sprites.side,
        "scale": max(1, round(PAGE_SIDE / sprites.side)),
        "floats": ledger.num_floats,
        "perImage": run.floats_per_image,
        "budget": ledger.budget,
        "folder": str(run.path),
        "profiled": run.profile is not None,
        "prunable": not run.cannot_prune,
    }
