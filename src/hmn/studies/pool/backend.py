"""What a sweep asks of the places where runs may work: a process pool, Ray, Slurm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from hmn.studies.pool.attempt import Attempt
from hmn.studies.pool.outcome import Outcome


class Job(Protocol):
    """An attempt that was handed over."""

    def done(self) -> bool:
        """Whether it has ended, in whatever way; does not wait."""

    def outcome(self) -> Outcome:
        """How it ended; asked once it is done."""

    def stop(self) -> None:
        """Ask it to save its progress and end. Asked again and again until it is done."""

    def kill(self) -> None:
        """End it at once."""


class Backend(Protocol):
    """Where attempts are made."""

    @property
    def slots(self) -> int:
        """Attempts that it takes at a time."""

    def start(self, attempts: Sequence[Attempt]) -> list[Job]:
        """Hand attempts over, no more than there are free slots."""

    def close(self) -> None:
        """Let go of what it holds; every job is done."""
