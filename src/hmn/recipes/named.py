"""Recipes by name, each of which states its cost; the recipe of a run: a named one or a file's, changed by flags."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import replace
from inspect import signature
from types import NoneType
from typing import Any, get_args

from hmn.errors import UserError
from hmn.recipes import cpu, methods
from hmn.recipes.kinds import OBJECTIVES
from hmn.recipes.parts import Fitted
from hmn.recipes.settings import Recipe
from hmn.recipes.values import changed, completed, content, is_of_objective, settings_of

_MAKERS: tuple[Callable[..., Recipe], ...] = (
    *(cpu.fast, cpu.quick, methods.dc, methods.dsa, methods.dm, methods.idc_i, methods.idc),
    *(methods.mtt, methods.haba, methods.linba, methods.hmn, methods.ddif),
    *(cpu.dsa_cpu, cpu.dm_cpu, cpu.idc_i_cpu, cpu.idc_cpu, cpu.haba_cpu, cpu.linba_cpu, cpu.hmn_cpu, cpu.ddif_cpu),
)
MAKERS = {maker.__name__.replace("_", "-"): maker for maker in _MAKERS}
RECIPES = tuple(MAKERS)
DIALS = tuple(name for name, maker in MAKERS.items() if "minutes" in signature(maker).parameters)
"""Recipes with a dial: they are made for a number of minutes."""
ALIASES = {"paper": "hmn"}
"""Former names, still in recipe.toml files and scripts."""
DEFAULT_RECIPE = "fast"
MAX_MINUTES = 10**6


def recipe(name: str, *, minutes: float | None = None, **data: Any) -> Recipe:
    """A recipe by name, fitted to a data set.

    A method's name (dc, dsa, dm, idc-i, idc, mtt, haba, linba, hmn, ddif) is its container, objective and settings as
    published; with -cpu it is a version of about 20 minutes on one thread for CIFAR-10 at 1 IPC. fast: the most
    accuracy that was found for so many minutes, a quarter of an hour where they are not said. quick: a minute or two on
    small data, to see that everything works.

    Args:
        name: one of RECIPES, or a former name.
        minutes: what a recipe with a dial is made for; its iterations are then a guess, which
            `hmn.condensation.cost.price.in_minutes` puts right for this machine.
        data: the fields of `hmn.recipes.parts.Fitted`: dataset, ipc, image_shape; num_classes and std.

    Raises:
        UserError: no recipe has this name, or minutes of one that has no dial, or minutes that are no time.
    """
    maker, fitted = MAKERS.get(ALIASES.get(name, name)), Fitted(**data)
    if maker is None:
        close = difflib.get_close_matches(name, (*RECIPES, *ALIASES), n=1, cutoff=0.0)[0]
        raise UserError(f"no recipe is called {name!r}: expected one of {', '.join(RECIPES)}; did you mean {close}?")
    if minutes is None:
        return maker(fitted)
    if name not in DIALS:
        raise UserError(f"--minutes {minutes:g}: recipe {name} has no such dial: expected one of {', '.join(DIALS)}.")
    if not 0 < minutes <= MAX_MINUTES:
        raise UserError(f"--minutes {minutes:g}: expected a number above 0, up to {MAX_MINUTES:,}.")
    return maker(fitted, minutes)


def resolve(name: str | None, from_file: Mapping[str, Any], own: Mapping[str, Any], fitted: Fitted) -> Recipe:
    """The recipe of a run with every setting: a named one or a whole file, then one's own settings put over it. Raises
    UserError: no such recipe, or a setting of one's own that its objective does not read.
    """
    if "cost" in from_file:
        found = changed(_renamed(whole_recipe({**from_file, "ipc": fitted.ipc}), fitted), own)
    else:
        given = {**{path: value for path, value in from_file.items() if path not in ("name", "ipc")}, **own}
        title = name or from_file.get("name", DEFAULT_RECIPE)
        base = recipe(title, **vars(fitted), minutes=given.get("minutes"))
        if given.get("container", base.container) != base.container:
            given = {"sizes": {}, **given}  # the recipe's sizes are of its own container
        found = changed(base, given)
    found = completed(found)
    _check_used(found, own)
    return found


def _renamed(whole: Recipe, fitted: Fitted) -> Recipe:
    """A file's recipe: its settings may have been edited, so it keeps its name only where it holds what that says."""
    if whole.name not in (*RECIPES, *ALIASES):
        return whole
    named = recipe(whole.name, **vars(fitted), minutes=whole.minutes)
    if whole.minutes is not None:  # its dial was turned, and the iterations are the machine's
        named = replace(named, condense=replace(named.condense, epochs=whole.condense.epochs))
    return whole if content(named) == content(whole) else replace(whole, name=f"{whole.name}-changed")


def whole_recipe(values: Mapping[str, Any]) -> Recipe:
    """The recipe in a file of all settings, as a run writes it; TOML has no null, so what is absent is None."""
    absent = {path: None for path, each in settings_of(Recipe).items() if NoneType in get_args(each.kind)}
    title = values.get("name", "file")
    found = changed(Recipe(name=title, cost=values["cost"], ipc=values["ipc"]), {**absent, **values})
    return completed(replace(found, name=title, cost=values["cost"]))


def _check_used(found: Recipe, given: Mapping[str, Any]) -> None:
    """Refuse what was asked for besides the recipe, by path, and its objective does not read."""
    objective = found.condense.objective
    reads = OBJECTIVES.load(objective).reads
    for path, value in given.items():
        owner = path.partition(".")[0]
        if is_of_objective(path) and owner != objective:
            raise UserError(f"{path} {value}: is for --objective {owner}, and this is {objective}: leave it out.")
        if owner == "condense" and not any(path == name or path.startswith(f"{name}.") for name in reads):
            raise UserError(f"{path} {value}: --objective {objective} does not use it: leave it out.")
