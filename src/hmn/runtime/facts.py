"""What a number was taken with: versions, commit and machine. Every reported result carries them."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from hmn.runtime.memory import num_cores

NUMERIC_PACKAGES = ("hmn", "torch", "numpy", "pillow", "safetensors")
"""Packages on whose versions numbers depend."""


def versions() -> dict[str, str]:
    """Versions of hmn, Python and the packages that numbers depend on."""
    packages = {name: installed(name) or "" for name in NUMERIC_PACKAGES}
    return {"hmn": packages.pop("hmn"), "python": platform.python_version(), **packages}


def installed(package: str) -> str | None:
    """Version of an installed package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def commit() -> str | None:
    """Commit of the checkout that hmn runs from, "-dirty" where tracked files differ; None outside one."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():
        return None
    found = _git(root, "rev-parse", "HEAD")
    if not found:
        return None
    return found + ("-dirty" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def hardware(c_passes: str) -> dict[str, Any]:
    """Processor, cores that may be used, threads that torch uses, memory in bytes, the accelerator.

    Args:
        c_passes: whether ConvNets on the processor go through hmn's passes in C, as `hmn.nets.native.state` says:
            their rounding differs.
    """
    return {
        "cpu": cpu_name(),
        "cores": num_cores(),
        "threads": torch.get_num_threads(),
        "memory_bytes": memory_bytes(),
        "accelerator": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "c_passes": c_passes,
        "system": platform.platform(terse=True),
    }


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def memory_bytes() -> int | None:
    """Memory of the machine, or of the control group where that is smaller."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdigit() else total
