"""Settings by their dotted paths: from flags, the environment and TOML files into dataclasses."""

import ast
import difflib
import inspect
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import tomli_w

from hmn.errors import UserError
from hmn.recipes.kinds import OBJECTIVES
from hmn.recipes.settings import Recipe

ENVIRONMENT_PREFIX = "HMN_"


class Setting(NamedTuple):
    """One leaf of a tree of settings."""

    path: str
    """Names joined by dots, as in a flag: condense.network.width."""
    kind: Any
    """Its annotation."""
    help: str


def settings_of(cls: type, prefix: str = "") -> dict[str, Setting]:
    """Every leaf of a dataclass tree by its path, in the order of the code."""
    hints, docs = get_type_hints(cls), field_docs(cls)
    found: dict[str, Setting] = {}
    for field in fields(cls):
        path = prefix + field.name
        if is_dataclass(hints[field.name]):
            found |= settings_of(hints[field.name], path + ".")
        elif path != "settings":  # whose table bears the objective's name
            kind = Literal[OBJECTIVES.names()] if path == OBJECTIVES.setting else hints[field.name]
            found[path] = Setting(path, kind, docs.get(field.name, ""))
    return found


def find(known: Mapping[str, Setting], path: str, *, load: bool = False) -> Setting | None:
    """The setting of a path: a known one, or one of an open table, whose keys are another file's to check.

    With `load`, the file of an objective whose table it is in checks them at once.
    """
    if is_of_objective(path):
        return settings_of_objective(path.partition(".")[0]).get(path) if load else Setting(path, Any, "")
    table = known.get(path.partition(".")[0])
    if table is not None and path != table.path and get_origin(table.kind) is Mapping:
        return Setting(path, get_args(table.kind)[1] | None, "")
    found = known.get(path)
    return None if found is None or get_origin(found.kind) is Mapping else found


@cache
def field_docs(cls: type) -> dict[str, str]:
    """The string under each field of a class, which Python itself does not keep."""
    body = ast.parse(inspect.getsource(cls)).body[0]
    assert isinstance(body, ast.ClassDef)
    docs = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            docs[field.target.id] = " ".join(str(ast.literal_eval(text.value)).split())
    return docs


def given_environment(environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Settings from variables such as HMN_SEED, HMN_IPC, HMN_CONDENSE_LR or HMN_CONDENSE_NETWORK_WIDTH.

    One that begins like a setting and names none is refused.
    """
    known = {path: each for path, each in settings_of(Recipe).items() if path not in ("name", "cost", "minutes")}
    names = {ENVIRONMENT_PREFIX + path.replace(".", "_").upper(): path for path in known}
    groups = tuple({name.split("_")[1] for name in names})
    found = {}
    for name, text in environment.items():
        table, _, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("_")
        setting = find(known, names.get(name, f"{table}.{key}"))
        if setting is not None:
            found[setting.path] = convert(setting, text, origin=f"environment variable {name}")
        elif name.startswith(tuple(f"{ENVIRONMENT_PREFIX}{group}_" for group in groups)):
            raise UserError(f"environment variable {name} names no setting{nearest(name, names)}")
    return found


def given_file(path: Path) -> dict[str, Any]:
    """Settings from a TOML file of tables like a recipe's, by path."""
    return given_table(read_toml(path), origin=path)


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; UserError where there is none."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path}: not a TOML file that can be read ({error}).") from None


def recipe_to_toml(recipe: Recipe) -> str:
    """The resolved recipe as TOML, which `hmn condense --config` reads again.

    Settings that are None are left out; the table of the objective's own bears its name.
    """
    tables = {recipe.condense.objective if key == "settings" else key: value for key, value in asdict(recipe).items()}
    if not recipe.settings:
        del tables[recipe.condense.objective]
    return tomli_w.dumps(_without_none(tables))


def _without_none(table: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: _without_none(value) if isinstance(value, dict) else value for key, value in table.items()}
    return {key: value for key, value in found.items() if value is not None}


