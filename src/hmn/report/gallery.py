"""The images of pages: which are shown, as what pictures, and what the script is told; the page of suspicious ones."""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import torch.nn.functional as F
from PIL import Image, features
from torch import Tensor

from hmn.containers.artifact.picture import as_picture, png_bytes, to_uint8
from hmn.data.source import Source
from hmn.errors import UserError
from hmn.pruning.aum import Profile, suspects
from hmn.report.gather import RunFacts

MOST_SHOWN = 6000
"""Most images of a page; where there are more, every class shows some, evenly over their AUM."""
MOST_BYTES = 3_000_000
"""Most bytes of a page's pictures; as base64 they take a third more."""
WEBP_QUALITIES = (None, 92, 80, 65, 45)
"""Qualities of WebP, in the order in which they are tried; None is lossless."""
PAGE_SIDE = 64
"""Side of a picture on the page, in CSS pixels: smaller images are enlarged to about that."""
DECIMALS = 4
COLUMNS = 16
MAX_SIDE = 64
"""Longest side of an image in a picture, in pixels: larger ones are shrunk."""
SUSPECT_SIDE = 112
"""Width of a suspicious image on its page, in CSS pixels."""
_SUSPECTS = Path(__file__).parent / "templates" / "suspects.html"


class Sprite(NamedTuple):
    """Images in a grid, from left to right and from top to bottom, as a URL that holds them."""

    url: str
    columns: int
    rows: int


class Sheet(NamedTuple):
    """The sprites of several classes, and how they were stored."""

    sprites: list[Sprite]
    side: int
    """Side of an image, in pixels."""
    quality: int | None
    """Quality of WebP; None is lossless."""
    num_bytes: int


def sheet(pixels: Tensor, chosen: Sequence[Tensor], quality: int | None) -> Sheet:
    """Sprites of some images, a class each.

    Args:
        pixels: uint8 [n, c, h, w].
        chosen: for every class, indices of its images.
        quality: that of WebP, 1 to 100; None is lossless.

    Raises:
        UserError: this Pillow cannot write WebP.
    """
    if not features.check("webp"):
        raise UserError("this Pillow cannot write WebP: pip install --upgrade pillow")
    small = shrunk(pixels)
    files = [_webp(small[index], quality) for index in chosen]
    urls = [_url("webp", file) for file in files]
    sprites = [Sprite(url, *_grid(len(index))) for url, index in zip(urls, chosen, strict=True)]
    return Sheet(sprites, max(small.shape[2:]), quality, sum(map(len, files)))


def _url(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def shrunk(pixels: Tensor) -> Tensor:
    """uint8 images at no more than `MAX_SIDE` pixels a side, averaged over areas."""
    height, width = pixels.shape[2:]
    if max(height, width) <= MAX_SIDE:
        return pixels
    factor = MAX_SIDE / max(height, width)
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    return F.interpolate(pixels.float(), size, mode="area").round().to(pixels.dtype)


def _grid(count: int) -> tuple[int, int]:
    columns = max(1, min(count, COLUMNS))
    return columns, max(1, -(-count // columns))


def _webp(images: Tensor, quality: int | None) -> bytes:
    """A grid of images as one WebP file, on squares of their longer side."""
    columns, rows = _grid(len(images))
    side = max(images.shape[2:])
    canvas = Image.new("RGB", (columns * side, rows * side))
    for place, image in enumerate(images):
        canvas.paste(as_picture(image), (place % columns * side, place // columns * side))
    buffer = io.BytesIO()
    options = {"lossless": True} if quality is None else {"quality": quality}
    canvas.save(buffer, format="WEBP", method=4, **options)
    return buffer.getvalue()


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


def suspects_page(source: Source, profile: Profile, *, count: int, facts: Mapping[str, str]) -> str:
    """A page of the `count` images of lowest AUM, whose labels are most worth a look: HTML that fetches nothing.

    Lowest first, each with its number in the data, its label and its AUM.

    Args:
        source: what was profiled, in the same order.
        profile: of it.
        count: how many images, at most.
        facts: further lines of the page's head, by name.
    """
    index = suspects(profile, count)
    pixels = to_uint8(source.images(index))
    items = "\n".join(_item(profile, number, picture) for number, picture in zip(index.tolist(), pixels, strict=True))
    title = escape(f"{profile.source}: {len(index):,} suspicious images")
    head = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    page = Template(_SUSPECTS.read_text(encoding="utf-8"))
    return page.substitute(title=title, head=head, items=items, side=SUSPECT_SIDE)


def _item(profile: Profile, number: int, pixels: Tensor) -> str:
    name = escape(profile.class_names[int(profile.labels[number])])
    return (
        f'<li><figure><img src="{_url("png", png_bytes(as_picture(pixels)))}" alt="image {number}, labelled {name}">'
        f"<figcaption>{name}<br>image {number}, AUM {float(profile.aum[number]):.2f}</figcaption></figure></li>"
    )
