"""Files that are whole or absent, and small results that took long, kept by everything that they depend on.

A result is <folder>/<key>.json in the folder of the decoded data ($HMN_CACHE, else the platform's); deleting it is
always safe. One that is damaged or foreign is measured and written again; a folder that cannot be written costs a
warning, not the run.
"""

import hashlib
import json
import logging
import os
import re
import secrets
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from hmn.errors import UserError

REMEMBERED_FORMAT = "hmn-kept-1"
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.tmp")
_log = logging.getLogger(__name__)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash, finds either the old content or all of the new. Raises OSError: the
    folder is absent, read-only or full; the old file is untouched.
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


def write_json(path: Path, content: Any, *, sort_keys: bool = False) -> None:
    """Write JSON for people and programs, whole or not at all; every number in it must be one."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, sort_keys=sort_keys)
    # A name of a file may hold bytes that are no UTF-8: written as an escape they are read back as they were.
    write_atomically(path, f"{text}\n".encode(errors="backslashreplace"))


def write_output(path: Path, content: bytes, name: Path | None = None) -> None:
    """Write a file that a person asked for, and its folder. Raises UserError: it cannot be written; the line calls it
    `name`, where that is not the path itself.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise UserError(f"cannot write {name or path}: {error.strerror or error}.") from None


def json_object(path: Path) -> dict[str, Any]:
    """The object in a file of JSON; nothing where there is none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def leftovers(folder: Path, names: Collection[str]) -> list[Path]:
    """Temporary files of `write_atomically` for files of these names, left by a process that was killed."""
    found = (_TEMPORARY.fullmatch(path.name) for path in folder.iterdir())
    return sorted(folder / match[0] for match in found if match and match["name"] in names)


def remembered(about: Mapping[str, Any], measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `measure` gave when it was called for the same, else what it gives now.

    Args:
        about: all that the result depends on, as JSON holds it.
        measure: gives a result that JSON holds.
    """
    told = json.dumps({"format": REMEMBERED_FORMAT, "about": about}, sort_keys=True)
    path = cache_folder() / f"{hashlib.sha256(told.encode()).hexdigest()[:32]}.json"
    try:
        found = json.loads(path.read_bytes())
        if found["of"] == json.loads(told) and isinstance(found["result"], dict):
            return dict(found["result"])
        _log.warning("foreign cache file %s is replaced", path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError) as error:
        _log.warning("damaged cache file %s is replaced (%s)", path, error)
    # Measured now, and kept where that is possible.
    result = measure()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps({"of": json.loads(told), "result": result}).encode())
    except OSError as error:
        _log.warning("cannot write the cache %s (%s): it will be measured again next time", path, error)
    return result


def cache_folder() -> Path:
    """$HMN_CACHE, else the platform's cache folder for hmn."""
    if folder := os.environ.get("HMN_CACHE"):
        return Path(folder)
    import platformdirs  # not at the top: reading a container takes torch, numpy and safetensors alone

    return platformdirs.user_cache_path("hmn")
