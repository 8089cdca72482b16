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
    from hmn.condensation.job import Condensed as Condensed
    from hmn.condensation.job import Plan as Plan
    from hmn.condensation.job import condense as condense
    from hmn.condensation.job import plan as plan
    from hmn.containers.artifact.load import load as load
    from hmn.containers.artifact.load import load_container as load_container
    from hmn.data.load import load_data as load_data
    from hmn.data.options import DataOptions as DataOptions
    from hmn.data.real import RealData as RealData
    from hmn.data.real import Splits as Splits
    from hmn.measure.evaluate import Evaluation as Evaluation
    from hmn.measure.evaluate import evaluate as evaluate
    from hmn.runtime.console import Progress as Progress
    from hmn.studies.pruning.carry_out import Pruned as Pruned
    from hmn.studies.pruning.carry_out import condense_and_prune as condense_and_prune
    from hmn.studies.pruning.carry_out import prune as prune

__version__ = "0.1.0"
_HOMES = {
    "Condensed": "condensation.job",
    "DataOptions": "data.options",
    "Plan": "condensation.job",
    "condense": "condensation.job",
    "condense_and_prune": "studies.pruning.carry_out",
    "plan": "condensation.job",
    "Evaluation": "measure.evaluate",
    "Progress": "runtime.console",
    "Pruned": "studies.pruning.carry_out",
    "RealData": "data.real",
    "Splits": "data.real",
    "evaluate": "measure.evaluate",
    "load": "containers.artifact.load",
    "load_container": "containers.artifact.load",
    "load_data": "data.load",
    "prune": "studies.pruning.carry_out",
}
__all__ = ["UserError", "__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"hmn.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'hmn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
