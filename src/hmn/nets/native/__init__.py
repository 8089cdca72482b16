"""The passes of a ConvNet in C: built by this machine's C compiler when they are first needed, kept for later.

Building takes a few seconds, once for each version of hmn, compiler and processor; the library lies in hmn's cache
folder. Environment: HMN_COMPILE=0 does without it; CC names the compiler; HMN_CACHE moves the cache folder.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import platformdirs

SWITCH = "HMN_COMPILE"
FOLDER = Path(__file__).parent
C_FILES = ("convnet.c", "kernels.h", "network.h", "norm.h", "panels.h", "winograd.h")
BUILD_SECONDS = 120
_PLAIN_FLAGS = ("-O3", "-ffp-contract=fast", "-fno-math-errno", "-std=gnu11", "-shared", "-fPIC")
_TRIED = (("-march=native", "-fopenmp"), ("-mcpu=native", "-fopenmp"), ("-fopenmp",), ("-march=native",), ())
"""Further flags, the best first: what a compiler refuses is left out (without OpenMP one thread does all the work)."""


def wanted() -> bool:
    """False where HMN_COMPILE is 0, no or off."""
    return os.environ.get(SWITCH, "1").strip().lower() not in ("0", "no", "off", "false")


def problem() -> str | None:
    """Why the library cannot be used, in words; None where it can (it is built then, if it was not)."""
    if not wanted():
        return f"{SWITCH} is {os.environ[SWITCH]}"
    return _loaded(os.environ.get("CC", "cc"), os.environ.get("HMN_CACHE"))[1]


def state() -> str:
    """For the record of a result: "used", or why the library is not."""
    return problem() or "used"


def library() -> ctypes.CDLL | None:
    """The library, built at the first call; None, with one warning on stderr, where that is not possible."""
    if not wanted():
        return None
    found, reason = _loaded(os.environ.get("CC", "cc"), os.environ.get("HMN_CACHE"))
    if found is None:
        _warn_once(f"networks run without hmn's C code, and slower: {reason}. {SWITCH}=0 silences this.")
    return found


@functools.cache
def _loaded(command: str, cache: str | None) -> tuple[ctypes.CDLL | None, str | None]:
    compiler = shlex.split(command)
    try:
        version = subprocess.run([*compiler, "--version"], capture_output=True, text=True, timeout=BUILD_SECONDS)
    except FileNotFoundError:
        return None, f"there is no C compiler {command!r} (install gcc or clang, or name one in CC)"
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, f"the C compiler {command!r} cannot be run ({error})"
    # The file is named by all that it is built from, so that another version never finds it.
    key = hashlib.sha256()
    for part in (version.stdout, _processor(), *((FOLDER / name).read_text() for name in C_FILES)):
        key.update(part.encode())
    folder = _cache_folder(cache)
    path = folder / f"convnet-{key.hexdigest()[:24]}.so"
    try:
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            reason = _build(compiler, path)
            if reason is not None:
                return None, f"the C compiler {command!r} fails ({reason})"
        return ctypes.CDLL(str(path)), None
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, f"its library cannot be built or loaded ({error})"


def _build(compiler: Sequence[str], path: Path) -> str | None:
    """Compile into `path`, whole or not at all; the compiler's complaint where it cannot."""
    print("hmn: building its C code: a few seconds, once", file=sys.stderr, flush=True)
    began, complaint = time.perf_counter(), "no message"
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        made = Path(scratch) / path.name
        for flags in _TRIED:
            command = [*compiler, *_PLAIN_FLAGS, *flags, str(FOLDER / C_FILES[0]), "-o", str(made), "-lm"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS)
            if done.returncode == 0 and made.is_file():
                os.replace(made, path)  # two processes may build at once: either's is right
                print(f"hmn: built in {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
                return None
            complaint = (done.stderr.strip().splitlines() or ["no message"])[0]
    return complaint


def _cache_folder(told: str | None) -> Path:
    return (Path(told) if told else platformdirs.user_cache_path("hmn")) / "native"


def _processor() -> str:
    """What a library that was made for this processor must not leave: homes are shared between machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() + platform.machine() + platform.platform()
    return platform.machine() + next((line for line in lines if line.startswith(("flags", "Features"))), "")


@functools.cache
def _warn_once(text: str) -> None:
    print(f"hmn: warning: {text}", file=sys.stderr, flush=True)
