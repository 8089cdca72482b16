"""hmn: a data set condensed into a container of a few kilobytes that generates a training set.

    >>> import hmn
    >>> run = hmn.condense("digits", ipc=10, recipe="quick", out="runs/digits")
    >>> hmn.evaluate(run, against="random,whole").mean

Attributes are resolved when they are first used, so that importing hmn (and `hmn --help`) does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hmn.errors import UserError

if TYPE_CHECKING:
    from hmn.condensation.job import Condensed as Condensed, Plan as Plan, condense as condense, plan as plan
    from hmn.containers.artifact.load import load as load, load_container as load_container
    from hmn.data.load import load_data as load_data
    from hmn.data.options import DataOptions as DataOptions
    from hmn.data.real import RealData as RealData, Splits as Splits
    from hmn.measure.evaluate import Evaluation as Evaluation, evaluate as evaluate
    from hmn.runtime.console import Progress as Progress
    from hmn.studies.pruning.carry_out import Pruned as Pruned, condense_and_prune as condense_and_prune, prune as prune

__version__ = "0.1.0"
_HOMES = {
    "condensation.job": ("Condensed", "Plan", "condense", "plan"),
    "containers.artifact.load": ("load", "load_container"),
    "data.load": ("load_data",),
    "data.options": ("DataOptions",),
    "data.real": ("RealData", "Splits"),
    "measure.evaluate": ("Evaluation", "evaluate"),
    "runtime.console": ("Progress",),
    "studies.pruning.carry_out": ("Pruned", "condense_and_prune", "prune"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = ["UserError", "__version__", *_HOME_OF]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(import_module(f"hmn.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module 'hmn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
