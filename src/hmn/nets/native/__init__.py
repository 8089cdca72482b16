"""The passes of a ConvNet in C: built by this machine's C compiler when they are first needed, kept for later.

Building takes a few seconds, once for each version of hmn, compiler and processor; the library lies in hmn's cache
folder. Environment: HMN_COMPILE=0 does without it; CC names the compiler; HMN_CACHE moves the cache folder.
"""

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
from typing import Any

import platformdirs

SWITCH = "HMN_COMPILE"
FOLDER = Path(__file__).parent
C_FILES = ("convnet.c", "kernels.h", "network.h", "norm.h", "panels.h", "winograd.h")
BUILD_SECONDS = 120
_PLAIN_FLAGS = ("-O3", "-ffp-contract=fast", "-fno-math-errno", "-std=gnu11", "-shared", "-fPIC")
_TRIED = (("-march=native", "-fopenmp"), ("-mcpu=native", "-fopenmp"), ("-fopenmp",), ("-march=native",), ())
"""Further flags, the best first: what a compiler refuses is left out (without OpenMP one thread does all the work)."""
MAX_DEPTH = 8
_NUMBER, _POINTER = ctypes.c_long, ctypes.c_void_p
_POINTERS = _POINTER * MAX_DEPTH
_PASSES = {
    "first": "pnpppppppn",
    "second": "ppnpppppn",
    "stages": "pnpppppn",
    "back": "pnpppppppn",
    "kernels": "pnnnp",
    "kernels_adjoint": "pnp",
    "first_kernels": "pnnnnp",
    "first_kernels_adjoint": "pnnnp",
}
"""Kinds of the arguments of every function that gives nothing back: p a pointer, n a number."""


def _members(*groups: tuple[Any, str]) -> list[tuple[str, Any]]:
    """A structure's members in the order of network.h, from the names of each kind."""
    return [(name, kind) for kind, names in groups for name in names.split()]


class Network(ctypes.Structure):
    """A network's sizes and weights."""

    _fields_ = _members(
        (_NUMBER, "depth panels channels height pad classes block tap_panels"),
        (_POINTER, "first"),
        (_POINTERS, "forward kernels turned scale shift"),
        (_POINTER, "head bias"),
    )


class Direction(ctypes.Structure):
    """A direction in its weights."""

    _fields_ = _members((_POINTER, "first first_turned own_turned"), (_POINTERS, "kernels turned"), (_POINTER, "head"))


class Sums(ctypes.Structure):
    """A thread's sums of gradients; what is not wanted is NULL."""

    _fields_ = _members((_POINTER, "first"), (_POINTERS, "kernels scale shift"), (_POINTER, "head bias"))


def wanted() -> bool:
    """False where HMN_COMPILE is 0, no or off."""
    return os.environ.get(SWITCH, "1").strip().lower() not in ("0", "no", "off", "false")


def problem() -> str | None:
    """Why the library cannot be used, in words; None where it can (it is built then, if it was not)."""
    return _found()[1] if wanted() else f"{SWITCH} is {os.environ[SWITCH]}"


def state() -> str:
    """For the record of a result: "used", or why the library is not."""
    return problem() or "used"


def library() -> ctypes.CDLL | None:
    """The library, built at the first call; None, with one warning on stderr, where that is not possible."""
    if not wanted():
        return None
    found, reason = _found()
    if found is None:
        warn_once(f"networks run without hmn's C code, and slower: {reason}. {SWITCH}=0 silences this.")
    return found


def cache_place(told: str | None, name: str) -> Path:
    """A folder of hmn's cache, which `told` moves, the value of HMN_CACHE."""
    return (Path(told) if told else platformdirs.user_cache_path("hmn")) / name


def say(text: str) -> None:
    """A line on stderr."""
    print(f"hmn: {text}", file=sys.stderr, flush=True)


@functools.cache
def warn_once(text: str) -> None:
    """A warning on stderr, unless it was given before."""
    say(f"warning: {text}")


def _found() -> tuple[ctypes.CDLL | None, str | None]:
    return _loaded(os.environ.get("CC", "cc"), os.environ.get("HMN_CACHE"))


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
    path = cache_place(cache, "native") / f"convnet-{key.hexdigest()[:24]}.so"
    try:
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            if (reason := _build(compiler, path)) is not None:
                return None, f"the C compiler {command!r} fails ({reason})"
        return _declared(ctypes.CDLL(str(path))), None
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, f"its library cannot be built or loaded ({error})"


def _build(compiler: Sequence[str], path: Path) -> str | None:
    """Compile into `path`, whole or not at all; the compiler's complaint where it cannot."""
    say("building its C code: a few seconds, once")
    began, complaint = time.perf_counter(), "no message"
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        made = Path(scratch) / path.name
        for flags in _TRIED:
            command = [*compiler, *_PLAIN_FLAGS, *flags, str(FOLDER / C_FILES[0]), "-o", str(made), "-lm"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS)
            if done.returncode == 0 and made.is_file():
                os.replace(made, path)  # two processes may build at once: either's is right
                say(f"built in {time.perf_counter() - began:.0f} s")
                return None
            complaint = (done.stderr.strip().splitlines() or ["no message"])[0]
    return complaint


def _processor() -> str:
    """What a library that was made for this processor must not leave: homes are shared between machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() + platform.machine() + platform.platform()
    return platform.machine() + next((line for line in lines if line.startswith(("flags", "Features"))), "")


def _declared(found: ctypes.CDLL) -> ctypes.CDLL:
    """With the types of its functions: ctypes takes numbers for ints otherwise."""
    kinds = {"p": _POINTER, "n": _NUMBER}
    for name, letters in _PASSES.items():
        function = getattr(found, f"hmn_{name}")
        function.argtypes, function.restype = [kinds[letter] for letter in letters], None
    for name in ("kept", "scratch", "stage"):
        function = getattr(found, f"hmn_{name}_floats")
        function.argtypes, function.restype = [_POINTER], _NUMBER
    return found
