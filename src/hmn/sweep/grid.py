"""The points of a grid, and short names for its settings and its runs."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MAX_NAME = 48


def product(vary: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of the values, the last setting changing fastest."""
    return [dict(zip(vary, values, strict=True)) for values in itertools.product(*vary.values())]


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """Each setting's last words, as few as tell it from the others: lr, network.lr."""
    paths = list(paths)
    found = {}
    for path in paths:
        parts = path.split(".")
        for count in range(1, len(parts) + 1):
            ending = ".".join(parts[-count:])
            if sum(f".{other}".endswith(f".{ending}") for other in paths) == 1:
                break
        found[path] = ending
    return found


def folder_name(index: int, values: Mapping[str, Any], names: Mapping[str, str], *, digits: int) -> str:
    """A run's folder: its number, then as much of its values as is short; sweep.json has all of them."""
    words = "-".join(f"{names[path]}-{text(value)}" for path, value in values.items())
    words = re.sub(r"[^A-Za-z0-9.]+", "-", words)[:MAX_NAME].strip("-.")
    return f"{index:0{digits}d}" + (f"-{words}" if words else "")


def text(value: Any) -> str:
    """A value as it is given on the command line."""
    return "none" if value is None else str(value)
