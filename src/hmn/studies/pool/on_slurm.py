"""Runs as Slurm jobs, through submitit."""

import contextlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

from hmn.errors import UserError
from hmn.studies.pool.attempt import Attempt, Backend, Outcome, Running, failed, gist, read_outcome

JOB = "job"
"""File in a run's folder: the number of its Slurm job."""
TIMEOUT_MINUTES = 1440
SHARED_PARAMETERS = ("timeout_min", "mem_gb", "cpus_per_task", "gpus_per_node", "name", "cluster")
"""Parameters of any of submitit's executors, and the choice of one; the others are Slurm's own."""
ONE_TASK = ("nodes", "tasks_per_node", "ntasks_per_node")


def slurm_parameters(words: str | None) -> dict[str, Any]:
    """Parameters for submitit from words such as "partition=gpu,gpus=1,timeout_min=600,mem_gb=16".

    "cluster=local" tries the same on this machine. Raises UserError: not name=value, or a parameter by which several
    processes would work on one run.
    """
    found: dict[str, Any] = {}
    for pair in [] if words is None else words.split(","):
        name, sign, text = pair.partition("=")
        if not (name and sign and text):
            raise UserError(f"--slurm {pair}: expected name=value, such as partition=gpu or timeout_min=600.")
        if name in ONE_TASK:
            raise UserError(f"--slurm {pair}: a run is one task on one node; leave it out.")
        name = {"gpus": "gpus_per_node"}.get(name, name)
        value = int(text) if text.isdecimal() and name != "name" else text
        found[name if name in SHARED_PARAMETERS else f"slurm_{name}"] = value
    return found


@final
class SlurmPool(Backend):
    """Runs are handed to Slurm together, as one job array, and wait there for their turn.

    Jobs outlive the command: a sweep that is resumed takes up those that still wait or run. One whose time is over, or
    whose node is taken, is queued again by submitit and goes on from its checkpoint.
    """

    def __init__(self, folder: Path, *, workers: int, threads: int, parameters: Mapping[str, Any]) -> None:
        """Make the executor for `workers` jobs at a time on `threads` CPUs each, with `slurm_parameters`.

        What submitit stores and jobs print goes into `folder`, which all machines must see under this path. Raises
        UserError: there is no Slurm, or a parameter is unknown or of the wrong kind.
        """
        import submitit

        settings = {"timeout_min": TIMEOUT_MINUTES, "cpus_per_task": threads, "name": "hmn-sweep", **parameters}
        cluster = settings.pop("cluster", "slurm")
        self._folder, self._is_slurm = folder.resolve(), cluster == "slurm"
        # Slurm holds the queue, and limits the array; on one machine the limit is ours.
        self.slots = sys.maxsize if self._is_slurm else workers
        if self._is_slurm:
            settings.setdefault("slurm_array_parallelism", workers)
        try:
            self._executor = submitit.AutoExecutor(folder=self._folder, cluster=cluster)
            self._executor.update_parameters(**settings)
        except (RuntimeError, ValueError, NameError, AssertionError, TypeError) as error:
            raise UserError(f"--backend slurm: {' '.join(str(error).split())}") from None

    def start(self, attempts: Sequence[Attempt]) -> list[Running]:
        """One job array for all of them, but for those whose job of an earlier sweep is still there."""
        jobs = {attempt.run.name: self._standing(attempt.folder) for attempt in attempts}
        new = [attempt for attempt in attempts if jobs[attempt.run.name] is None]
        if new:
            with self._executor.batch():
                jobs |= {attempt.run.name: self._executor.submit(attempt) for attempt in new}
        for attempt in attempts:
            attempt.folder.mkdir(parents=True, exist_ok=True)
            (attempt.folder / JOB).write_text(f"{jobs[attempt.run.name].job_id}\n")
        return [_SlurmJob(jobs[attempt.run.name], attempt.folder) for attempt in attempts]

    def _standing(self, folder: Path) -> Any:
        """The job that an earlier sweep handed over for this run, if it has not ended."""
        if not self._is_slurm or not (folder / JOB).exists():
            return None
        import submitit

        job: Any = submitit.SlurmJob(folder=self._folder, job_id=(folder / JOB).read_text().strip(), tasks=[0])
        return None if job.done(force_check=True) else job


@final
class _SlurmJob:
    def __init__(self, job: Any, folder: Path) -> None:
        self._job, self._folder, self._stopped = job, folder, False

    def done(self) -> bool:
        return bool(self._job.done())

    def outcome(self) -> Outcome:
        if self._stopped and not self._job.paths.result_pickle.exists():
            return read_outcome(self._folder) or Outcome(status="interrupted")  # result() would wait 15 s for each
        try:
            found: Outcome = self._job.result()
            return found
        except Exception as error:  # submitit's own kinds, and whatever the job died of
            words = gist(error) or type(error).__name__
            job = f"Slurm: job {self._job.job_id}"
            return read_outcome(self._folder) or failed(f"{job}: {words} (state {self._job.state})")

    def stop(self) -> None:
        if not self._stopped:
            self._stopped = True
            with contextlib.suppress(OSError, ValueError):
                self._job.cancel(check=False)

    kill = stop
