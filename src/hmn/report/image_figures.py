"""Figures of margins and of the images behind them: AUM histograms, extremes per class, grids of high, low, random."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hmn.containers.artifact.load import CondensedImages, info, load
from hmn.containers.artifact.picture import to_uint8
from hmn.containers.artifact.place import is_artifact
from hmn.errors import UserError
from hmn.pruning.aum import Profile, load_profile
from hmn.report.style import GREY, SERIES, Drawn, caption, new_figure, panels
from hmn.train.results import deviation

BINS = 40
GRID_SEED = 0
"""Seed of the choice of random images."""
HISTOGRAM_COLUMNS = ("source", "label", "bin_left", "bin_right", "images", "share_percent", "n")
IMAGE_COLUMNS = ("run", "block", "class", "label", "place", "image", "aum")
MOST_LETTERS = 22
"""Characters of a class's name; longer names are cut."""
DRAWN_SIDE = 96
"""Longest side of an image, in pixels; larger images are drawn smaller."""


class Block(NamedTuple):
    """A part of a picture, as wide as its images of one class."""

    title: str
    chosen: list[Tensor]
    """For every class drawn, indices of its images from left to right."""


def aum_histogram(paths: Sequence[Path], labels: Sequence[str]) -> Drawn:
    """How the margins of several sources spread, a panel a source. Source: Figs. 3 and 4 of the supplement.

    Raises:
        UserError: a path has no profile, or they hold margins of different kinds.
    """
    profiles = [load_profile(path, sha256=checksum_of(path)) for path in paths]
    kinds = {profile.margin for profile in profiles}
    if len(kinds) > 1:
        raise UserError("the profiles hold margins of different kinds (softmax, logit): draw them apart.")
    epochs = sorted({profile.epochs for profile in profiles})
    # Sums over other numbers of epochs cannot share an axis; their means can.
    as_means = kinds == {"softmax"} and len(epochs) > 1
    found = [profile.aum / profile.epochs if as_means else profile.aum for profile in profiles]
    low, high = (float(pick(getattr(aum, pick.__name__)() for aum in found)) for pick in (min, max))
    high = high if high > low else low + 1
    edges = [low + (high - low) * position / BINS for position in range(BINS + 1)]
    figure, axes = panels(len(profiles), most=4, each=(2.5, 1.8), margins=(0.6, 0.8), sharex=True, sharey=True)
    rows: list[tuple[Any, ...]] = []
    drawn = zip(axes.flat, zip_longest(paths, labels), profiles, found, strict=False)
    for axis, (path, label), profile, aum in drawn:
        name = label or profile.source or path.name
        values = aum.tolist()
        counts = np.histogram(values, edges)[0].tolist()
        shares = [100 * count / len(values) for count in counts]
        axis.stairs(shares, edges, fill=True, color=SERIES[0].colour, alpha=0.35)
        axis.stairs(shares, edges, color=SERIES[0].colour, linewidth=1)
        middle = statistics.median(values)
        axis.axvline(middle, color=SERIES[1].colour, linestyle="--", linewidth=1.2)
        mean, std = statistics.fmean(values), deviation(values)
        axis.set_title(f"{name}\nn = {len(values):,}, {mean:.3g} ± {std:.2g}", loc="left")
        bins = zip(edges, edges[1:], counts, shares, strict=False)
        rows += [(str(path), name, *bin_, len(values)) for bin_ in bins]
    for axis in axes[:, 0]:
        axis.set_ylabel("Images (%)")
    figure.supxlabel(_axis_words(profiles[0], epochs, as_means), fontsize=9)
    figure.suptitle("n images, mean ± 1 sd; dashed: median", fontsize=8, color=GREY)
    return Drawn(figure=figure, columns=HISTOGRAM_COLUMNS, rows=rows)


def checksum_of(path: Path) -> str | None:
    """The checksum of the container in a folder, which its profile must carry; None where there is no container."""
    return info(path).checksum if is_artifact(path) else None


def _axis_words(profile: Profile, epochs: Sequence[int], as_means: bool) -> str:
    span = f"{epochs[0]} epochs" if len(epochs) == 1 else f"{epochs[0]} to {epochs[-1]} epochs"
    if profile.margin == "logit":
        return f"AUM (mean logit margin over {span})"
    return f"AUM / epochs (mean softmax margin, {span})" if as_means else f"AUM (sum of softmax margins over {span})"


def aum_extremes(run: Path, *, classes: Sequence[int] | None, number: int) -> Drawn:
    """The images of lowest and of highest AUM, a class a row. Source: Fig. 5 of the supplement."""
    images, profile, orders = _profiled(run, classes)
    blocks = [
        Block("Lowest AUM (lowest first)", [order[:number] for order in orders.values()]),
        Block("Highest AUM (highest first)", [order.flip(0)[:number] for order in orders.values()]),
    ]
    return _picture(run, images, profile, list(orders), blocks, with_values=True)


