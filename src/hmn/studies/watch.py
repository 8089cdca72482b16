"""How a sweep goes, told on stderr: a line for each run that ends, and the time left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hmn.runtime.console import ProgressView, note
from hmn.studies.pool import Outcome, State, SweepInterrupted, SweepRun, run_sweep

if TYPE_CHECKING:
    from hmn.studies.pool.attempt import Task
    from hmn.studies.pool.backend import Backend


MOST_NAMES = 3
"""Running runs that the line of progress names; of more it says that there are some."""


def watch(
    what: str,
    runs: Sequence[SweepRun],
    task: Task,
    out: Path,
    *,
    backend: Backend,
    threads: int,
    ending: Callable[[Outcome], str | None],
    stopping: str,
    tell_earlier: bool = False,
    tell_running: bool = True,
    stop_at_end: bool = False,
) -> dict[str, Outcome]:
    """Run the sweep and tell how it goes; outcomes and all arguments not named below are those of `run_sweep`.

    Args:
        what: name of the progress; with `tell_earlier`, what the runs are called.
        ending: how a run ended, to be said after its name; None says nothing.
        stopping: said once, when a signal has come.
        tell_earlier: say first how many runs an earlier attempt has done.
        tell_running: name the runs that are on their way.
        stop_at_end: take a signal that came when all runs had ended for an interruption too: of what comes next.

    Raises:
        SweepInterrupted: a signal came.
    """
    begun = signalled = False
    with ProgressView() as view:

        def show(state: State) -> None:
            nonlocal begun, signalled
            if tell_earlier and state.done and not begun:
                note(f"{state.done} of {state.total} {what} are done already.")
            begun = True
            if state.stopping and not signalled:
                signalled = True
                note(stopping)
            for name, outcome in state.ended:
                words = ending(outcome)
                if words is not None:
                    note(f"{name} {words}")
            names = ", ".join(state.running[:MOST_NAMES]) + (", ..." if len(state.running) > MOST_NAMES else "")
            view.show(what, state.done, state.total, f"running {names}" if tell_running and names else "")

        outcomes = run_sweep(runs, task, out, backend=backend, threads=threads, on_change=show)
    if stop_at_end and signalled:
        raise SweepInterrupted(outcomes)
    return outcomes
