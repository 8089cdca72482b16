"""The structures and functions of the library, as ctypes sees them: in the order of network.h."""

from __future__ import annotations

import ctypes

MAX_DEPTH = 8
Pointers = ctypes.c_void_p * MAX_DEPTH


class Network(ctypes.Structure):
    """A network's sizes and weights."""

    _fields_ = [
        *((name, ctypes.c_long) for name in (
            "depth", "panels", "channels", "height", "pad", "classes", "block", "tap_panels")),
        ("first", ctypes.c_void_p),
        *((name, Pointers) for name in ("forward", "kernels", "turned", "scale", "shift")),
        ("head", ctypes.c_void_p), ("bias", ctypes.c_void_p),
    ]  # fmt: skip


class Direction(ctypes.Structure):
    """A direction in its weights."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("first", "first_turned", "own_turned")),
        ("kernels", Pointers), ("turned", Pointers), ("head", ctypes.c_void_p),
    ]  # fmt: skip


class Sums(ctypes.Structure):
    """A thread's sums of gradients; what is not wanted is NULL."""

    _fields_ = [
        ("first", ctypes.c_void_p), ("kernels", Pointers), ("scale", Pointers), ("shift", Pointers),
        ("head", ctypes.c_void_p), ("bias", ctypes.c_void_p),
    ]  # fmt: skip


def declared(library: ctypes.CDLL) -> ctypes.CDLL:
    """With the types of its functions: ctypes takes numbers for ints otherwise."""
    pointer, number = ctypes.c_void_p, ctypes.c_long
    kinds = {"p": pointer, "n": number}
    for name, kind in (
        ("first", "pnpppppppn"), ("second", "ppnpppppn"), ("stages", "pnpppppn"), ("back", "pnpppppppn"),
        ("kernels", "pnnnp"), ("kernels_adjoint", "pnp"), ("first_kernels", "pnnnnp"),
        ("first_kernels_adjoint", "pnnnp"),
    ):  # fmt: skip
        function = getattr(library, f"hmn_{name}")
        function.argtypes, function.restype = [kinds[letter] for letter in kind], None
    for name in ("kept", "scratch", "stage"):
        function = getattr(library, f"hmn_{name}_floats")
        function.argtypes, function.restype = [pointer], number
    return library
