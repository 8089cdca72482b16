"""From methods and budgets to cells: all that is made and trained, settled and checked before any of it begins."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from hmn.containers.artifact.load import info
from hmn.containers.shape import bytes_of
from hmn.data.real import Splits
from hmn.errors import UserError
from hmn.measure.candidates import check_classes
from hmn.measure.codec_options import CodecSettings, check_codec
from hmn.measure.training import Training
from hmn.recipes.values import given_file, recipe_to_toml
from hmn.studies.compare.methods import CONDENSED_HERE, ComparedMethod
from hmn.studies.condensation import CONDENSED, Condensation, RunSettings
from hmn.studies.sweep.grid import condensation
from hmn.studies.training import ImageChoice, TrainOn, TrainSource

FULL = "float32"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Something that networks are trained on."""

    name: str
    """Name of its folders below the comparison's."""
    method: ComparedMethod
    ipc: int | None
    """None for the whole training set."""
    dtype: str
    """How it is stored: float32, or what --stored asks for besides."""
    source: Literal["whole", "chosen", "condensed"]
    unit: str | None = None
    """What makes its images; nothing where they are there already."""
    folder: Path | None = None
    """Where they are then."""
    sha256: str | None = None


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


@dataclass(kw_only=True)
class Cells:
    """Everything that is made, and everything that is trained on."""

    units: dict[str, Condensation | ImageChoice] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)

    def training(self, cell: Cell, settings: ComparisonSettings, out: Path, seed: int) -> TrainOn:
        """One network's training on a cell."""
        place = "" if cell.source == "whole" else str(folder_of(cell, out))
        rounded = cell.dtype if cell.source == "condensed" and cell.dtype != FULL else None
        source = TrainSource(kind=cell.source, place=place, sha256=cell.sha256, stored_as=rounded)
        return TrainOn(source=source, data=settings.given.data, training=settings.training, seed=seed)

    def words(self, cell: Cell) -> dict[str, Any]:
        """What a cell would be, for people."""
        about = {"cell": cell.name, "method": cell.method.name, "ipc": cell.ipc, "stored": cell.dtype}
        unit = None if cell.unit is None else self.units[cell.unit]
        if not isinstance(unit, Condensation):
            return about
        shape, recipe = unit.chosen.shape, unit.recipe
        how = {"container": recipe.container, "objective": recipe.condense.objective, "recipe": recipe.name}
        sizes = {"floats": shape.ledger().num_floats, "images_per_class": shape.images_each()}
        return {**about, **how, **sizes, "sweeps": recipe.condense.num_sweeps}

    def settings(self) -> dict[str, Any]:
        """What every unit and cell is, in plain values, to know them again."""
        found: dict[str, Any] = {name: _settings(unit) for name, unit in self.units.items()}
        for cell in self.cells:
            about = {"source": cell.source, "unit": cell.unit, "dtype": cell.dtype, "sha256": cell.sha256}
            found[f"{cell.name} trained"] = about
        return found


def folder_of(cell: Cell, out: Path) -> Path:
    """Where a cell's images are, once they are made."""
    if cell.unit is None:
        assert cell.folder is not None
        return cell.folder
    unit = out.resolve() / cell.unit
    return unit / CONDENSED if cell.source == "condensed" else unit


def _settings(unit: Condensation | ImageChoice) -> dict[str, Any]:
    if isinstance(unit, Condensation):
        return {"recipe": recipe_to_toml(unit.recipe), "shape": repr(unit.chosen.shape)}
    codec = None if unit.codec is None else repr(unit.codec)
    return {"ipc": unit.ipc, "method": unit.method, "codec": codec, "num_bytes": unit.num_bytes}


def settle_cells(
    methods: Sequence[ComparedMethod], budgets: Sequence[int], settings: ComparisonSettings, splits: Splits
) -> Cells:
    """Every cell of the table.

    Raises:
        UserError: a method does not fit the data or a budget.
    """
    for codec in settings.codecs.values():
        check_codec(codec, splits.train)
    found = Cells()
    for method in methods:
        if method.kind == "whole":
            found.cells.append(_full("0000-whole", method, None, source="whole"))
        elif method.kind == "folder":
            _folders(found, method, budgets, settings, splits)
        else:
            for ipc in budgets:
                try:
                    _cell(found, method, ipc, settings, splits)
                except UserError as error:
                    raise UserError(f"--methods {method.name} at {ipc} IPC: {error}") from None
    return found


def _cell(found: Cells, method: ComparedMethod, ipc: int, settings: ComparisonSettings, splits: Splits) -> None:
    name = f"{ipc:04d}-{method.name}"
    choice = ImageChoice(data=settings.given.data, ipc=ipc)
    if method.kind == "coreset":
        fewest = int(splits.train.labels.bincount(minlength=splits.train.num_classes).min())
        if ipc > fewest:
            raise UserError(f"a class has {fewest} training images: choose a smaller budget.")
        found.units[name] = replace(choice, method=method.name)  # type: ignore[arg-type]
        found.cells.append(_full(name, method, ipc, source="chosen", unit=name))
        return
    if method.kind == "codec":
        values = splits.train.num_classes * ipc * math.prod(splits.train.image_shape)
        for dtype in (FULL, *settings.stored):  # so that each stored form has the codec's line at its own bytes
            named, form = (name, None) if dtype == FULL else (f"{name}-{dtype}", dtype)
            how: dict[str, Any] = {"codec": settings.codecs[method.name], "training": settings.training}
            found.units[named] = replace(choice, num_bytes=bytes_of(values, dtype), bytes_of=form, **how)
            cell = _full(named, method, ipc, source="chosen", unit=named)
            found.cells.append(replace(cell, dtype=dtype))
        return
    found.units[name] = settled(method, ipc, settings, splits)
    _stored(found, _full(name, method, ipc, source="condensed", unit=name), settings)


def _full(name: str, method: ComparedMethod, ipc: int | None, **where: Any) -> Cell:
    return Cell(name=name, method=method, ipc=ipc, dtype=FULL, **where)


def _stored(found: Cells, cell: Cell, settings: ComparisonSettings) -> None:
    found.cells.append(cell)
    found.cells += [replace(cell, name=f"{cell.name}-{dtype}", dtype=dtype) for dtype in settings.stored]


def settled(method: ComparedMethod, ipc: int, settings: ComparisonSettings, splits: Splits) -> Condensation:
    """A condensation, checked as `hmn condense` checks it."""
    assert method.kind in CONDENSED_HERE
    given, values = settings.given, {"ipc": ipc, **method.settings}
    if method.kind == "recipe":
        return condensation({"recipe": method.name, **values}, given, splits)
    if method.kind == "file":
        assert method.config is not None
        from_file = given_file(method.config)
        base = None if "cost" in from_file else settings.recipe
        return condensation(values, replace(given, from_file=from_file, recipe=base), splits)
    return condensation({"recipe": settings.recipe, "container": method.name, **values}, given, splits)


def _folders(
    found: Cells, method: ComparedMethod, budgets: Sequence[int], settings: ComparisonSettings, splits: Splits
) -> None:
    """The cells of a label: a folder a budget, each as it is stored and, from float32, as --stored says."""
    train = splits.train
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
            raise UserError(
                f"{method.name}: {there[ipc]} and {folder} both have a budget of {ipc} IPC: name them apart."
            )
        there[ipc] = folder
        name = f"{ipc:04d}-{method.name}"
        cell = _full(name, method, ipc, source="condensed", folder=folder, sha256=stored.checksum)
        _stored(found, cell, settings if stored.dtype == FULL else replace(settings, stored=()))
