"""From methods and budgets to cells: all that is made and trained, settled and checked before any of it begins."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from hmn.containers.artifact.load import info
from hmn.containers.shape import bytes_of
from hmn.data.real import Splits
from hmn.errors import UserError
from hmn.measure.candidates import check_classes
from hmn.measure.codec_choice import CodecSettings, check_codec
from hmn.measure.training import Training
from hmn.recipes.values import given_file
from hmn.studies.compare.methods import CONDENSED_HERE, ComparedMethod
from hmn.studies.sweep.grid import condensation
from hmn.studies.tasks import CONDENSED, Condensation, ImageChoice, RunSettings

FULL = "float32"


@dataclass(frozen=True, kw_only=True)
class ComparisonSettings:
    """What the command says of all cells."""

    given: RunSettings
    """Data, split, and the settings of what is condensed."""
    recipe: str | None
    """Recipe that containers share."""
    training: Training
    codecs: Mapping[str, CodecSettings]
    stored: tuple[str, ...]
    """Besides float32."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Something that networks are trained on."""

    name: str
    """Name of its folders below the comparison's."""
    method: ComparedMethod
    ipc: int | None
    """None for the whole training set."""
    dtype: str = FULL
    """How it is stored: float32, or what --stored asks for besides."""
    source: Literal["whole", "chosen", "condensed"]
    unit: str | None = None
    """Name of what makes its images, which its stored forms share; nothing where they are there already."""
    making: Condensation | ImageChoice | None = None
    """The unit itself."""
    folder: Path | None = None
    """Where the images are that are there already."""
    sha256: str | None = None

    def place(self, out: Path) -> Path:
        """Where its images are, once they are made."""
        if self.unit is None:
            assert self.folder is not None
            return self.folder
        unit = out.resolve() / self.unit
        return unit / CONDENSED if self.source == "condensed" else unit

    def words(self) -> dict[str, Any]:
        """What it would be, for people."""
        about = {"cell": self.name, "method": self.method.name, "ipc": self.ipc, "stored": self.dtype}
        if not isinstance(self.making, Condensation):
            return about
        shape, recipe = self.making.chosen.shape, self.making.recipe
        how = {"container": recipe.container, "objective": recipe.condense.objective, "recipe": recipe.name}
        sizes = {"floats": shape.ledger().num_floats, "images_per_class": shape.images_each()}
        return {**about, **how, **sizes, "sweeps": recipe.condense.num_sweeps}


def settle_cells(
    methods: Sequence[ComparedMethod], budgets: Sequence[int], settings: ComparisonSettings, splits: Splits
) -> list[Cell]:
    """Every cell of the table. Raises UserError: a method does not fit the data or a budget."""
    for codec in settings.codecs.values():
        check_codec(codec, splits.train)
    found: list[Cell] = []
    for method in methods:
        if method.kind == "whole":
            found.append(Cell(name="0000-whole", method=method, ipc=None, source="whole"))
        elif method.kind == "folder":
            found += _made_before(method, budgets, settings, splits)
        else:
            for ipc in budgets:
                try:
                    found += _made_here(method, ipc, settings, splits)
                except UserError as error:
                    raise UserError(f"--methods {method.name} at {ipc} IPC: {error}") from None
    return found


def _made_here(method: ComparedMethod, ipc: int, settings: ComparisonSettings, splits: Splits) -> list[Cell]:
    """A method at a budget, in each of its stored forms."""
    name, train = f"{ipc:04d}-{method.name}", splits.train
    cell = Cell(name=name, method=method, ipc=ipc, source="chosen", unit=name)
    choice = ImageChoice(data=settings.given.data, ipc=ipc)
    if method.kind == "coreset":
        if ipc > train.fewest:
            raise UserError(f"a class has {train.fewest} training images: choose a smaller budget.")
        return [replace(cell, making=replace(choice, method=method.name))]  # type: ignore[arg-type]
    if method.kind in CONDENSED_HERE:
        made = _condensed_here(method, ipc, settings, splits)
        return _stored(replace(cell, source="condensed", making=made), settings.stored)

    # A codec is chosen for each form anew, so that each has the codec's line at its own bytes.
    values = train.num_classes * ipc * math.prod(train.image_shape)
    choice = replace(choice, codec=settings.codecs[method.name], training=settings.training)
    found = [replace(cell, making=replace(choice, num_bytes=bytes_of(values, FULL)))]
    for dtype in settings.stored:
        named, at_bytes = f"{name}-{dtype}", replace(choice, num_bytes=bytes_of(values, dtype), bytes_of=dtype)
        found.append(replace(cell, name=named, unit=named, dtype=dtype, making=at_bytes))
    return found


def _condensed_here(method: ComparedMethod, ipc: int, settings: ComparisonSettings, splits: Splits) -> Condensation:
    """A condensation, checked as `hmn condense` checks it."""
    given, values = settings.given, {"ipc": ipc, **method.settings}
    if method.kind == "recipe":
        return condensation({"recipe": method.name, **values}, given, splits)
    if method.config is not None:
        from_file = given_file(method.config)
        base = None if "cost" in from_file else settings.recipe
        return condensation(values, replace(given, from_file=from_file, recipe=base), splits)
    return condensation({"recipe": settings.recipe, "container": method.name, **values}, given, splits)


def _stored(cell: Cell, forms: Sequence[str]) -> list[Cell]:
    return [cell, *(replace(cell, name=f"{cell.name}-{dtype}", dtype=dtype) for dtype in forms)]


def _made_before(
    method: ComparedMethod, budgets: Sequence[int], settings: ComparisonSettings, splits: Splits
) -> list[Cell]:
    """The cells of a label: a folder a budget, each as it is stored and, from float32, as --stored says."""
    train, found = splits.train, []
    values = train.num_classes * math.prod(train.image_shape)
    there: dict[int, Path] = {}
    for folder in method.folders:
        stored = info(folder)
        check_classes(folder, stored.class_names, splits.name, train.class_names)
        if stored.shape.image_shape != train.image_shape:
            raise UserError(
                f"{folder} holds images of {stored.shape.image_shape}, {splits.name} has {train.image_shape}: "
                "compare on the data that it was made from."
            )
        # The budget says which row of the table a folder is.
        ipc = max(1, stored.ledger.budget // values)
        if ipc not in budgets:
            raise UserError(f"{folder} has a budget of {ipc} IPC: add {ipc} to --ipc, or leave the folder out.")
        if ipc in there:
            both = f"{there[ipc]} and {folder} both have a budget of {ipc} IPC"
            raise UserError(f"{method.name}: {both}: name them apart.")
        there[ipc] = folder
        where: dict[str, Any] = {"source": "condensed", "folder": folder, "sha256": stored.checksum}
        cell = Cell(name=f"{ipc:04d}-{method.name}", method=method, ipc=ipc, **where)
        found += _stored(cell, settings.stored if stored.dtype == FULL else ())
    return found
