"""From the flags of `hmn sweep` to its runs: the settings that vary, their values, and every run settled."""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from hmn.condensation.job import recipe_and_sizes
from hmn.containers.choose import checked_ipc
from hmn.data.real import Splits
from hmn.errors import UserError
from hmn.recipes.named import ALIASES, RECIPES
from hmn.recipes.settings import Dtype, Recipe
from hmn.recipes.values import Setting, convert, find, flatten, given_table, nearest, read_toml, settings_of
from hmn.studies.pool.attempt import SweepRun
from hmn.studies.tasks import Condensation, RunSettings

FLAGS = (Setting("recipe", Literal[(*RECIPES, *ALIASES)], ""), Setting("images", int, ""), Setting("dtype", Dtype, ""))
"""What may vary besides the settings of a recipe."""
_SETTABLE = (each for path, each in settings_of(Recipe).items() if path not in ("name", "cost", "minutes"))
VARIED = {setting.path: setting for setting in (*FLAGS, *_SETTABLE)}
EVALUATE = "evaluate."
TABLE = "vary"
"""Table of a --config file that holds the grid."""
MAX_RUNS = 10_000
MAX_NAME = 48
"""Characters of a run's folder that tell its values."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One combination of values: a row of the table."""

    values: dict[str, Any]
    run: str
    """The run that it is part of. Points that differ in how networks are evaluated share a condensation."""
    evaluation: str
    """The file in the run's folder that holds its result."""


def read_config(path: Path | None) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Settings of a TOML file, and the grid in its table `vary`. Raises UserError: values that are not lists."""
    if path is None:
        return {}, {}
    content = read_toml(path)
    table = content.pop(TABLE, {})
    if not isinstance(table, dict):
        raise UserError(f"{path}, {TABLE}: expected a table, such as [{TABLE}] with the line seed = [0, 1, 2].")
    grid = {}
    for name, values in flatten(table):
        if not isinstance(values, list):
            raise UserError(f"{path}, {TABLE}.{name}: got {values!r}, expected a list of values.")
        grid[name] = _checked_values(name, values, origin=f"{path}, {TABLE}.{name}")
    return given_table(content, origin=path), grid


def read_flags(flags: Sequence[str]) -> dict[str, list[Any]]:
    """The grid of --vary name=value,value,... flags."""
    grid: dict[str, list[Any]] = {}
    for flag in flags:
        name, sign, words = flag.partition("=")
        if not (name and sign):
            raise UserError(f"--vary {flag}: expected setting=value,value,... such as --vary seed=0,1,2.")
        if name in grid:
            raise UserError(f"--vary {name} is given twice: put all its values into one.")
        grid[name] = _checked_values(name, words.split(",") if words else [], origin=f"--vary {name}")
    return grid


def _checked_values(name: str, values: Sequence[Any], *, origin: str) -> list[Any]:
    """Values of one setting, of its own kind."""
    setting = find(VARIED, name, load=True)
    if setting is None:
        raise UserError(f"{origin}: no setting is called {name}{nearest(name, VARIED)}")
    if not values or "" in values:
        raise UserError(f"{origin}: a value is missing; expected {name}=value,value,... without gaps.")
    found = [convert(setting, value, origin=origin) for value in values]
    for value in found:
        if found.count(value) > 1:
            raise UserError(f"{origin}: {value} is given twice; expected every value once.")
    return found


def check_conflicts(grid: Mapping[str, Any], fixed: Mapping[str, Any]) -> None:
    """Refuse a grid of nothing, and a setting that has one value as a flag and others in the grid."""
    if not grid:
        raise UserError(f"nothing varies: give --vary setting=value,value,... or a table [{TABLE}] in --config.")
    both = [name for name in grid if fixed.get(name) is not None]
    if both:
        raise UserError(f"--{both[0]} and --vary {both[0]}: give one of them.")


def product(vary: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of the values, the last setting changing fastest."""
    return [dict(zip(vary, values, strict=True)) for values in itertools.product(*vary.values())]


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """Each setting's last words, as few as tell it from the others: lr, network.lr."""
    paths = list(paths)
    found = {}
    for path in paths:
        parts = path.split(".")
        endings = (".".join(parts[-count:]) for count in range(1, len(parts) + 1))
        alone = (ending for ending in endings if sum(f".{other}".endswith(f".{ending}") for other in paths) == 1)
        found[path] = next(alone, path)
    return found


def folder_name(index: int, values: Mapping[str, Any], names: Mapping[str, str], *, digits: int) -> str:
    """A run's folder: its number, then as much of its values as is short; sweep.json has all of them."""
    words = "-".join(f"{names[path]}-{text(value)}" for path, value in values.items())
    words = re.sub(r"[^A-Za-z0-9.]+", "-", words)[:MAX_NAME].strip("-.")
    return f"{index:0{digits}d}" + (f"-{words}" if words else "")


def text(value: Any) -> str:
    """A value as it is given on the command line."""
    return "none" if value is None else str(value)


def settle_runs(
    grid: Mapping[str, Sequence[Any]], given: RunSettings, splits: Splits
) -> tuple[list[SweepRun], list[Point]]:
    """Every run with all its settings, checked as `hmn condense` checks them, and the points of the grid in order."""
    points = product(grid)
    if len(points) > MAX_RUNS:
        raise UserError(f"the grid has {len(points):,} points: expected at most {MAX_RUNS:,}; leave some values out.")
    names, digits = short_names(grid), max(3, len(str(len(points) - 1)))
    payloads: dict[str, Condensation] = {}
    folders: dict[str, str] = {}
    found = []
    for values in points:
        # Points that differ in their evaluation alone share a folder and its condensation.
        made_from = {path: value for path, value in values.items() if not path.startswith(EVALUATE)}
        run = folders.setdefault(repr(made_from), folder_name(len(folders), made_from, names, digits=digits))
        settled = condensation(values, given, splits)
        evaluations = payloads[run].evaluations if run in payloads else {}
        file = f"evaluation-{len(evaluations)}.json" if evaluations else "evaluation.json"
        evaluations = {**evaluations, file: settled.recipe.evaluate}
        payloads[run] = replace(payloads.get(run, settled), evaluations=evaluations)
        found.append(Point(values=values, run=run, evaluation=file))
    return [SweepRun(name=name, payload=payload) for name, payload in payloads.items()], found


def condensation(values: Mapping[str, Any], given: RunSettings, splits: Splits) -> Condensation:
    """One point of the grid, checked as `hmn condense` checks a run."""
    flags = {setting.path for setting in FLAGS}
    settings = {**given.settings, **{path: value for path, value in values.items() if path not in flags}}
    name = values.get("recipe", given.recipe)
    if name is not None and "cost" in given.from_file:
        raise UserError(f"recipe {name}, and --config with a whole recipe: give one of them.")
    # From here on as `hmn condense` settles one run.
    ipc = checked_ipc(given.data.name, settings.pop("ipc", given.from_file.get("ipc")))
    dtype, images = values.get("dtype", given.dtype), values.get("images", given.images)
    recipe, chosen = recipe_and_sizes(splits, ipc, name, given.from_file, settings, dtype=dtype, images=images)
    return Condensation(given=given, chosen=chosen, recipe=recipe, dtype=dtype, evaluations={})
