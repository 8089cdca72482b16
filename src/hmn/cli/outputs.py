"""What verbs need before work begins: files that can be written, numbers in range, optional parts installed."""

import os
from importlib.util import find_spec
from pathlib import Path

from hmn.errors import UserError


def check_output(out: Path | None, *, flag: str = "--out", kind: str = ".json") -> None:
    """Refuse an output that cannot be a file, before any training.

    Raises:
        UserError: it is a folder, or its folder is a file or cannot be written.
    """
    if out is None:
        return
    if out.is_dir():
        raise UserError(f"{flag} {out}: is a folder; expected the name of a {kind} file.")
    parent = next(folder for folder in out.resolve().parents if folder.exists())
    if not parent.is_dir():
        raise UserError(f"{flag} {out}: {parent} is a file, not a folder.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UserError(f"{flag} {out}: {parent} cannot be written: choose another folder.")


def check_new_file(out: Path, *suffixes: str, force: bool) -> None:
    """Refuse an output of another kind, or one that is there already.

    Raises:
        UserError: its ending is none of `suffixes`, it is a folder, or it is there and `force` is not given.
    """
    if out.suffix.lower() not in suffixes:
        raise UserError(f"--out {out}: expected the name of a {suffixes[0]} file.")
    if out.is_dir() or (out.exists() and not force):
        remedy = "choose a file." if out.is_dir() else "choose another name or pass --force."
        raise UserError(f"--out {out}: is already there: {remedy}")


def need_extra(module: str, what: str) -> None:
    """Refuse `what` where a module of the extra `report` is not installed.

    Raises:
        UserError: it is not.
    """
    if find_spec(module) is None:
        raise UserError(f"{what} {module}: pip install 'hmn[report]'")
