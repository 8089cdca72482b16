"""`hmn list`: what a recipe may name, and the settings of each."""

import inspect
from typing import Any

from hmn.cli import flags
from hmn.errors import UserError
from hmn.recipes.kinds import CONTAINERS, OBJECTIVES
from hmn.recipes.named import MAKERS, recipe
from hmn.recipes.protocols import PROTOCOLS, protocol
from hmn.recipes.settings import CondenseConfig, EvaluateConfig
from hmn.recipes.values import expected, nearest, recipe_to_toml, settings_of
from hmn.runtime.console import print_facts, print_json, tell

CONFIGS = {"condense": CondenseConfig, "evaluate": EvaluateConfig}
"""Tables of settings that every recipe has."""


def list(name: str | None = None, /, *, json: flags.Json = False) -> None:
    """Name recipes, containers, objectives, networks and protocols; of one of them, say what it is and its settings.

    Parameters
    ----------
    name
        One of them, or condense or evaluate: settings that every recipe has.
    """
    kinds = described()
    if name is None:
        if json:
            print_json(kinds)
            return
        for kind, lines in kinds.items():
            print_facts(kind, lines)
        return
    # One name: what it is, and its settings.
    known = [*CONFIGS, *(each for lines in kinds.values() for each in lines)]
    if name not in known:
        raise UserError(f"hmn list {name}: nothing is called so{nearest(name, known)}")
    found = {kind: {"what": lines[name], **details(kind, name)} for kind, lines in kinds.items() if name in lines}
    if name in CONFIGS:
        words = f"--{name}.KEY VALUE, of every recipe"
        found["settings"] = {"what": words, "settings": rows(CONFIGS[name], f"{name}.")}
    if json:
        print_json(found)
        return
    for kind, about in found.items():
        tell(f"{name}, of the {kind}: {about['what']}")
        for row in about.get("settings", ()):
            flag = "--" + row["setting"].replace("_", "-")
            line = f"  {flag}  {row['kind']} (default: {row['default']}). {row['help']}"
            tell(line)
        tell(about.get("recipe", ""))


def described() -> dict[str, dict[str, str]]:
    """A line for each name, by what it is a name of."""
    from hmn.nets.build import NET_NAMES, width_of

    shapes = {name: CONTAINERS.load(name).shape_class for name in CONTAINERS.names()}
    return {
        "recipes": {name: first_line(maker) for name, maker in MAKERS.items()},
        "containers": {name: f"{shape.words.rstrip(',')}. {shape.source}" for name, shape in shapes.items()},
        "objectives": {name: first_line(OBJECTIVES.load(name)) for name in OBJECTIVES.names()},
        "networks": {name: f"width {width_of(name, None)}, where none is given" for name in NET_NAMES},
        "protocols": dict(PROTOCOLS),
    }


def first_line(defined: Any) -> str:
    """The first line of what a class or function says of itself."""
    return (inspect.getdoc(defined) or "").partition("\n")[0]


def details(kind: str, name: str) -> dict[str, Any]:
    """Settings of one, or the recipe that it is."""
    if kind == "recipes":
        made = recipe(name, dataset="cifar10", ipc=1, image_shape=(3, 32, 32))
        return {"recipe": f"For CIFAR-10 at 1 image per class:\n\n{recipe_to_toml(made)}"}
    if kind == "containers":
        sizes = CONTAINERS.load(name).shape_class.planned_sizes().items()
        return {"settings": [row(f"sizes.{key}", int, size.default or "planned", size.help) for key, size in sizes]}
    if kind == "objectives":
        return {"settings": rows(OBJECTIVES.load(name).Settings, f"{name}.")}
    if kind == "protocols":
        config = protocol(name, "cifar10", 1)
        shown = ", ".join(f"{key} {value}" for key, value in vars(config).items() if key != "augment")
        return {"recipe": f"For CIFAR-10 at 1 image per class: {shown}, augmentation {config.augment.strategy}"}
    return {}


def rows(cls: type, prefix: str) -> Any:
    """Settings of a table, with their kinds, defaults and lines."""
    from hmn.condensation.check import leaves

    defaults = {path: value for path, _, value in leaves(cls(), prefix)}
    return [row(each.path, each.kind, defaults[each.path], each.help) for each in settings_of(cls, prefix).values()]


def row(path: str, kind: Any, default: Any, text: str) -> dict[str, Any]:
    """A setting as JSON has it."""
    return {"setting": path, "kind": expected(kind), "default": default, "help": text}
