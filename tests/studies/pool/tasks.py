"""Tasks for the tests of sweeps, in a module that worker processes can import. They need no torch."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from hmn.errors import UserError
from hmn.studies.pool.attempt import Stopped, SweepRun

PATIENCE_SECONDS = 60.0
KINDS = ("fine", "mistake", "fault", "killed", "gone", "terminated")


def runs_of(*kinds: str) -> list[SweepRun]:
    return [SweepRun(name=f"{number:03d}-{kind}", payload={"kind": kind}) for number, kind in enumerate(kinds)]


def behave(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    """End in the way that the payload names; every call leaves a line in the folder."""
    with (folder / "calls").open("a") as calls:
        calls.write("call\n")
    kind = payload["kind"]
    if kind == "mistake":
        raise UserError("got 3,\nexpected 4.")
    if kind == "fault":
        raise ZeroDivisionError("divided\nby nought")
    if kind == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "terminated":
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(PATIENCE_SECONDS)
    if kind == "gone":
        os._exit(7)
    return {"kind": kind, "threads": os.environ["OMP_NUM_THREADS"], "told": os.environ.get("HMN_TOLD")}


def num_calls(folder: Path) -> int:
    path = folder / "calls"
    return len(path.read_text().splitlines()) if path.exists() else 0


def patient(payload: dict[str, Any], folder: Path) -> str:
    """Work until a signal comes, save, and say so; called again, be done."""
    if (folder / "saved").exists():
        return "gone on"
    stopped = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.append(True))
    (folder / "begun").touch()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not stopped and time.monotonic() < deadline:
        time.sleep(0.01)
    (folder / "saved").touch()
    raise Stopped
