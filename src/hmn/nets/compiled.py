"""Whether and how torch compiles a function for an accelerator.

Compiling takes a minute or two, once for each function and shape of input; torch keeps what it made on disk, so that a
later process pays a few seconds. Environment: HMN_COMPILE=0 switches it off; TORCHINDUCTOR_CACHE_DIR says where torch
keeps its files (here, where it is not set, in hmn's own cache folder, which outlives a restart, unlike torch's choice).
"""

import importlib.util
import os
import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, final

import torch

from hmn.nets.native import SWITCH, cache_place, say, wanted, warn_once

P = ParamSpec("P")
R = TypeVar("R")


def compiler_problem(device: str) -> str | None:
    """What stands against torch compiling for a device type, in words; None where nothing does. CUDA needs Triton."""
    if device == "cuda":
        return None if importlib.util.find_spec("triton") else "the package triton is not installed"
    return f"torch's compiler is not used on {device}"


def compile_step(function: Callable[P, R], *, what: str, device: str) -> Callable[P, R]:
    """`function`, compiled at its first call; as it is where that is switched off, or cannot be, or fails.

    Shapes are compiled as they come (dynamic=False): call it with few. On CUDA its kernels are replayed as one graph
    ("reduce-overhead"), whose outputs are overwritten by the next call: clone what must outlive it. A call that fails
    is repeated uncompiled, so a function should change nothing but what it returns.

    Args:
        function: takes and returns tensors; the same object for all callers, to be compiled once.
        what: for messages, such as "the training step".
        device: type of the device that it runs on.
    """
    if not wanted():
        return function
    if (problem := compiler_problem(device)) is not None:
        warn_once(f"{what} runs uncompiled, and slower: {problem}. {SWITCH}=0 silences this.")
        return function
    return Guarded(function, what, device)


@final
class Guarded:
    """A compiled function that says when it compiles, and goes on uncompiled where compiling fails."""

    def __init__(self, function: Callable[..., Any], what: str, device: str) -> None:
        self.function, self.what, self.device = function, what, device
        self.compiled: Callable[..., Any] | None = None
        self.failed = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.failed:
            return self.function(*args, **kwargs)
        began, first = time.perf_counter(), self.compiled is None
        try:
            if self.compiled is None:
                say(f"compiling {self.what}: a minute or two the first time, seconds later ({SWITCH}=0 does without)")
                self.compiled = _torch_compile(self.function, self.device)
            result = self.compiled(*args, **kwargs)
        except Exception as error:
            # Whatever it was: if the fault is the function's own, the uncompiled call raises it again.
            self.give_up(error)
            return self.function(*args, **kwargs)
        if first:
            say(f"compiled {self.what} in {time.perf_counter() - began:.0f} s (a backward pass, if any, comes after)")
        return result

    def give_up(self, error: Exception) -> None:
        """Go on uncompiled, with a warning. For callers too: torch compiles a backward pass only when it is run."""
        self.failed = True
        reason = (str(error).strip().splitlines() or ["no message"])[0][:200]
        warn_once(f"{self.what} could not be compiled and runs slower ({type(error).__name__}: {reason})")


def _torch_compile(function: Callable[..., Any], device: str) -> Callable[..., Any]:
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_place(os.environ.get("HMN_CACHE"), "compiled")))
    mode = "reduce-overhead" if device == "cuda" else None
    compiled: Callable[..., Any] = torch.compile(function, dynamic=False, mode=mode)
    return compiled