def aum_grids(run: Path, *, classes: Sequence[int] | None, number: int) -> Drawn:
    """Images of high AUM, of low AUM, and random ones, a class a row. Source: Figs. 6 to 14 of the supplement."""
    images, profile, orders = _profiled(run, classes)
    generator = torch.Generator().manual_seed(GRID_SEED)
    blocks = [
        Block("High AUM", [order.flip(0)[:number] for order in orders.values()]),
        Block("Low AUM", [order[:number] for order in orders.values()]),
        Block("Random", [order[torch.randperm(len(order), generator=generator)[:number]] for order in orders.values()]),
    ]
    return _picture(run, images, profile, list(orders), blocks, with_values=False)


def _profiled(run: Path, classes: Sequence[int] | None) -> tuple[CondensedImages, Profile, dict[int, Tensor]]:
    """A run's images, their profile, and for each class drawn its images, lowest AUM first, ties in stored order.

    Where no classes are named, the first ten are drawn.
    """
    profile, images = load_profile(run, sha256=checksum_of(run)), load(run)
    orders = {}
    for label in range(min(10, len(images.class_names))) if classes is None else classes:
        members = (images.labels == label).nonzero()[:, 0]
        orders[label] = members[profile.aum[members].argsort(stable=True)]
    return images, profile, orders


def _picture(
    run: Path, images: CondensedImages, profile: Profile, drawn: list[int], blocks: list[Block], *, with_values: bool
) -> Drawn:
    """Blocks side by side, each an array of images with a class a row; its pixels are the images' own."""
    side = max(images.image_shape[1:])
    step = max(1, -(-side // DRAWN_SIDE))
    pixels = to_uint8(images.pixels)[:, :, ::step, ::step]
    aum = profile.aum
    numbers = [max(len(chosen) for chosen in block.chosen) for block in blocks]
    height = 0.62 if with_values else 0.5
    inches, ratios = (1.0 + 0.5 * sum(numbers), 0.5 + height * len(drawn)), {"width_ratios": numbers}
    figure, axes = new_figure(*inches, 1, len(blocks), gridspec_kw=ratios)
    # Every image drawn is a row of the CSV.
    rows: list[tuple[Any, ...]] = []
    for axis, block, number in zip(axes.flat, blocks, numbers, strict=True):
        _block(axis, pixels, block, number, gap=0.24 if with_values else 0.06)
        axis.set_title(block.title, loc="left")
        for row, (label, chosen) in enumerate(zip(drawn, block.chosen, strict=True)):
            for place, index in enumerate(chosen.tolist()):
                rows.append((str(run), block.title, label, images.class_names[label], place, index, float(aum[index])))
                if with_values:
                    middle = {"ha": "center", "va": "center"}
                    axis.text(place + 0.5, row * 1.24 + 1.12, f"{float(aum[index]):.3g}", **middle, fontsize=6)
    # Names of classes stand once, left of the first block.
    spacing = 1.24 if with_values else 1.06
    names = [_short(images.class_names[label]) for label in drawn]
    axes.flat[0].set_yticks([row * spacing + 0.5 for row in range(len(drawn))], names)
    networks = f"{len(profile.seeds)} {'network' if len(profile.seeds) == 1 else 'networks'} ({profile.net})"
    margins = f"{_axis_words(profile, [profile.epochs], as_means=False)}, n = {networks}"
    caption(figure, f"Numbers: {margins}." if with_values else f"{margins}. Random: seed {GRID_SEED}.")
    return Drawn(figure=figure, columns=IMAGE_COLUMNS, rows=rows)


def _short(name: str) -> str:
    text = " ".join(name.split())
    return text if len(text) <= MOST_LETTERS else text[: MOST_LETTERS - 1] + "…"


def _block(axis: Any, pixels: Tensor, block: Block, number: int, *, gap: float) -> None:
    """Draw one block: images of unit width, rows a gap apart."""
    for row, chosen in enumerate(block.chosen):
        top = row * (1 + gap)
        for place, index in enumerate(chosen.tolist()):
            image = pixels[index].permute(1, 2, 0).numpy()
            image = image.squeeze(-1) if image.shape[2] == 1 else image
            extent = (place + 0.02, place + 0.98, top + 0.98, top + 0.02)
            axis.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="none", extent=extent)
    axis.set(xlim=(0, number), ylim=(len(block.chosen) * (1 + gap), 0), aspect="equal", xticks=[], yticks=[])
    axis.grid(visible=False)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
