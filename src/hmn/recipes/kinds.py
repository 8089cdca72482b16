"""What a recipe names by its file: a container, an objective. Adding a file adds one, and nothing lists them."""

from __future__ import annotations

import re
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

from hmn.errors import UserError

_PACKAGE = Path(__file__).parents[1]


class Kind:
    """The classes that a setting chooses among: one a file of a package, named as the file is, and registered ones.

    Names are found in the text of the files, so that a command line knows them without importing torch.
    """

    def __init__(self, setting: str, package: str, *bases: str) -> None:
        self.setting, self.package = setting, package
        self._definition = re.compile(rf"^class (\w+)\((?:{'|'.join(bases)})\):", re.MULTILINE)
        self._registered: dict[str, type] = {}

    @cached_property
    def _files(self) -> dict[str, str]:
        """The class in each file that defines one."""
        paths = sorted((_PACKAGE / self.package).glob("*.py"))
        found = {path.stem: self._definition.search(path.read_text(encoding="utf-8")) for path in paths}
        return {name: match[1] for name, match in found.items() if match}

    def names(self) -> tuple[str, ...]:
        """All that may be named."""
        return (*self._files, *self._registered)

    def load(self, name: str) -> Any:
        """The class of that name, whose file is imported.

        Raises:
            UserError: nothing is called so.
        """
        if name in self._registered:
            return self._registered[name]
        if name not in self._files:
            raise UserError(f"{self.setting} {name!r}: expected one of {', '.join(self.names())}.")
        return getattr(import_module(f"hmn.{self.package.replace('/', '.')}.{name}"), self._files[name])

    def register(self, made: type, name: str | None = None) -> None:
        """Add a class from elsewhere, named by the file that defines it or as given."""
        self._registered[name or made.__module__.rpartition(".")[2]] = made


OBJECTIVES = Kind("condense.objective", "condense/objectives", "Objective", "Matching")
"""How generated images should change."""
CONTAINERS = Kind("container", "containers", "Container")
"""What images are stored as."""
