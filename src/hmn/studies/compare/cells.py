"""From methods and budgets to cells: all that is made and trained, settled and checked before any of it begins."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hmn.containers.ledger import bytes_of
from hmn.errors import UserError
from hmn.measure.candidates import check_classes
from hmn.measure.codec_options import CodecSettings
from hmn.measure.training import Training
from hmn.recipes.values import given_file
from hmn.studies.compare.methods import CONDENSED, Method
from hmn.studies.condensation import Condensation
from hmn.studies.sweep.grid import Given, condensation
from hmn.studies.training import CellTraining, Choice

if TYPE_CHECKING:
    from hmn.data.real import Splits


FULL = "float32"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Something that networks are trained on."""

    name: str
    """Of its folders below the comparison's."""
    method: Method
    ipc: int | None
    """None for the whole training set."""
    dtype: str
    """How it is stored: float32, or what --stored asks for besides."""
    source: Literal["whole", "chosen", "condensed"]
    unit: str | None
    """What makes its images; nothing where they are there already."""
    folder: Path | None = None
    """Where they are then."""
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the command says of all cells."""

    given: Given
    """Data, split, and the settings of what is condensed."""
    recipe: str | None
    """Of containers."""
    training: Training
    codecs: Mapping[str, CodecSettings]
    stored: tuple[str, ...]
    """Besides float32."""


@dataclass(kw_only=True)
class Cells:
    """Everything that is made, and everything that is trained on."""

    units: dict[str, Condensation | Choice] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)

    def training(self, cell: Cell, wanted: Wanted, out: Path, seed: int) -> CellTraining:
        """One network's training on a cell."""
        place = "" if cell.source == "whole" else str(images_of(cell, out))
        given = wanted.given
        rounded = cell.dtype if cell.source == "condensed" and cell.dtype != FULL else None
        return CellTraining(
            data=given.data, data_flags=given.data_flags, on=given.on, source=cell.source, place=place,
            sha256=cell.sha256, dtype=rounded, training=wanted.training, seed=seed,
        )  # fmt: skip

    def settings(self) -> dict[str, Any]:
        """What every unit and cell is, in plain values, to know them again."""
        found: dict[str, Any] = {name: _settings(unit) for name, unit in self.units.items()}
        for cell in self.cells:
            about = {"source": cell.source, "unit": cell.unit, "dtype": cell.dtype, "sha256": cell.sha256}
            found[f"{cell.name} trained"] = about
        return found


def images_of(cell: Cell, out: Path) -> Path:
    """Where a cell's images are, once they are made."""
    from hmn.studies.condensation import CONDENSED as FOLDER

    if cell.unit is None:
        assert cell.folder is not None
        return cell.folder
    unit = out.resolve() / cell.unit
    return unit / FOLDER if cell.source == "condensed" else unit


def _settings(unit: Condensation | Choice) -> dict[str, Any]:
    from hmn.recipes.named import recipe_to_toml

    if isinstance(unit, Condensation):
        return {"recipe": recipe_to_toml(unit.recipe), "shape": repr(unit.chosen.shape)}
    codec = None if unit.codec is None else repr(unit.codec)
    return {"ipc": unit.ipc, "method": unit.method, "codec": codec, "num_bytes": unit.num_bytes}


def settle(methods: Sequence[Method], budgets: Sequence[int], wanted: Wanted, splits: Splits) -> Cells:
    """Every cell of the table.

    Raises:
        UserError: a method does not fit the data or a budget.
    """
    found = Cells()
    for method in methods:
        if method.kind == "whole":
            found.cells.append(
                Cell(name="0000-whole", method=method, ipc=None, dtype=FULL, source="whole", unit=None)
            )  # fmt: skip
        elif method.kind == "folder":
            _folders(found, method, budgets, wanted, splits)
        else:
            for ipc in budgets:
                try:
                    _cell(found, method, ipc, wanted, splits)
                except UserError as error:
                    raise UserError(f"--methods {method.name} at {ipc} IPC: {error}") from None
    return found


def _cell(found: Cells, method: Method, ipc: int, wanted: Wanted, splits: Splits) -> None:
    name = f"{ipc:04d}-{method.name}"
    given = wanted.given
    choice = Choice(data=given.data, data_flags=given.data_flags, on=given.on, ipc=ipc)
    if method.kind == "coreset":
        fewest = int(splits.train.labels.bincount(minlength=splits.train.num_classes).min())
        if ipc > fewest:
            raise UserError(f"a class has {fewest} training images: choose a smaller budget.")
        found.units[name] = replace(choice, method=method.name)  # type: ignore[arg-type]
        found.cells.append(Cell(name=name, method=method, ipc=ipc, dtype=FULL, source="chosen", unit=name))
        return
    if method.kind == "codec":
        values = splits.train.num_classes * ipc * math.prod(splits.train.image_shape)
        for dtype in (FULL, *wanted.stored):  # so that each stored form has the codec's line at its own bytes
            named = name if dtype == FULL else f"{name}-{dtype}"
            found.units[named] = replace(
                choice, codec=wanted.codecs[method.name], num_bytes=bytes_of(values, dtype),
                bytes_of=None if dtype == FULL else dtype, training=wanted.training,
            )  # fmt: skip
            found.cells.append(Cell(name=named, method=method, ipc=ipc, dtype=dtype, source="chosen", unit=named))
        return
    found.units[name] = settled(method, ipc, wanted, splits)
    _stored(found, Cell(name=name, method=method, ipc=ipc, dtype=FULL, source="condensed", unit=name), wanted)


def _stored(found: Cells, cell: Cell, wanted: Wanted) -> None:
    found.cells.append(cell)
    found.cells += [replace(cell, name=f"{cell.name}-{dtype}", dtype=dtype) for dtype in wanted.stored]


def settled(method: Method, ipc: int, wanted: Wanted, splits: Splits) -> Condensation:
    """A condensation, checked as `hmn condense` checks it."""
    assert method.kind in CONDENSED
    given, values = wanted.given, {"ipc": ipc, **method.settings}
    if method.kind == "recipe":
        return condensation({"recipe": method.name, **values}, given, splits)
    if method.kind == "file":
        assert method.config is not None
        from_file = given_file(method.config)
        base = None if "cost" in from_file else wanted.recipe
        return condensation(values, replace(given, from_file=from_file, recipe=base), splits)
    return condensation({"recipe": wanted.recipe, "container": method.name, **values}, given, splits)


def _folders(found: Cells, method: Method, budgets: Sequence[int], wanted: Wanted, splits: Splits) -> None:
    """The cells of a label: a folder a budget, each as it is stored and, from float32, as --stored says."""
    from hmn.containers.artifact.load import info

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
        ipc = max(1, stored.ledger.budget // values)
        if ipc not in budgets:
            raise UserError(f"{folder} has a budget of {ipc} IPC: add {ipc} to --ipc, or leave the folder out.")
        if ipc in there:
            raise UserError(
                f"{method.name}: {there[ipc]} and {folder} both have a budget of {ipc} IPC: name them apart."
            )
        there[ipc] = folder
        cell = Cell(name=f"{ipc:04d}-{method.name}", method=method, ipc=ipc, dtype=FULL, source="condensed", unit=None,
                    folder=folder, sha256=stored.checksum)  # fmt: skip
        _stored(found, cell, wanted if stored.dtype == FULL else replace(wanted, stored=()))
