"""sweep.json: what a sweep consists of, so that resuming goes on with the same, and only with the same."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hmn.errors import UserError
from hmn.runtime.files import leftovers, write_atomically
from hmn.studies.pool.loop import alone, finished

PLAN, FORMAT = "sweep.json", "hmn-sweep-1"
TABLES = ("table.json", "table.md", "table.csv", "groups.csv", "facts.json", "table.html")
LOGS = "slurm"
PARTS = {"vary": "grid", "data": "data", "tested_on": "--on", "runs": "settings"}
"""Parts of a sweep's identity, in the words of a message."""
_RUN = re.compile(r"\d{3,}(-[A-Za-z0-9.-]+)?")


def examine(out: Path, plan: Mapping[str, Any], *, resume: bool, force: bool) -> dict[str, Any] | None:
    """The plan in the folder, where there is one, if this sweep may work there; changes nothing.

    Args:
        out: the sweep's folder.
        plan: of the sweep that is wanted; `identity`, by the names of `PARTS`, decides whether another is the same.
        resume: go on with the sweep that is there.
        force: remove the sweep that is there.

    Raises:
        UserError: the folder is in use, or another's, or there is nothing to resume, or another sweep is there.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: a file is there; name a folder.")
    there = read_plan(out)
    if resume:
        if there is None:
            raise UserError(f"{out}: no sweep to resume there; run without --resume to begin.")
        _check_same(out, there["identity"], plan["identity"])
    elif there is not None and not force:
        names = run_names(there)
        done = sum(finished(out / name) is not None for name in names)
        raise UserError(
            f"{out} holds a sweep ({done} of {len(names)} runs done): add --resume to go on with it, "
            "or --force to remove it and begin anew."
        )
    elif there is None and out.exists() and set(out.iterdir()) - set(leftovers(out, (PLAN,))):
        raise UserError(f"{out} holds other files: choose another folder.")
    return there


def begin(out: Path, plan: Mapping[str, Any]) -> None:
    """Make the folder this sweep's, and remove what another sweep has left there.

    Raises:
        UserError: that sweep still works.
    """
    with alone(out):
        there = read_plan(out)
        if there is not None:
            _remove(out, there)
        content = json.dumps({"format": FORMAT, **plan}, indent=2, ensure_ascii=False)
        write_atomically(out / PLAN, (content + "\n").encode())


def read_plan(out: Path) -> dict[str, Any] | None:
    """The plan of the sweep in a folder; None where there is none.

    Raises:
        UserError: sweep.json is not of this version, or damaged.
    """
    try:
        found = json.loads((out / PLAN).read_text(encoding="utf-8"))
        if found["format"] != FORMAT or not isinstance(found["identity"], dict):
            raise ValueError
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{out / PLAN}: not a sweep of this version of hmn; choose another folder.") from None
    return dict(found)


def run_names(plan: Mapping[str, Any]) -> list[str]:
    """Folders of a plan's runs, each once."""
    return list(dict.fromkeys(str(point["run"]) for point in plan["points"]))


def _check_same(out: Path, there: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    wanted = json.loads(json.dumps(wanted))
    for part, words in PARTS.items():
        if there.get(part) != wanted[part]:
            was = f" ({part} was {_said(there.get(part))})" if part in ("vary", "tested_on") else ""
            raise UserError(
                f"{out} was begun with another {words}{was}: repeat the first command with --resume, "
                "choose another folder, or start anew with --force."
            )


def _said(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(f"{name}={','.join(map(str, values))}" for name, values in value.items())


def _remove(out: Path, plan: Mapping[str, Any]) -> None:
    """A sweep's folders and files, and nothing that is not its own."""
    for name in run_names(plan):
        if _RUN.fullmatch(name) and not (out / name).is_symlink():
            shutil.rmtree(out / name, ignore_errors=True)
    for name in TABLES:
        (out / name).unlink(missing_ok=True)
    shutil.rmtree(out / LOGS, ignore_errors=True)
