"""The methods that a comparison is asked for: real images, recipes, containers under one, folders made before."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from hmn.containers.artifact.place import check_finished, is_artifact
from hmn.errors import UserError
from hmn.measure.codec import FORMATS
from hmn.measure.coresets import CORESETS
from hmn.recipes.kinds import CONTAINERS
from hmn.recipes.named import ALIASES, RECIPES
from hmn.recipes.settings import Recipe
from hmn.recipes.values import convert, find, nearest, settings_of

RowKind = Literal["whole", "coreset", "codec", "recipe", "container", "file", "folder"]
REAL: dict[str, RowKind] = {"whole": "whole", **dict.fromkeys(CORESETS, "coreset"), **dict.fromkeys(FORMATS, "codec")}
CONDENSED_HERE = ("recipe", "container", "file")
"""Kinds that are condensed here; a folder was condensed before."""
NEEDED = ("whole", "random")
"""Always trained: the label-robust score is reckoned against them."""
SETTABLE = {
    path: setting
    for path, setting in settings_of(Recipe).items()
    if path not in ("name", "cost", "ipc", "container", "minutes") and not path.startswith("evaluate.")
}
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,39}")


@dataclass(frozen=True, kw_only=True)
class ComparedMethod:
    """A row of the table for every budget."""

    name: str
    kind: RowKind
    folders: tuple[Path, ...] = ()
    """Condensed before: one a budget."""
    config: Path | None = None
    """A TOML file of settings."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of --set, by path."""


def read_methods(words: str, *, recipe: str | None, overrides: Sequence[str]) -> list[ComparedMethod]:
    """The methods of --methods, in its order, those that are always needed behind them; with their --set."""
    found: dict[str, ComparedMethod] = {}
    for word in words.split(","):
        method = _method(word.strip(), recipe)
        before = found.get(method.name)
        if before is not None and not (before.kind == method.kind == "folder"):
            raise UserError(f"--methods: {method.name} is given twice; expected every name once.")
        if before is not None:  # one label may have a folder for every budget
            method = replace(method, folders=before.folders + method.folders)
        found[method.name] = method
    for name in NEEDED:
        found.setdefault(name, ComparedMethod(name=name, kind=REAL[name]))
    changes = _read_overrides(overrides, found)
    return [replace(method, settings=changes.get(name, {})) for name, method in found.items()]


def _method(word: str, recipe: str | None) -> ComparedMethod:
    if not word:
        raise UserError("--methods: a name is missing; expected names joined by commas, without gaps.")
    label, sign, place = word.partition("=")
    if sign:
        return _labelled(label, Path(place).expanduser(), word)
    # A name: of real images, of a container where a recipe goes with all, or of a recipe.
    containers = CONTAINERS.names()
    if word in REAL:
        return ComparedMethod(name=word, kind=REAL[word])
    if recipe is not None and word in containers:
        return ComparedMethod(name=word, kind="container")
    if word in RECIPES or word in ALIASES:
        return ComparedMethod(name=word, kind="recipe")
    if word in containers:
        raise UserError(f"--methods {word}: a container alone says not how it is condensed; add --recipe NAME for all.")
    known = (*REAL, *RECIPES, *(containers if recipe is not None else ()))
    raise UserError(f"--methods {word}: no method is called so{nearest(word, known)}")


def _labelled(label: str, place: Path, word: str) -> ComparedMethod:
    """A file of settings, a folder that was condensed, or the folders in it."""
    if not _LABEL.fullmatch(label) or label in REAL:
        expected = "LABEL=PATH, the label of letters, digits, dots and dashes, and not the name of real images"
        raise UserError(f"--methods {word}: expected {expected}.")
    if place.suffix.lower() == ".toml":
        if not place.is_file():
            raise UserError(f"--methods {word}: {place}: no such file.")
        return ComparedMethod(name=label, kind="file", config=place.resolve())
    # A folder that was condensed, or several of them in one.
    folders = [place]
    if not is_artifact(place):
        if not place.is_dir():
            raise UserError(f"--methods {word}: {place}: no such folder; expected one that `hmn condense` wrote.")
        check_finished(place)
        folders = sorted(folder for folder in place.iterdir() if is_artifact(folder))
    if not folders:
        raise UserError(f"--methods {word}: {place} holds nothing condensed; expected what `hmn condense` wrote.")
    return ComparedMethod(name=label, kind="folder", folders=tuple(folder.resolve() for folder in folders))


def _read_overrides(flags: Sequence[str], methods: Mapping[str, ComparedMethod]) -> dict[str, dict[str, Any]]:
    """The settings of --set METHOD:setting=value flags, by method and path."""
    condensed = [name for name, method in methods.items() if method.kind in CONDENSED_HERE]
    found: dict[str, dict[str, Any]] = {}
    for flag in flags:
        name, colon, rest = flag.partition(":")
        path, sign, value = rest.partition("=")
        if not (colon and sign):
            raise UserError(f"--set {flag}: expected METHOD:setting=value, such as mosaic:condense.lr=0.005.")
        # The form is right; now what it names.
        if name not in condensed:
            expected = ", ".join(condensed) or "none here"
            raise UserError(f"--set {flag}: {name} is no method that is condensed here; those are: {expected}.")
        setting = find(SETTABLE, path, load=True)
        if setting is None:
            raise UserError(f"--set {flag}: no setting is called {path}{nearest(path, SETTABLE)}")
        if path in found.get(name, {}):
            raise UserError(f"--set {name}:{path} is given twice.")
        found.setdefault(name, {})[path] = convert(setting, value, origin=f"--set {name}:{path}")
    return found


def read_budgets(words: str) -> list[int]:
    """The images per class of --ipc, in order. Raises UserError: not numbers, below 1, or one twice."""
    found = []
    for word in words.split(","):
        if not word.strip().isdigit() or int(word) < 1:
            raise UserError(f"--ipc {words}: expected whole numbers from 1, joined by commas, such as 1,10.")
        found.append(int(word))
    if len({*found}) < len(found):
        raise UserError(f"--ipc {words}: expected every budget once.")
    return sorted(found)
