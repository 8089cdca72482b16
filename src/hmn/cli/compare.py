"""`hmn compare`: methods x budgets under one evaluation protocol, in one table."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console

from hmn.cli import flags
from hmn.errors import UserError, check_at_least
from hmn.recipes.kinds import CONTAINERS
from hmn.recipes.named import ALIASES, RECIPES
from hmn.recipes.protocols import protocol as find_protocol
from hmn.recipes.values import given_environment, nearest
from hmn.runtime.console import as_table, note, print_json, print_table, tell
from hmn.runtime.files import write_atomically, write_json
from hmn.runtime.launched import COMMAND
from hmn.studies.where import Where

if TYPE_CHECKING:
    from hmn.measure.candidates import Candidate
    from hmn.measure.codec_choice import CodecSettings
    from hmn.measure.training import Training
    from hmn.studies.compare.table import Comparison


@flags.with_names
def compare(
    data: flags.Data,
    /,
    *,
    methods: str,
    ipc: str,
    out: Path,
    recipe: str | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative=())] = None,
    seed: int | None = None,
    stored: str | None = None,
    codec_quality: str | None = None,
    codec_side: str | None = None,
    on: flags.On = "test",
    sort: Literal["accuracy", "method"] = "accuracy",
    folder: flags.FolderFlags = flags.FolderFlags(),
    data_flags: flags.DataFlags = flags.DataFlags(),
    training: flags.EvaluationFlags = flags.EvaluationFlags(),
    where: Where = Where(),
    method: flags.MethodFlags = flags.MethodFlags(),
) -> int:
    """Compare methods at several budgets under one training protocol: one table, also as Markdown, JSON and HTML.

    Every row trains the same networks for the same steps. Published numbers stand beside measured ones, marked as such.

    Parameters
    ----------
    methods
        Joined by commas: {coresets} (real images, at the budget's floats); {codecs} (real images, at the bytes of
        those floats); a recipe; with --recipe a container ({containers}), all under that one recipe; LABEL=PATH, a
        folder (or a folder of folders) that `hmn condense` wrote, or a TOML recipe. whole (all training images) and
        random are always there: the label-robust score needs them.
    ipc
        Images per class whose floats are the budget, several joined by commas.
    out
        Folder of the comparison. Where several machines work, all of them must see it under this path.
    recipe
        Settings that the containers in --methods share; the container alone then differs.
    set_
        METHOD:setting=value, such as mosaic:condense.lr=0.005, for one method. May be given several times.
    seed
        Seed of everything random in condensing.
    stored
        {dtypes}, joined by commas: what containers reach and take when they are stored so, and codecs in those bytes.
    codec_quality
        Of {codecs}: one, or several joined by commas or auto, to be chosen from on validation images (default: 20, or
        more where bytes are left).
    codec_side
        Shorter side in pixels that images are shrunk to, as for the quality (default: their own).
    on
        test: the test split. validation: a tenth of the training images, kept from condensing too; tune by it.
    sort
        Rows within a budget by accuracy, or in the order of --methods.
    """
    from hmn.data.named import absolute
    from hmn.measure.against import stored_dtypes
    from hmn.measure.coresets import whole
    from hmn.studies.compare.cells import FULL, ComparisonSettings, settle_cells
    from hmn.studies.compare.methods import REAL, read_budgets, read_methods
    from hmn.studies.compare.table import Comparison
    from hmn.studies.tasks import RunSettings, StudyData

    how: dict[str, Any] = {"resume": folder.resume, "force": folder.force}
    where.check("a comparison", **how, checkpoint_seconds=folder.checkpoint_seconds)
    check_at_least(1, width=training.width, steps=training.steps, seeds=training.seeds)
    if recipe is not None and recipe not in (*RECIPES, *ALIASES):
        raise UserError(f"--recipe {recipe}: no recipe is called so{nearest(recipe, RECIPES)}")
    budgets = read_budgets(ipc)
    rows = read_methods(methods, recipe=recipe, overrides=set_ or [])
    if recipe is not None and not any(row.kind in ("container", "file") for row in rows):
        known = ", ".join(CONTAINERS.names())
        raise UserError(f"--recipe {recipe}: is for containers, and --methods names none of {known}.")
    codecs = read_codecs([row.name for row in rows if REAL.get(row.name) == "codec"], codec_quality, codec_side)
    asked = method.given(seed=seed)
    for path, value in asked.items():
        if is_decided(path):
            remedy = "name containers in --methods" if path == "container" else "all rows have the same, leave it out"
            raise UserError(f"--{path} {value}: {remedy}.")
    given = RunSettings(
        data=StudyData(name=absolute(data), options=flags.data_options(data_flags).absolute(), on=on),
        settings={path: value for path, value in given_environment().items() if not is_decided(path)} | asked,
        checkpoint_seconds=folder.checkpoint_seconds,
        command=tuple(COMMAND.get()),
    )
    splits = given.data.splits()
    forms = tuple(dtype for dtype in stored_dtypes(stored) if dtype != FULL)
    one = one_training(whole(splits, on), training)
    settings = ComparisonSettings(given=given, recipe=recipe, training=one, codecs=codecs, stored=forms)
    made = settle_cells(rows, budgets, settings, splits)
    comparison = Comparison(out=out, settings=settings, cells=made, splits=splits, where=where, sort=sort)
    if folder.dry_run:
        print_cells(comparison, as_json=folder.json)
        return 0
    table = comparison.run(**how)
    # First the screen: a disk that is full must not cost the result.
    if folder.json:
        print_json({"out": str(out), **table})
    else:
        print_comparison(table)
    write_comparison(out, table)
    reasons = [form["reason"] for row in table["rows"] for form in (row, *row["stored"].values())]
    return 1 if any(reasons) else 0


def read_codecs(names: list[str], quality: str | None, side: str | None) -> dict[str, CodecSettings]:
    """How the codecs among the methods are to compress.

    Raises:
        UserError: flags of codecs, and no codec; or a number that is none.
    """
    from hmn.measure.codec_choice import codec_flags

    if not names:
        for flag, value in (("quality", quality), ("side", side)):
            if value is not None:
                *first, last = flags.LISTED["codecs"]
                known = f"{', '.join(first)} and {last}"
                raise UserError(f"--codec-{flag} {value}: is for {known}, and --methods names none of them.")
        return {}
    return {found.format: found for found in codec_flags(",".join(names), quality, side, None)}


def is_decided(path: str) -> bool:
    """Whether methods and budgets decide a setting."""
    return path.partition(".")[0] in ("ipc", "container", "sizes", "evaluate")


def one_training(of_all: Candidate, asked: flags.EvaluationFlags) -> Training:
    """How every network is trained.

    Raises:
        UserError: no protocol of this name, or one that counts passes over each set, so that steps would differ.
    """
    from hmn.measure.training import choose_training

    name = asked.protocol or given_environment().get("evaluate.protocol") or of_all.settings.protocol
    if asked.steps is None and find_protocol(name, of_all.data, of_all.ipc).steps is None:
        raise UserError(f"--protocol {name} counts passes over each set's own images: give --steps, the same for all.")
    given = {name: getattr(asked, name) for name in ("net", "width", "protocol", "seeds")}
    return choose_training(of_all, given, asked.steps, schedule=asked.schedule)


PIPE_WIDTH = 220
"""Width of the table where no terminal gives its own: no row is broken."""


def write_comparison(out: Path, table: Mapping[str, Any]) -> None:
    """table.json and table.md, and the page where jinja2 is there."""
    from hmn.studies.compare.text import markdown

    write_json(out / "table.json", table)
    write_atomically(out / "table.md", markdown(table).encode())
    try:
        from hmn.report.pages import comparison_page
    except ImportError:
        note(
            f"written: {out / 'table.json'} and table.md; the page needs jinja2: pip install 'hmn[report]', then the "
            "same command with --resume writes it"
        )
        return
    write_atomically(out / "table.html", comparison_page(table).encode())
    note(f"written: {out / 'table.json'}, with table.md and table.html beside it")


def print_comparison(table: Mapping[str, Any]) -> None:
    """The table on stdout, with its notes."""
    from hmn.studies.compare.text import TEXT_COLUMNS, cells, heads, notes, protocol_words, title

    # A line between budgets.
    rows: list[list[str] | None] = []
    budget = None
    for row in table["rows"]:
        if budget is not None and row["ipc"] != budget:
            rows.append(None)
        budget = row["ipc"]
        rows.append(cells(row, table))
    tell(title(table), "bold")
    tell(protocol_words(table))
    wide = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
    wide.print(as_table(heads(table), rows, left=TEXT_COLUMNS))
    for line in notes(table):
        tell(line, "dim")


def print_cells(comparison: Comparison, *, as_json: bool) -> None:
    """What would be made and trained."""
    training, rows = comparison.settings.training, [cell.words() for cell in comparison.cells]
    if as_json:
        protocol = {"net": training.net, "width": training.width, "name": training.protocol, "steps": training.steps}
        print_json({"out": str(comparison.out), "cells": rows, "protocol": protocol, "seeds": training.seeds})
        return
    # What is not condensed has no container and no sweeps.
    names = ("cell", "container", "objective", "recipe", "floats", "images_per_class", "sweeps")
    heads = [name.replace("_", " ") for name in names]
    values = ([row.get(name, "") for name in names] for row in rows)
    shown = ([f"{value:,}" if isinstance(value, int) else str(value) for value in row] for row in values)
    counts = f"{len(comparison.units)} sets of images to make, {len(comparison.trainings())} trainings"
    words = f"{counts} of {training.steps:,} steps ({training.net}, {training.protocol})"
    print_table(words, as_table(heads, shown, left=heads))
