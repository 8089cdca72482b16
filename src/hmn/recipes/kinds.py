"""What a recipe names by its file: a container, an objective. Adding a file adds one, and nothing lists them.

Files elsewhere add theirs too: HMN_PLUGINS holds their paths, joined as PATH's are. Every process of a sweep has it.
"""

import ast
import os
import re
import sys
from functools import cached_property
from importlib import import_module, util
from pathlib import Path
from types import ModuleType
from typing import Any

from hmn.errors import UserError

PLUGINS = "HMN_PLUGINS"
"""Environment variable: Python files that define further containers or objectives."""
_PACKAGE = Path(__file__).parents[1]


class Kind:
    """The classes that a setting chooses among: one a file, named as the file is.

    Names are found in the text of the files, so that a command line knows them without importing torch.
    """

    def __init__(self, setting: str, package: str, *bases: str) -> None:
        self.setting, self.package = setting, package
        base = "|".join(bases)
        self._definition = re.compile(rf"^class (?!(?:{base})\b)(\w+)\((?:{base})\):", re.MULTILINE)

    def names(self) -> tuple[str, ...]:
        """All that may be named."""
        return (*self._own, *self._plugged)

    def load(self, name: str) -> Any:
        """The class of that name, whose file is imported; UserError where there is none, or it cannot be used."""
        if name in self._own:
            module = import_module(f"hmn.{self.package.replace('/', '.')}.{name}")
            return getattr(module, self._own[name])
        if name not in self._plugged:
            raise UserError(f"{self.setting} {name!r}: expected one of {', '.join(self.names())}.")
        path, defined = self._plugged[name]
        return getattr(_imported(path), defined)

    @cached_property
    def _own(self) -> dict[str, str]:
        """The class in each file of the package that defines one."""
        found = {path.stem: self._defined_in(path) for path in sorted((_PACKAGE / self.package).glob("*.py"))}
        return {name: defined for name, defined in found.items() if defined is not None}

    @property
    def _plugged(self) -> dict[str, tuple[Path, str]]:
        """File and class of those in HMN_PLUGINS."""
        found = {}
        for path in map(Path, filter(None, os.environ.get(PLUGINS, "").split(os.pathsep))):
            if (defined := self._defined_in(path)) is None:
                continue
            if path.stem in self._own or path.stem in found:
                raise UserError(f"{PLUGINS}: {path} is called as another {self.setting} is: rename the file.")
            found[path.stem] = path, defined
        return found

    def _defined_in(self, path: Path) -> str | None:
        try:
            match = self._definition.search(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{PLUGINS}: {path} cannot be read ({error}).") from None
        return match and match[1]


def _imported(path: Path) -> ModuleType:
    """The module in a file, which is run once."""
    name = f"hmn.plugins.{path.stem}"
    if (module := sys.modules.get(name)) is not None and module.__file__ == str(path.resolve()):
        return module
    spec = util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise UserError(f"{PLUGINS}: {path} is no Python file.")
    module = sys.modules[name] = util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise UserError(f"{PLUGINS}: {path} failed to run ({type(error).__name__}: {error}).") from error
    return module


OBJECTIVES = Kind("condense.objective", "condensation/objectives", "Objective", "Matching", "StudentObjective")
"""How generated images should change."""
CONTAINERS = Kind("container", "containers", "Container")
"""What images are stored as."""


def listed(file: str, name: str) -> tuple[str, ...]:
    """The names in a Literal or a tuple of a file that imports torch, likewise found in its text.

    Args:
        file: in the package, such as "nets/build.py".
        name: what they are assigned to there.
    """
    found = re.search(rf"^{name} = (?:Literal)?[(\[](.+)[)\]]$", (_PACKAGE / file).read_text("utf-8"), re.MULTILINE)
    assert found is not None, f"{file} assigns no names to {name}"
    names: tuple[str, ...] = ast.literal_eval(f"({found[1]},)")
    return names
