"""The recipe of a run: a named one or a whole file, changed by what was given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import NoneType
from typing import Any, get_args

from hmn.errors import UserError
from hmn.recipes.kinds import OBJECTIVES
from hmn.recipes.named import DEFAULT_RECIPE
from hmn.recipes.parts import Fitted
from hmn.recipes.settings import Recipe
from hmn.recipes.values import changed, completed, content, is_of_objective, settings_of


def resolve(name: str | None, from_file: Mapping[str, Any], own: Mapping[str, Any], fitted: Fitted) -> Recipe:
    """The recipe with the file's settings, then one's own, put over it.

    Raises:
        UserError: no such recipe, or a setting of one's own that its objective does not read.
    """
    found = completed(_resolved(name, from_file, own, fitted))
    check_used(found, own)
    return found


def _resolved(name: str | None, from_file: Mapping[str, Any], own: Mapping[str, Any], fitted: Fitted) -> Recipe:
    from hmn.recipes.named import ALIASES, RECIPES
    from hmn.recipes.named import recipe as named_recipe

    def named(name: str, minutes: float | None) -> Recipe:
        return named_recipe(name, **vars(fitted), minutes=minutes)

    if "cost" not in from_file:
        given = {**{path: value for path, value in from_file.items() if path not in ("name", "ipc")}, **own}
        base = named(name or from_file.get("name", DEFAULT_RECIPE), given.get("minutes"))
        if given.get("container", base.container) != base.container:
            given = {"sizes": {}, **given}  # the recipe's sizes are of its own container
        return changed(base, given)
    whole = whole_recipe({**from_file, "ipc": fitted.ipc})
    title = whole.name
    # Settings may have been edited in the file: it keeps a recipe's name only where it holds that recipe's settings.
    edited = title in (*RECIPES, *ALIASES) and content(_alike(named(title, whole.minutes), whole)) != content(whole)
    return changed(replace(whole, name=f"{title}-changed" if edited else title), own)


def _alike(named: Recipe, whole: Recipe) -> Recipe:
    """A named recipe with the iterations of `whole`, where its dial was turned: they are the machine's."""
    if whole.minutes is None:
        return named
    return replace(named, condense=replace(named.condense, epochs=whole.condense.epochs))


def whole_recipe(values: Mapping[str, Any]) -> Recipe:
    """The recipe in a file of all settings, as a run writes it; TOML has no null, so what is absent is None."""
    absent = {
        setting.path: None
        for setting in settings_of(Recipe)
        if NoneType in get_args(setting.kind) and setting.path not in values
    }
    title = values.get("name", "file")
    found = changed(Recipe(name=title, cost=values["cost"], ipc=values["ipc"]), {**absent, **values})
    return completed(replace(found, name=title, cost=values["cost"]))


def check_used(recipe: Recipe, given: Mapping[str, Any]) -> None:
    """Refuse settings that the recipe's objective does not read.

    Args:
        recipe: with every setting resolved.
        given: what was asked for besides what a recipe says, by path.

    Raises:
        UserError: one of them is for another objective.
    """
    objective = recipe.condense.objective
    reads = OBJECTIVES.load(objective).reads
    for path, value in given.items():
        owner = path.partition(".")[0]
        if is_of_objective(path) and owner != objective:
            raise UserError(f"{path} {value}: is for --objective {owner}, and this is {objective}: leave it out.")
        if owner == "condense" and not any(path == name or path.startswith(f"{name}.") for name in reads):
            raise UserError(f"{path} {value}: --objective {objective} does not use it: leave it out.")
