"""What the verbs print: results on stdout, progress and notes on stderr."""

import json
import shlex
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, Self, final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress as Bars, TaskID, TextColumn
from rich.table import Table

from hmn.runtime.launched import COMMAND

PLAIN_INTERVAL_SECONDS = 15.0


class Progress(NamedTuple):
    """How far long work is."""

    phase: str
    """What is being done, such as matching, or the name of what a network is trained on."""
    done: int
    """Units of work behind, of `total`."""
    total: int
    detail: str = ""
    """More in words, such as the loss."""


OnProgress = Callable[[Progress], None]
_LISTENER: ContextVar[OnProgress | None] = ContextVar("_LISTENER", default=None)


@contextmanager
def reported_to(listener: OnProgress | None) -> Iterator[None]:
    """Inside, progress goes to `listener` in the place of the screen, and notes go nowhere; None changes nothing."""
    token = _LISTENER.set(listener or _LISTENER.get())
    try:
        yield
    finally:
        _LISTENER.reset(token)


def results() -> Console:
    """The console on stdout; a pipe gets full lines, whatever the width of no terminal is taken to be."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 110)


def note(text: str) -> None:
    """One line on stderr that is no result."""
    if _LISTENER.get() is not None:
        return
    Console(stderr=True, highlight=False, soft_wrap=True).print(text, style="dim", markup=False)


def command_line() -> str:
    """The command as it was given, without the folder of the program."""
    return shlex.join(["hmn", *COMMAND.get()])


def print_json(content: Mapping[str, Any]) -> None:
    """The one thing that a verb with --json writes to stdout."""
    print(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))


def tell(text: str, style: str = "") -> None:
    """A line of the result on stdout, which is not broken to any width."""
    results().print(text, style=style, markup=False, soft_wrap=True)


def as_table(heads: Sequence[str], rows: Iterable[Sequence[str] | None], *, left: Collection[str] = ()) -> Table:
    """A table whose columns are aligned on the right, but for those in `left`; None among the rows is a line."""
    table = Table(header_style="cyan")
    for head in heads:
        table.add_column(escape(head), justify="left" if head in left else "right")
    for row in rows:
        if row is None:
            table.add_section()
        else:
            table.add_row(*map(escape, row))
    return table


def print_table(title: str, table: Table) -> None:
    """A table on stdout under its title, which is never broken to the table's width."""
    tell(title, "bold")
    results().print(table)


def print_facts(title: str, facts: dict[str, str]) -> None:
    """Names and values on stdout, two columns."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(escape(name), escape(value))
    print_table(title, table)


def duration(seconds: float) -> str:
    """Seconds as a person would say them: 8 s, 3 min 20 s, 2 h 5 min, 12 days, 15 years."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 or seconds == 0 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    days = hours / 24
    return f"{days:.0f} days" if days < 1000 else f"{days / 365.25:,.0f} years"


def size(num_bytes: float) -> str:
    """Bytes in the unit that reads best: 9,000 B, 122.9 kB, 6.1 MB (powers of ten)."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= 10 * scale or (unit != "kB" and num_bytes >= scale):
            return f"{num_bytes / scale:,.1f} {unit}"
    return f"{num_bytes:,.0f} B"


@final
class ProgressView:
    """Progress with the time left, on stderr: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True, quiet=quiet)
        self._bar: Bars | None = None
        self._tasks: dict[str, TaskID] = {}
        self._began: dict[str, tuple[float, int]] = {}
        self._last_line = 0.0

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._console.quiet and _LISTENER.get() is None:
            columns = TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn()
            words = TextColumn("{task.fields[note]}")
            self._bar = Bars(*columns, words, console=self._console, refresh_per_second=4)
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, phase: str, done: int, total: int, detail: str = "") -> None:
        """Work done so far, as a `Progress` says it; a new phase begins a new line."""
        if (listener := _LISTENER.get()) is not None:
            if not self._console.quiet:
                listener(Progress(phase, done, total, detail))
            return
        # The time left is told from the pace of this phase, as it went so far.
        now = time.monotonic()
        first, first_done = self._began.setdefault(phase, (now, done))
        left = (now - first) / (done - first_done) * (total - done) if done > first_done else None
        ending = f"{duration(left)} left" if left else (f"{duration(now - first)}" if done >= total else "")
        text = ", ".join(part for part in (detail, ending) if part)
        if self._bar is not None:
            if phase not in self._tasks:
                self._tasks[phase] = self._bar.add_task(phase, total=total, note="")
            self._bar.update(self._tasks[phase], completed=done, note=text)
        elif now - self._last_line >= PLAIN_INTERVAL_SECONDS or done >= total:
            self._last_line = now
            self._console.print(f"{phase} {done:,}/{total:,}" + (f": {text}" if text else ""), markup=False)
