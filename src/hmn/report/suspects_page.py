"""A page of the images whose labels are most worth a look: one HTML file, its pictures in it, nothing fetched."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape
from pathlib import Path
from string import Template

from torch import Tensor

from hmn.containers.artifact.picture import as_picture, png_bytes, to_uint8
from hmn.data.source import Source
from hmn.pruning.aum import Profile, suspects

SHOWN_SIDE = 112
"""Width of a picture on the page, in CSS pixels."""
_TEMPLATE = Path(__file__).parent / "templates" / "suspects.html"


def suspects_page(source: Source, profile: Profile, *, count: int, facts: Mapping[str, str]) -> str:
    """The `count` images of lowest AUM, lowest first, each with its number in the data, its label and its AUM.

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
    page = Template(_TEMPLATE.read_text(encoding="utf-8"))
    return page.substitute(title=title, head=head, items=items, side=SHOWN_SIDE)


def _item(profile: Profile, number: int, pixels: Tensor) -> str:
    picture = base64.b64encode(png_bytes(as_picture(pixels))).decode()
    name = escape(profile.class_names[int(profile.labels[number])])
    return (
        f'<li><figure><img src="data:image/png;base64,{picture}" alt="image {number}, labelled {name}">'
        f"<figcaption>{name}<br>image {number}, AUM {float(profile.aum[number]):.2f}</figcaption></figure></li>"
    )
