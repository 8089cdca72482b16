"""The folder of a study: what it consists of (sweep.json), so that resuming goes on with the same, and only with it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hmn.data.real import Splits, fingerprint
from hmn.errors import UserError
from hmn.runtime.files import leftovers, write_atomically
from hmn.runtime.launched import COMMAND
from hmn.studies.pool.loop import finished

PLAN, FORMAT = "sweep.json", "hmn-sweep-2"
TABLES = ("table.json", "table.md", "table.csv", "groups.csv", "facts.json", "table.html")
LOGS = "slurm"
PARTS = {"vary": "grid", "data": "data", "tested_on": "--on", "runs": "settings"}
"""Parts of a study's identity, in the words of a message."""
_RUN = re.compile(r"\d{3,}(-[A-Za-z0-9.-]+)?")


def plan_of(
    identity: Mapping[str, Any], points: Iterable[Mapping[str, Any]], rows: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What sweep.json holds, as JSON gives it back.

    Args:
        identity: by the names of `PARTS`, everything that decides whether another study is the same.
        points: what is measured; "run" names the folder that it is in.
        rows: settings of further parts, by name: parts may be added to a study, but none may change.
    """
    content = {"identity": identity, "points": [*points], "rows": rows or {}, "threads": {}}
    plan: dict[str, Any] = json.loads(json.dumps({"format": FORMAT, "command": list(COMMAND.get()), **content}))
    return plan


def fingerprints(splits: Splits) -> dict[str, str]:
    """The data, for an identity."""
    return {part: fingerprint(getattr(splits, part)) for part in ("train", "test")}


def examine_study(out: Path, plan: Mapping[str, Any], *, resume: bool, force: bool) -> dict[str, Any] | None:
    """The plan in the folder, where there is one, if this study may work there; changes nothing.

    Raises:
        UserError: the folder is in use, or another's, or there is nothing to resume, or another study is there.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: a file is there; name a folder.")
    there = read_plan(out)
    if resume:
        if there is None:
            raise UserError(f"{out}: no sweep to resume there; run without --resume to begin.")
        _check_same(out, there, plan)
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


def read_plan(out: Path) -> dict[str, Any] | None:
    """The plan of the study in a folder; None where there is none.

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


def write_plan(out: Path, plan: Mapping[str, Any]) -> None:
    """Keep the plan, whole or not at all."""
    write_atomically(out / PLAN, (json.dumps(plan, indent=2, ensure_ascii=False) + "\n").encode())


def run_names(plan: Mapping[str, Any]) -> list[str]:
    """Folders of a plan's runs, each once."""
    return list(dict.fromkeys(str(point["run"]) for point in plan["points"]))


def merged(there: Mapping[str, Any], plan: Mapping[str, Any]) -> dict[str, Any]:
    """The plan that is there, with the runs and rows of `plan` that it lacks."""
    known = {*run_names(there)}
    new = [point for point in plan["points"] if point["run"] not in known]
    return {**there, "points": [*there["points"], *new], "rows": {**there["rows"], **plan["rows"]}}


def remove_study(out: Path, plan: Mapping[str, Any]) -> None:
    """Remove a study's folders and files, and nothing that is not its own."""
    for name in run_names(plan):
        if _RUN.fullmatch(name) and not (out / name).is_symlink():
            shutil.rmtree(out / name, ignore_errors=True)
    for name in TABLES:
        (out / name).unlink(missing_ok=True)
    shutil.rmtree(out / LOGS, ignore_errors=True)


def _check_same(out: Path, there: Mapping[str, Any], plan: Mapping[str, Any]) -> None:
    before, now = there["identity"], plan["identity"]
    for part, words in PARTS.items():
        if before.get(part) != now.get(part):
            was = f" ({part} was {_value_words(before.get(part))})" if part in ("vary", "tested_on") else ""
            raise UserError(
                f"{out} was begun with another {words}{was}: repeat the first command with --resume, "
                "choose another folder, or start anew with --force."
            )
    for name, settings in plan["rows"].items():
        if there["rows"].get(name, settings) != settings:
            raise UserError(
                f"{out}: {name.partition(' ')[0]} was begun there with other settings: repeat the first "
                "command with --resume, give the method another label, or start anew with --force."
            )


def _value_words(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(f"{name}={','.join(map(str, values))}" for name, values in value.items())
