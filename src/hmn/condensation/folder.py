"""The folder of a run: whose it is, what may be replaced in it, and the record of what the run was made from."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, final

from hmn.condensation.state import CondenseRecord
from hmn.containers.artifact.place import CHECKPOINT, CONTAINER, EXPERTS, FACTS, OWN_FILES, RECIPE, RESULTS, is_own
from hmn.containers.shape import Shape
from hmn.data.real import RealData
from hmn.errors import UserError
from hmn.recipes.settings import Recipe
from hmn.recipes.values import recipe_to_toml
from hmn.runtime.files import json_object, leftovers, write_atomically
from hmn.runtime.processes import gather, is_first

_EXPERT = re.compile(r"\.?\d{4,}-\d{3,}\.safetensors(\.[0-9a-f]{8}\.tmp)?")


def identity_of(data: RealData, shape: Shape, recipe: Recipe, dtype: str) -> dict[str, str]:
    """Everything that decides the bytes of a result; two runs of the same identity are the same run."""
    return {"recipe": recipe_to_toml(recipe), "shape": repr(shape), "data": data.fingerprint(), "dtype": dtype}


def examine(out: Path, identity: Mapping[str, str], *, resume: bool, force: bool) -> Literal["new", "go on", "done"]:
    """What a run into a folder would be; changes nothing. Raises UserError: the folder is in use, or another's, or
    there is nothing to resume, or something else was begun there.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: a file is there; name a folder.")
    running, finished = (out / CHECKPOINT).exists(), (out / CONTAINER).exists()
    if resume and running:
        return "go on"
    if resume and finished:
        check_identity(out, recorded_identity(out), identity)
        return "done"
    if resume:
        raise UserError(f"{out}: nothing to resume there; run without --resume to begin.")
    # Nothing is gone on with: whatever lies there must be ours, and may only go if that was said.
    if is_own(out):
        if force:
            return "new"
        what = "an unfinished run" if running else "a finished run"
        raise UserError(f"{out} holds {what}: add --resume to go on with it, or --force to write over it.")
    if out.exists() and set(out.iterdir()) - set(leftovers(out, OWN_FILES)):
        raise UserError(f"{out} holds other files: choose another folder.")
    return "new"


def clear(out: Path) -> None:
    """Make the folder and remove an earlier run's results, but for the files that say that the folder is ours.

    A process that is killed after this leaves a folder that `--force` may write into.
    """
    out.mkdir(parents=True, exist_ok=True)
    for path in [*leftovers(out, OWN_FILES), *(out / name for name in RESULTS if name != RECIPE)]:
        path.unlink(missing_ok=True)
    forget_experts(out)


def forget_experts(out: Path) -> None:
    """Remove the experts of a run's folder, and nothing that is not theirs."""
    folder = out / EXPERTS
    if folder.is_symlink() or not folder.is_dir():
        return
    for path in folder.iterdir():
        if _EXPERT.fullmatch(path.name):
            path.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def recorded_identity(out: Path) -> dict[str, str]:
    """What a finished run was made from, by its record; the recipe alone where the record is of an older version."""
    found = json_object(out / FACTS).get("identity")
    text = (out / RECIPE).read_text(encoding="utf-8") if (out / RECIPE).exists() else ""
    return {"recipe": text, **(found if isinstance(found, dict) else {})}


def check_identity(out: Path, saved: Mapping[str, Any], wanted: Mapping[str, str]) -> None:
    """Refuse to go on with something else than was begun; what an older version did not record passes. Raises
    UserError: settings, sizes, data or dtype differ.
    """
    names = {"recipe": "settings", "shape": "container sizes", "data": "data", "dtype": "--dtype"}
    for key, name in names.items():
        if saved.get(key, wanted[key]) != wanted[key]:
            how = "repeat the first command with --resume, or start anew with --force"
            raise UserError(f"{out} was begun with other {name} than this command gives: {how}.")


@final
class History:
    """history.jsonl: a line a record, written before the checkpoint that counts them."""

    def __init__(self, path: Path, lines: int) -> None:
        self.path, self.lines = path, lines
        self.waiting: list[str] = []

    def cut(self) -> None:
        """Drop what was written after the checkpoint that counted the lines."""
        kept = self.path.read_text().splitlines(keepends=True)[: self.lines] if self.path.exists() else []
        write_atomically(self.path, "".join(kept).encode())

    def add(self, record: CondenseRecord) -> None:
        """Keep a record until the next flush."""
        self.waiting.append(json.dumps(record._asdict()) + "\n")

    def flush(self) -> None:
        """Write what waits."""
        if self.waiting:
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(self.waiting)
        self.lines += len(self.waiting)
        self.waiting.clear()


@final
class TimeTaken:
    """Counts on from what earlier attempts have taken."""

    def __init__(self, seconds: float = 0.0, processor_seconds: float = 0.0) -> None:
        self._began = time.monotonic() - seconds
        self._processor_began = time.process_time() - processor_seconds

    @classmethod
    def since(cls, saved: Mapping[str, Any]) -> TimeTaken:
        """Going on from what `state_dict` gave; older versions did not save how long processors worked."""
        return cls(saved["seconds"], saved.get("processor_seconds", 0.0) if is_first() else 0.0)

    def state_dict(self) -> dict[str, float]:
        """Both counts; collective."""
        return {"seconds": self.seconds, "processor_seconds": self.processor_seconds()}

    @property
    def seconds(self) -> float:
        """Seconds on the clock."""
        return time.monotonic() - self._began

    def processor_seconds(self) -> float:
        """Seconds that processors worked, of all threads; collective: the first of several processes gets their sum."""
        return sum(gather(time.process_time() - self._processor_began))
