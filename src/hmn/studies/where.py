"""Where runs work: on this machine, on Ray or on Slurm, and how many at a time."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from cyclopts import Group, Parameter

from hmn.errors import UserError, check_at_least
from hmn.runtime.launched import check_alone, check_flags
from hmn.runtime.memory import num_cores
from hmn.studies.pool.attempt import Backend
from hmn.studies.pool.local import LocalPool
from hmn.studies.pool.on_ray import RayPool
from hmn.studies.pool.on_slurm import SlurmPool, slurm_parameters

PRELOAD = ("hmn.studies.tasks", "torch._dynamo")
"""What the local pool imports once for all its processes; torch's optimizers import the last, which takes seconds."""
LOGS = "slurm"
"""Folder of what Slurm jobs print, in a study's."""
PACKAGES = {"ray": "ray", "slurm": "submitit"}


@Parameter(name="*", group=Group("Where runs work", sort_key=18))
@dataclass(frozen=True, kw_only=True)
class Where:
    """Where and how many runs work: flags of every verb that has several; None where not given."""

    backend: Literal["local", "ray", "slurm"] = "local"
    """local: processes on this machine. ray: Ray. slurm: Slurm jobs, through submitit."""
    workers: int | None = None
    """Runs at a time (default: one a core, one in all with an accelerator; on a cluster: all)."""
    threads_per_run: int | None = None
    """Threads of each run (default: cores / workers; on a cluster 1)."""
    address: str | None = None
    """Ray cluster: auto, host:port or ray://host:port (default: start Ray on this machine)."""
    gpus_per_run: float | None = None
    """Ray: accelerators, or a share of one, that each run reserves and sees (default: none)."""
    slurm: str | None = None
    """Slurm: partition=NAME,gpus=1,timeout_min=600,mem_gb=16 and any other parameter of submitit."""

    def check(self, what: str, *, resume: bool, force: bool, checkpoint_seconds: float = 0.0) -> None:
        """Refuse flags of a study that make no sense, those here among them, before anything is read."""
        check_flags(resume=resume, force=force, checkpoint_seconds=checkpoint_seconds)
        check_alone(f"{what} starts processes of its own")
        check_at_least(1, workers=self.workers, threads_per_run=self.threads_per_run)
        # Flags of one backend say nothing to another.
        for needs, name in (("ray", "address"), ("ray", "gpus_per_run"), ("slurm", "slurm")):
            if (value := getattr(self, name)) is not None and self.backend != needs:
                flag = f"--{name.replace('_', '-')} {value}"
                raise UserError(f"{flag}: is for --backend {needs}, and this is --backend {self.backend}.")
        if self.gpus_per_run is not None and not 0 <= self.gpus_per_run < float("inf"):
            raise UserError(f"--gpus-per-run {self.gpus_per_run}: expected 0 or more.")
        package = PACKAGES.get(self.backend)
        if package is not None and find_spec(package) is None:
            raise UserError(f"--backend {self.backend}: {package} is not installed; pip install 'hmn[distributed]'.")
        slurm_parameters(self.slurm)

    @property
    def is_cluster(self) -> bool:
        """Whether other machines do the work."""
        return self.address is not None or self.backend == "slurm"

    def workers_for(self, num_runs: int) -> int:
        """Runs at a time."""
        from hmn.runtime.device import choose_device  # imports torch, which the help of the verbs does without

        if self.workers is not None:
            return min(self.workers, num_runs)
        if self.is_cluster:
            return num_runs
        return 1 if choose_device() != "cpu" else min(num_cores(), num_runs)

    def threads_for(self, workers: int) -> int:
        """Threads of each run."""
        if self.threads_per_run is not None:
            return self.threads_per_run
        return 1 if self.is_cluster else max(1, num_cores() // workers)

    def pool(self, out: Path, *, workers: int, threads: int) -> Backend:
        """The backend, connected to; nothing is started. Raises UserError: out of reach, or a wrong parameter."""
        from hmn.runtime.device import choose_device

        if self.backend == "ray":
            return RayPool(address=self.address, slots=workers, threads=threads, gpus=self.gpus_per_run or 0.0)
        if self.backend == "slurm":
            return SlurmPool(out / LOGS, workers=workers, threads=threads, parameters=slurm_parameters(self.slurm))
        return LocalPool(workers, preload=PRELOAD if choose_device() == "cpu" else ())
