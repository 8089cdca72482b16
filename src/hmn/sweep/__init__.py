"""Many independent runs on a local pool, on Ray or on Slurm, resumed without repeating what is done.

`run_sweep` is the whole of it for other code: any picklable function of a module may be the task.
"""

from hmn.sweep.local import LocalPool
from hmn.sweep.loop import State, SweepInterrupted, run_sweep
from hmn.sweep.on_ray import RayPool
from hmn.sweep.on_slurm import SlurmPool
from hmn.sweep.outcome import Outcome, Stopped, SweepRun

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
