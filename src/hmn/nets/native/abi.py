"""The structures and functions of the library, as ctypes sees them: in the order of network.h."""

from __future__ import annotations

import ctypes
from typing import Any

MAX_DEPTH = 8
Pointers = ctypes.c_void_p * MAX_DEPTH
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


def fields(names: str, kind: Any) -> list[tuple[str, Any]]:
    """Members of one kind, in order."""
    return [(name, kind) for name in names.split()]


class Network(ctypes.Structure):
    """A network's sizes and weights."""

    _fields_ = [
        *fields("depth panels channels height pad classes block tap_panels", ctypes.c_long),
        *fields("first", ctypes.c_void_p),
        *fields("forward kernels turned scale shift", Pointers),
        *fields("head bias", ctypes.c_void_p),
    ]


class Direction(ctypes.Structure):
    """A direction in its weights."""

    _fields_ = [
        *fields("first first_turned own_turned", ctypes.c_void_p),
        *fields("kernels turned", Pointers),
        *fields("head", ctypes.c_void_p),
    ]


class Sums(ctypes.Structure):
    """A thread's sums of gradients; what is not wanted is NULL."""

    _fields_ = [
        *fields("first", ctypes.c_void_p),
        *fields("kernels scale shift", Pointers),
        *fields("head bias", ctypes.c_void_p),
    ]


def declared(library: ctypes.CDLL) -> ctypes.CDLL:
    """With the types of its functions: ctypes takes numbers for ints otherwise."""
    pointer, number = ctypes.c_void_p, ctypes.c_long
    kinds = {"p": pointer, "n": number}
    for name, kind in _PASSES.items():
        function = getattr(library, f"hmn_{name}")
        function.argtypes, function.restype = [kinds[letter] for letter in kind], None
    for name in ("kept", "scratch", "stage"):
        function = getattr(library, f"hmn_{name}_floats")
        function.argtypes, function.restype = [pointer], number
    return library