def given_table(table: Mapping[str, Any], *, origin: Path | str) -> dict[str, Any]:
    """Settings from tables like a recipe's, by path; `origin` is the file that errors name, or what else it is."""
    known, found = settings_of(Recipe), {}
    for key, value in flatten(table):
        setting = find(known, key)
        if setting is None:
            raise UserError(f"{origin}: no setting is called {key}{nearest(key, known)}")
        found[key] = convert(setting, value, origin=f"{origin}, {key}")
    return found


def flatten(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested tables, their names joined by dots."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a message about a name that is none of the known ones: which it may have been."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.0)
    return f": did you mean {close[0]}?" if close else "."


def convert(setting: Setting, value: Any, *, origin: str) -> Any:
    """A value from a file, the environment or text as the setting's type; UserError where it is of another kind."""
    kinds = get_args(setting.kind) if get_origin(setting.kind) in (Union, UnionType) else (setting.kind,)
    for kind in kinds:
        if get_origin(kind) is Literal:
            if value in get_args(kind):
                return value
        elif kind is NoneType:
            if value is None or (isinstance(value, str) and value.lower() == "none"):
                return None
        elif kind is Any:  # another file's to check
            return value
        elif isinstance(value, str) and kind is not str:
            try:
                return kind(value)
            except ValueError:
                continue
        elif isinstance(value, kind) and not isinstance(value, bool):
            return value
        elif kind is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
    raise UserError(f"{origin}: got {value!r}, expected {expected(setting.kind)}.")


def expected(kind: Any) -> str:
    """The values of a setting's type, in words."""
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    words = {int: "a whole number", float: "a number", str: "text", NoneType: '"none"'}
    return " or ".join(
        "one of " + ", ".join(map(str, get_args(kind))) if get_origin(kind) is Literal else words.get(kind, str(kind))
        for kind in kinds
    )


def changed(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with the values at the given paths; its name and its stated cost say so where condensation differs.

    Results carry the recipe's name, so a recipe that was changed must not go under its old name.
    """
    objective = values.get("condense.objective", recipe.condense.objective)
    given = {path.partition(".")[2]: value for path, value in values.items() if path.startswith(f"{objective}.")}
    kept = recipe.settings if objective == recipe.condense.objective else {}
    result = replace(recipe, settings={**kept, **given})
    for path, value in values.items():
        if not is_of_objective(path):
            result = _set(result, path.split("."), value)
    if content(result) != content(recipe) and not result.name.endswith("-changed"):
        cost = f"see --dry-run; {result.name} as it stands: {result.cost}"
        result = replace(result, name=result.name + "-changed", cost=cost)
    return result


def content(recipe: Recipe) -> tuple[Any, ...]:
    """What a recipe's name stands for: how it condenses, and into what."""
    return recipe.container, recipe.sizes, recipe.condense, completed(recipe).settings


def is_of_objective(path: str) -> bool:
    """Whether a path is of a setting in an objective's own table, which is checked when its file is loaded."""
    table, _, name = path.partition(".")
    return bool(name) and table in OBJECTIVES.names()


def settings_of_objective(name: str) -> dict[str, Setting]:
    """An objective's own settings, by path; loads its file."""
    return settings_of(OBJECTIVES.load(name).Settings, f"{name}.")


def completed(recipe: Recipe) -> Recipe:
    """The recipe with all of its `objective_settings`, defaults too."""
    return replace(recipe, settings=asdict(objective_settings(recipe)))


def objective_settings(recipe: Recipe) -> Any:
    """The settings of the recipe's objective, checked, as the dataclass that its file defines; loads the file."""
    name = recipe.condense.objective
    known, found = settings_of_objective(name), {}
    for key, value in recipe.settings.items():
        path = f"{name}.{key}"
        if path not in known:
            raise UserError(f"no setting is called {path}{nearest(path, known)}")
        found[key] = convert(known[path], value, origin=path)
    return OBJECTIVES.load(name).Settings(**found)


def _set(config: Any, path: list[str], value: Any) -> Any:
    if isinstance(config, Mapping):  # an open table, which holds no None
        return {key: item for key, item in sorted({**config, path[0]: value}.items()) if item is not None}
    inner = value if len(path) == 1 else _set(getattr(config, path[0]), path[1:], value)
    return replace(config, **{path[0]: inner})
