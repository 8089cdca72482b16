"""Figures of margins and of the images behind them: AUM histograms, extremes per class, grids of high, low, random."""

import statistics
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

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
Rows = dict[int, Tensor]
"""For every class drawn, indices of its images from left to right."""


def aum_histogram(paths: Sequence[Path], labels: Sequence[str]) -> Drawn:
    """How the margins of several sources spread, a panel a source. Source: Figs. 3 and 4 of the supplement. Raises
    UserError: a path has no profile, or they hold margins of different kinds.
    """
    profiles = [profile_of(path) for path in paths]
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
    return Drawn(figure, HISTOGRAM_COLUMNS, rows)


def profile_of(path: Path) -> Profile:
    """The profile in a file, or in a folder, where it must be of the container there."""
    return load_profile(path, sha256=info(path).checksum if is_artifact(path) else None)


def _axis_words(profile: Profile, epochs: Sequence[int], as_means: bool) -> str:
    span = f"{epochs[0]} epochs" if len(epochs) == 1 else f"{epochs[0]} to {epochs[-1]} epochs"
    if profile.margin == "logit":
        return f"AUM (mean logit margin over {span})"
    return f"AUM / epochs (mean softmax margin, {span})" if as_means else f"AUM (sum of softmax margins over {span})"


def aum_extremes(run: Path, *, classes: Sequence[int] | None, number: int) -> Drawn:
    """The images of lowest and of highest AUM, a class a row. Source: Fig. 5 of the supplement."""
    images, profile, orders = _profiled(run, classes)
    blocks = {
        "Lowest AUM (lowest first)": {label: order[:number] for label, order in orders.items()},
        "Highest AUM (highest first)": {label: order.flip(0)[:number] for label, order in orders.items()},
    }
    return _picture(run, images, profile, blocks, values=True)


def aum_grids(run: Path, *, classes: Sequence[int] | None, number: int) -> Drawn:
    """Images of high AUM, of low AUM, and random ones, a class a row. Source: Figs. 6 to 14 of the supplement."""
    images, profile, orders = _profiled(run, classes)
    generator = torch.Generator().manual_seed(GRID_SEED)
    blocks = {
        "High AUM": {label: order.flip(0)[:number] for label, order in orders.items()},
        "Low AUM": {label: order[:number] for label, order in orders.items()},
        "Random": {
            label: order[torch.randperm(len(order), generator=generator)[:number]] for label, order in orders.items()
        },
    }
    return _picture(run, images, profile, blocks, values=False)


def _profiled(run: Path, classes: Sequence[int] | None) -> tuple[CondensedImages, Profile, Rows]:
    """A run's images, their profile, and for each class drawn its images, lowest AUM first, ties in stored order.

    Where no classes are named, the first ten are drawn.
    """
    profile, images = profile_of(run), load(run)
    orders = {}
    for label in range(min(10, len(images.class_names))) if classes is None else classes:
        members = (images.labels == label).nonzero()[:, 0]
        orders[label] = members[profile.aum[members].argsort(stable=True)]
    return images, profile, orders


def _picture(run: Path, images: CondensedImages, profile: Profile, blocks: Mapping[str, Rows], values: bool) -> Drawn:
    """Blocks side by side under their titles, each an array of images with a class a row; pixels are the images' own.

    With `values`, an image's AUM stands below it.
    """
    step = max(1, -(-max(images.image_shape[1:]) // DRAWN_SIDE))
    pixels = to_uint8(images.pixels)[:, :, ::step, ::step].permute(0, 2, 3, 1).numpy()
    pixels = pixels.squeeze(-1) if pixels.shape[3] == 1 else pixels
    drawn = list(next(iter(blocks.values())))
    numbers = [max(map(len, chosen.values())) for chosen in blocks.values()]
    height, spacing = (0.62, 1.24) if values else (0.5, 1.06)
    inches, ratios = (1.0 + 0.5 * sum(numbers), 0.5 + height * len(drawn)), {"width_ratios": numbers}
    figure, axes = new_figure(*inches, 1, len(blocks), gridspec_kw=ratios)
    # Images have unit width, and every one drawn is a row of the CSV.
    rows: list[tuple[Any, ...]] = []
    for axis, (title, chosen), number in zip(axes.flat, blocks.items(), numbers, strict=True):
        for row, (label, index) in enumerate(chosen.items()):
            top = row * spacing
            for place, image in enumerate(index.tolist()):
                extent = (place + 0.02, place + 0.98, top + 0.98, top + 0.02)
                axis.imshow(pixels[image], cmap="gray", vmin=0, vmax=255, interpolation="none", extent=extent)
                aum = float(profile.aum[image])
                rows.append((str(run), title, label, images.class_names[label], place, image, aum))
                if values:
                    axis.text(place + 0.5, top + 1.12, f"{aum:.3g}", ha="center", va="center", fontsize=6)
        axis.set(xlim=(0, number), ylim=(len(drawn) * spacing, 0), aspect="equal", xticks=[], yticks=[])
        axis.set_title(title, loc="left")
        axis.grid(visible=False)
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
    # Names of classes stand once, left of the first block.
    names = [_short(images.class_names[label]) for label in drawn]
    axes.flat[0].set_yticks([row * spacing + 0.5 for row in range(len(drawn))], names)
    networks = f"{len(profile.seeds)} {'network' if len(profile.seeds) == 1 else 'networks'} ({profile.net})"
    margins = f"{_axis_words(profile, [profile.epochs], as_means=False)}, n = {networks}"
    caption(figure, f"Numbers: {margins}." if values else f"{margins}. Random: seed {GRID_SEED}.")
    return Drawn(figure, IMAGE_COLUMNS, rows)


def _short(name: str) -> str:
    text = " ".join(name.split())
    return text if len(text) <= MOST_LETTERS else text[: MOST_LETTERS - 1] + "…"
