"""Several processes for one condensation: torchrun starts them, these functions let them work as one.

In one process every function is the identity, and torch.distributed is not called. The other way round, every
function from `sum_in_place` on is collective: all processes call it, in the same order. Wrappers
such as DistributedDataParallel are not used: they do nothing for gradients taken by torch.autograd.grad.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from hmn.errors import UserError
from hmn.runtime.device import choose_device
from hmn.runtime.launched import ALONE, Place, ProcessLost, launched, local_rank

T = TypeVar("T")
TIMEOUT = "HMN_PROCESS_TIMEOUT"
TIMEOUT_SECONDS = 1800.0
"""How long a process that neither answers nor ends is waited for; $HMN_PROCESS_TIMEOUT has precedence. One that ends
is noticed at once."""
_joined = ALONE


def place() -> Place:
    """Which of the processes that work as one this is: the only one outside of `joined`."""
    return _joined


def is_first() -> bool:
    """Whether this process is the one that owns files and speaks to people."""
    return _joined.rank == 0


def own_range(count: int) -> range:
    """This process's share of `count` things: contiguous, sizes differing by one at most."""
    each, more = divmod(count, _joined.size)
    first = _joined.rank * each + min(_joined.rank, more)
    return range(first, first + each + (_joined.rank < more))


@contextmanager
def joined() -> Iterator[None]:
    """Inside, the processes that torchrun started are one: gloo between CPUs, and NCCL between GPUs, one for each.

    Raises:
        UserError: more processes on this machine than it has GPUs, or a timeout that is no number.
        ProcessLost: not all processes came.
    """
    global _joined
    wanted = launched()
    if wanted.size == 1:
        yield
        return
    timeout = timedelta(seconds=_timeout_seconds())
    backend = _backend()
    with _stdout_to_stderr(), _heard():
        dist.init_process_group(backend, timeout=timeout)
    _joined, together = wanted, True
    try:
        yield
    except ProcessLost:
        together = False  # leaving together is not possible any more: see `hmn.runtime.launched.leave`
        raise
    finally:
        if together:
            dist.destroy_process_group()
        _joined = ALONE


def _backend() -> str:
    """gloo, and beside it NCCL where there are GPUs, of which this process takes its own."""
    device = choose_device()
    if device == "mps":
        raise UserError("HMN_DEVICE=mps: one process at a time; leave out torchrun, or unset HMN_DEVICE.")
    if device == "cpu":
        return "gloo"
    here, devices = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if here > devices:
        raise UserError(
            f"{here} processes on a machine with {devices} GPU{'s' if devices > 1 else ''}: start at most {devices} "
            "there (torchrun --nproc-per-node), or run on its CPU with HMN_DEVICE=cpu."
        )
    torch.cuda.set_device(local_rank())
    return "cpu:gloo,cuda:nccl"


def _timeout_seconds() -> float:
    text = os.environ.get(TIMEOUT, "")
    try:
        seconds = float(text or TIMEOUT_SECONDS)
        if not 1 <= seconds <= 1e6:
            raise ValueError
    except ValueError:
        raise UserError(f"environment variable {TIMEOUT}: got {text!r}, expected seconds, 1 or more.") from None
    return seconds


@contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Some versions of gloo greet on stdout, which is for results."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


@contextmanager
def _heard() -> Iterator[None]:
    """Inside, the backends' errors become one line."""
    try:
        yield
    except RuntimeError as error:
        here = _joined if _joined.size > 1 else launched()
        reason = " ".join(str(error).split())
        reason = reason if len(reason) <= 160 else reason[:157] + "..."
        raise ProcessLost(
            f"process {here.rank} of 0..{here.size - 1}: another process has ended or does not answer ({reason})."
        ) from error


def sum_in_place(values: Tensor) -> Tensor:
    """The sum over all processes, the same bits in each, in the place of `values`."""
    if _joined.size > 1:
        with _heard():
            dist.all_reduce(values)
    return values


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """The gradients of parameters that all processes hold, summed over them; an absent one counts as zeros."""
    held = list(parameters)
    if _joined.size == 1 or not held:  # there are containers that share nothing
        return
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in held]
    flat = sum_in_place(torch.cat([part.flatten() for part in parts]))
    for parameter, values in zip(held, flat.split([p.numel() for p in held]), strict=True):
        parameter.grad = values.view_as(parameter)


def copy_from_first(tensors: Iterable[Tensor]) -> None:
    """The first process's values in every process's tensors, in place."""
    if _joined.size > 1:
        with _heard():
            for values in tensors:
                dist.broadcast(values, 0)


def any_process(*flags: bool) -> tuple[bool, ...]:
    """For each flag, whether a process has it set."""
    if _joined.size == 1:
        return flags
    return tuple(bool(count) for count in sum_in_place(torch.tensor(flags, dtype=torch.int64)))


def gather(value: T) -> list[T]:
    """On the first process what every process gave, by rank; nothing on the others. Tensors must be on the CPU."""
    if _joined.size == 1:
        return [value]
    found: list[Any] | None = [None] * _joined.size if is_first() else None
    with _heard():
        dist.gather_object(value, found)
    return found or []


def from_first(value: T) -> T:
    """What the first process gave, on every process. Tensors must be on the CPU."""
    if _joined.size == 1:
        return value
    held: list[Any] = [value]
    with _heard():
        dist.broadcast_object_list(held, src=0)
    return held[0]


def on_first(work: Callable[[], T]) -> T:
    """`work` done by the first process alone; its result, or the mistake that it met, on all of them. Raises UserError,
    OSError: what `work` raised.
    """
    return from_first(agreed(lambda: work() if is_first() else None))  # type: ignore[return-value]  # the first has it


def agreed(work: Callable[[], T]) -> T:
    """`work` done by every process; where one of them meets a mistake, all of them raise it. Raises UserError, OSError:
    what `work` raised, on whichever process.
    """
    value, mistake = None, None
    try:
        value = work()
    except (UserError, OSError) as error:
        mistake = error
    for met in from_first(gather(mistake)):
        if met is not None:
            raise met
    return value  # type: ignore[return-value]  # T itself may be None


def in_turn(work: Callable[[], T]) -> T:
    """`agreed`, the first process of every machine before the others, to whom the files that it leaves are of use."""
    leads = local_rank() == 0
    early = agreed(lambda: work() if leads else None)
    late = agreed(lambda: None if leads else work())
    return early if leads else late  # type: ignore[return-value]  # one of the two is of `work`
