"""hmn: a data set condensed into memories and a small decoder.

`hmn.load(path)` is a torch Dataset of the images that a stored container generates. Attributes are resolved
when they are first used, so that importing hmn (and `hmn --help`) does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hmn.errors import UserError

if TYPE_CHECKING:
    from hmn.containers.artifact.load import load, load_container


__version__ = "0.1.0"
__all__ = ["UserError", "__version__", "load", "load_container"]


def __getattr__(name: str) -> Any:
    if name in ("load", "load_container"):
        from hmn.containers.artifact import load as artifact_load

        return getattr(artifact_load, name)
    raise AttributeError(f"module 'hmn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
