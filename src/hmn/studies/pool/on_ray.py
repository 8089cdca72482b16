"""Runs on Ray: on a cluster, or on this machine alone."""

import logging
import os
from collections.abc import Sequence
from typing import Any, final

from hmn.errors import UserError
from hmn.studies.pool.attempt import Attempt, Backend, Outcome, Running, failed, gist


@final
class RayPool(Backend):
    """Every run is a Ray task that reserves its threads as CPUs.

    Results are written into the runs' folders by whichever machine works on them, so that a cluster needs the sweep's
    folder and the data under the same path everywhere, and hmn installed everywhere.
    """

    def __init__(self, *, address: str | None, slots: int, threads: int, gpus: float = 0.0) -> None:
        """Connect to a cluster ("auto", host:port or ray://host:port), or, with None, start Ray on this machine.

        Of `slots` runs at a time each reserves `threads` CPUs, and `gpus` accelerators or a share of one. Raises
        UserError: nothing answers at the address.
        """
        import ray

        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        self._ray, self.slots = ray, slots
        how: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if not address:
            how |= {"num_cpus": slots * threads, "include_dashboard": False}
        try:
            ray.init(address=address or "local", **how)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            words = gist(error) or type(error).__name__
            raise UserError(f"--address {address or 'local'}: no Ray could be reached there ({words}).") from None
        # A worker that dies is this run's failure, to be told and resumed: Ray is not to begin it anew by itself.
        self._call = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=0)(_call)

    def start(self, attempts: Sequence[Attempt]) -> list[Running]:
        """A task for each; Ray lets them wait until there is room."""
        return [_RayJob(self._ray, self._call.remote(attempt)) for attempt in attempts]

    def close(self) -> None:
        """Leave the cluster, or end the Ray that was started here."""
        self._ray.shutdown()


def _call(attempt: Attempt) -> Outcome:
    return attempt()


@final
class _RayJob:
    def __init__(self, ray: Any, reference: Any) -> None:
        self._ray, self._reference, self._stopped = ray, reference, False

    def done(self) -> bool:
        ready, _ = self._ray.wait([self._reference], timeout=0)
        return bool(ready)

    def outcome(self) -> Outcome:
        try:
            found: Outcome = self._ray.get(self._reference)
            return found
        except (self._ray.exceptions.TaskCancelledError, KeyboardInterrupt):
            return Outcome(status="interrupted")
        except self._ray.exceptions.RayError as error:
            return failed(f"Ray: {type(error).__name__}: {gist(error)}")

    def stop(self) -> None:
        # Once: Ray interrupts the task as Ctrl-C does, and a second Ctrl-C keeps a run from writing its checkpoint.
        if not self._stopped:
            self._stopped = True
            self._ray.cancel(self._reference)

    def kill(self) -> None:
        self._ray.cancel(self._reference, force=True)
