"""`hmn ledger`: the former name of `hmn plan --ledger`."""

import shlex

from hmn.cli import flags
from hmn.cli.plan import plan
from hmn.runtime.console import note
from hmn.runtime.launched import COMMAND

RECIPE = "hmn"
"""Whose container is counted where none is named."""


def ledger(
    target: str,
    /,
    *,
    ipc: flags.Ipc = None,
    images: flags.Images = None,
    json: flags.Json = False,
    data_flags: flags.DataFlags = flags.DataFlags(),
    method: flags.MethodFlags = flags.MethodFlags(),
) -> None:
    """Count what a container stores, part by part: floats, and bytes at every precision.

    It is the former name of `hmn plan --ledger --recipe hmn`, and will go.

    Parameters
    ----------
    target
        A data set (a name or a path; with --ipc), or a folder that `hmn condense` wrote.
    """
    command = ["hmn", "plan", *COMMAND.get()[1:], "--ledger", "--recipe", RECIPE]
    note(f"hmn ledger will go: {shlex.join(command)} says the same")
    how = {"ipc": ipc, "images": images, "recipe": RECIPE, "data_flags": data_flags, "method": method}
    plan(target, **how, ledger=True, json=json)
