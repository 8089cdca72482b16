"""Files that verbs write: whether they can be written, before work begins."""

from __future__ import annotations

import os
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
