"""Many independent runs on a local pool, on Ray or on Slurm, resumed without repeating what is done.

`run_sweep` is the whole of it for other code: any picklable function of a module may be the task.
"""

from __future__ import annotations

from hmn.studies.pool.local import LocalPool
from hmn.studies.pool.loop import State, SweepInterrupted, run_sweep
from hmn.studies.pool.on_ray import RayPool
from hmn.studies.pool.on_slurm import SlurmPool
from hmn.studies.pool.outcome import Outcome, Stopped, SweepRun

__all__ = [
    "LocalPool",
    "Outcome",
    "RayPool",
    "SlurmPool",
    "State",
    "Stopped",
    "SweepInterrupted",
    "SweepRun",
    "run_sweep",
]
