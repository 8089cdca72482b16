"""Nested settings of a recipe from flags, environment variables and TOML, in that order of precedence.

All three are made from the dataclasses in `hmn.recipes.settings`, so that a new setting needs no line here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields, is_dataclass, make_dataclass
from typing import Annotated, Any, get_type_hints

from cyclopts import Group, Parameter

from hmn.data.options import DataOptions
from hmn.recipes.kinds import OBJECTIVES
from hmn.recipes.named import DEFAULT_RECIPE, RECIPES
from hmn.recipes.published import SMALLER
from hmn.recipes.settings import CondenseConfig, EvaluateConfig, Recipe
from hmn.recipes.values import _field_docs, convert, find, settings_of


def flags_of(cls: type, group: Group | None, *, leave_out: Collection[str] = ()) -> type:
    """A class like `cls` whose fields are all optional: None is a flag that was not given.

    The recipe's values are the defaults, and they are not known before its name is. Without a group `hmn list` shows
    the flags, and the help of a verb says so.
    """
    hints: dict[str, Any] = get_type_hints(cls)
    docs = _field_docs(cls)
    columns: list[tuple[str, Any, None]] = []
    for field in (field for field in fields(cls) if field.name not in leave_out):
        hint = hints[field.name]
        kind: Any = flags_of(hint, group) if isinstance(hint, type) and is_dataclass(hint) else hint
        parameter = Parameter(help=docs.get(field.name, ""), group=group, show=group is not None, negative=())
        columns.append((field.name, Annotated[kind | None, parameter], None))
    # Without a module of its own the library cannot resolve the class's hints, and shows it as one value.
    return make_dataclass(cls.__name__ + "Flags", columns, kw_only=True, namespace={"__module__": __name__})


DataFlags: Any = flags_of(DataOptions, Group("Data", sort_key=10), leave_out=("progress", "cache"))
DataParameters = Annotated[DataFlags | None, Parameter(name="*")]
"""How to find and read a data set, as flags of a verb."""
_TABLE = Annotated[dict[str, str] | None, Parameter(show=False, negative=())]
ObjectiveFlags: Any = make_dataclass(
    "ObjectiveFlags",
    [(name, _TABLE, None) for name in OBJECTIVES.names()],
    kw_only=True,
    namespace={"__module__": __name__},
)
"""Each objective's own settings, as text: its own file says which there are."""


@Parameter(name="*", group=Group("Method (default: as the recipe says)", sort_key=14))
@dataclass(frozen=True, kw_only=True)
class MethodFlags:
    """What is stored and what is matched."""

    container: str | None = None
    """What the images are stored as: a name of `hmn list`. --sizes.KEY INT: `hmn list frequency` has its sizes."""
    objective: str | None = None
    """What is matched. --trajectory.KEY VALUE: `hmn list trajectory` has its settings. Those of every recipe are
    --condense.KEY VALUE and --evaluate.KEY VALUE: `hmn list condense`, `hmn list evaluate`."""
    own: Annotated[ObjectiveFlags | None, Parameter(name="*")] = None


CondenseFlags: Any = flags_of(CondenseConfig, None)
EvaluateFlags: Any = flags_of(EvaluateConfig, None)
SizesFlags = Annotated[dict[str, str] | None, Parameter(name="sizes", show=False, negative=())]
"""Sizes of the chosen container: its own file says which there are."""


def data_options(flags: Any) -> DataOptions:
    """How the data are found and read, from the verb's `DataParameters`."""
    return DataOptions(**{name: value for name, value in vars(flags or DataFlags()).items() if value is not None})


ALL_SETTINGS = settings_of(Recipe)
"""Settings by path."""


def given_flags(flags: Any, prefix: str) -> dict[str, Any]:
    """The flags that were given, by path."""
    found: dict[str, Any] = {}
    if flags is None:
        return found
    if isinstance(flags, dict):  # of an open table
        for key, text in flags.items():
            path = f"{prefix}.{key.replace('-', '_')}"
            setting = find(ALL_SETTINGS, path)
            assert setting is not None
            found[path] = convert(setting, text, origin=f"--{path}")
        return found
    for field in fields(flags):
        value = getattr(flags, field.name)
        if is_dataclass(value):
            found.update(given_flags(value, f"{prefix}.{field.name}"))
        elif value is not None:
            found[f"{prefix}.{field.name}"] = value
    return found


def named(method: MethodFlags | None, **values: Any) -> dict[str, Any]:
    """Settings that have a short flag or belong to one objective, by path; those that were not given are left out."""
    found = dict(values)
    if method is not None:
        found |= {"container": method.container, "condense.objective": method.objective}
        for name, table in vars(method.own or ObjectiveFlags()).items():
            found |= given_flags(table, name)
    return {path: value for path, value in found.items() if value is not None}


_METHODS = [name for name in RECIPES if f"{name}{SMALLER}" in RECIPES]
RecipeName = Annotated[
    str | None,
    Parameter(
        help=f"Named settings: {', '.join(name for name in RECIPES if not name.endswith(SMALLER))} "
        f"(default: {DEFAULT_RECIPE}); with {SMALLER} ({', '.join(_METHODS)}) about 20 minutes of one thread. "
        "`hmn list NAME` says what each is; docs/methods.md has every number."
    ),
]
"""A recipe by name, with the names that there are as its help."""
Switch = Annotated[bool, Parameter(negative=(), show_default=False)]
"""A flag that is on or absent."""
