"""Small results that take long, kept in the cache folder by everything that they depend on.

One file per result: <folder>/<key>.json, in the folder of the decoded data ($HMN_CACHE, else the platform's); deleting
it is always safe. A file that is damaged or foreign is measured and written again; a folder that cannot be written
costs a warning, not the run.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import platformdirs

from hmn.runtime.files import write_atomically

REMEMBERED_FORMAT = "hmn-kept-1"
_log = logging.getLogger(__name__)


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
    return platformdirs.user_cache_path("hmn")
