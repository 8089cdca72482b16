"""A page of the images whose labels are most worth a look: one HTML file, its pictures in it, nothing fetched."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape

from torch import Tensor

from hmn.containers.artifact.picture import as_picture, png_bytes, to_uint8
from hmn.data.source import Source
from hmn.prune.aum import Profile, suspects

SHOWN_SIDE = 112
"""Width of a picture on the page, in CSS pixels."""
_STYLE = f"""
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 1.5rem auto; max-width: 72rem; padding: 0 1rem; }}
ol {{ display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); list-style: none;
  margin: 0; padding: 0; }}
figure {{ margin: 0; }}
img {{ display: block; image-rendering: pixelated; width: {SHOWN_SIDE}px; }}
figcaption {{ font-size: 0.875rem; overflow-wrap: anywhere; }}
""".strip()


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
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{_STYLE}
</style>
</head>
<body>
<h1>{title}</h1>
<p>Networks came last, or never, to give these images the labels that they have: the label may be wrong, or the image
hard. The lowest margin comes first. Numbers count the images from 0 in the order in which they were read.</p>
<dl>{head}</dl>
<ol>
{items}
</ol>
</body>
</html>
"""


def _item(profile: Profile, number: int, pixels: Tensor) -> str:
    picture = base64.b64encode(png_bytes(as_picture(pixels))).decode()
    name = escape(profile.class_names[int(profile.labels[number])])
    return (
        f'<li><figure><img src="data:image/png;base64,{picture}" alt="image {number}, labelled {name}">'
        f"<figcaption>{name}<br>image {number}, AUM {float(profile.aum[number]):.2f}</figcaption></figure></li>"
    )
