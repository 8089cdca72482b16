"""What a run needs from the machine: files that are whole or absent, memory that is kept, signals that are heard."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Collection
from pathlib import Path
from typing import Any

from hmn.errors import UserError

_TEMPORARY = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.tmp")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash, finds either the old content or all of the new.

    Raises:
        OSError: the folder is absent, read-only or full; the old file is untouched.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        # Not tempfile: its files are private to the user, these follow the umask as any other output does.
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        # A full disk names no file, and opening names the temporary one.
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def write_json(path: Path, content: Any) -> None:
    """Write JSON for people and programs, whole or not at all; every number in it must be one."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(path, f"{text}\n".encode())


def write_output(path: Path, content: bytes, name: Path | None = None) -> None:
    """Write a file that a person asked for, and its folder.

    Raises:
        UserError: it cannot be written; the line calls it `name`, where that is not the path itself.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise UserError(f"cannot write {name or path}: {error.strerror or error}.") from None


def leftovers(folder: Path, names: Collection[str]) -> list[Path]:
    """Temporary files of `write_atomically` for files of these names, left by a process that was killed."""
    found = (_TEMPORARY.fullmatch(path.name) for path in folder.iterdir())
    return sorted(folder / match[0] for match in found if match and match["name"] in names)
