"""Many independent runs on a local pool, on Ray or on Slurm, resumed without repeating what is done.

`hmn.studies.pool.loop.run_sweep` is the whole of it for other code: any picklable function of a module may be the task.
"""
