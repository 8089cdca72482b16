"""Everything that depends on the device: which one, its number formats, where data lie and how batches get there.

Environment: HMN_DEVICE (cpu, cuda or mps) and HMN_PRECISION (float32, tf32 or bfloat16: how networks are trained on
CUDA; matching is always float32). What is decided here is tested by its logic on a CPU, and by the tests marked `gpu`
where there is one.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Literal, cast, get_args

import torch
from torch import Tensor

from hmn.errors import UserError

Precision = Literal["float32", "tf32", "bfloat16"]
DEVICES = ("cpu", "cuda", "mps")
FREE_SHARE_KEPT = 0.5
"""Share of a device's free memory that resident data leave to networks and activations,"""
FREE_BYTES_KEPT = 2 * 2**30
"""and the least that they leave."""


def device_for(told: str | None, *, cuda: bool, mps: bool) -> str:
    """The device's type: what HMN_DEVICE told, else CUDA where torch finds it, else the CPU; Apple's only where told.
    Raises UserError: an unknown device, or one that is not there.
    """
    if not told:
        return "cuda" if cuda else "cpu"
    there = {"cpu": True, "cuda": cuda, "mps": mps}
    if told not in DEVICES:
        raise UserError(f"HMN_DEVICE={told}: expected one of {', '.join(DEVICES)}.")
    if not there[told]:
        raise UserError(f"HMN_DEVICE={told}: torch finds no such device here: unset it, or install a torch for it.")
    return told


def choose_device() -> str:
    """The device to run on, by `device_for`; TF32 is off from then on.

    TF32's rounding is larger than the steps of the finite difference in gradient matching; `training_numbers` allows
    it for training alone.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    chosen = device_for(_told("HMN_DEVICE"), **there)
    if chosen == "cuda":
        _allow_tf32(False)
    return chosen


def precision_for(told: str | None, device: str) -> Precision:
    """How networks are trained on a device of this type: what HMN_PRECISION told, else float32. Raises UserError: an
    unknown precision, or another than float32 off CUDA (bfloat16 is 15 times slower on a CPU).
    """
    if told and told not in get_args(Precision):
        raise UserError(f"HMN_PRECISION={told}: expected one of {', '.join(get_args(Precision))}.")
    if told and told != "float32" and device != "cuda":
        raise UserError(f"HMN_PRECISION={told}: only CUDA trains so, and this is {device}: unset it.")
    return cast(Precision, told or "float32")


def training_precision(device: str) -> Precision:
    """`precision_for` what HMN_PRECISION says."""
    return precision_for(_told("HMN_PRECISION"), device)


def _told(variable: str) -> str | None:
    return os.environ.get(variable, "").strip().lower() or None


@contextmanager
def training_numbers(precision: Precision) -> Iterator[None]:
    """Inside, CUDA computes in this precision; outside as before. Nothing changes for float32."""
    if precision != "tf32":
        with torch.autocast("cuda", dtype=torch.bfloat16) if precision == "bfloat16" else nullcontext():
            yield
        return
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    _allow_tf32(True)
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def _allow_tf32(allowed: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed


def fits(num_bytes: int, free_bytes: int) -> bool:
    """Whether data may live on a device with so much free memory: at least half of it and 2 GiB must stay free."""
    return num_bytes <= free_bytes - max(FREE_BYTES_KEPT, int(FREE_SHARE_KEPT * free_bytes))


def resident(data: Tensor, device: torch.device) -> Tensor:
    """The tensor on a CUDA device where it `fits` there, else unchanged; for other devices unchanged too."""
    if device.type != "cuda" or data.device == device:
        return data
    free, _ = torch.cuda.mem_get_info(device)
    return data.to(device) if fits(data.numel() * data.element_size(), free) else data


def moved(batch: Tensor, device: torch.device) -> Tensor:
    """A batch on the device: from the CPU to CUDA through pinned memory, without waiting for the copy."""
    if device.type == "cuda" and batch.device.type == "cpu":
        return batch.pin_memory().to(device, non_blocking=True)
    return batch.to(device)
