"""Sweeps on Ray and through submitit. There is no Slurm here: its commands are stood in for by small scripts."""

from __future__ import annotations

import os
import signal
import stat
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.cli.test_sweep import (
    DEADLINE_SECONDS,
    GRID,
    TABLES,
    begun,
    containers,
    done_runs,
    processes_of,
    read_table,
    started,
    swept,
    wait_for,
)
from tests.studies.pool.tasks import behave, num_calls, patient, runs_of
from tests.studies.pool.test_loop import when

from hmn.errors import UserError
from hmn.studies.pool.attempt import Attempt
from hmn.studies.pool.loop import SweepInterrupted, run_sweep
from hmn.studies.pool.on_ray import RayPool
from hmn.studies.pool.on_slurm import SlurmPool, slurm_parameters

ROOT = Path(__file__).parents[3]


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs start from nothing: they find the tests' tasks by PYTHONPATH."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "src")]))


def check_behaviour(out: Path, pool: Any, *, bad: str) -> None:
    """Failures and deaths are told, and stop no other run."""
    runs = runs_of("fine", "mistake", bad, "fine")
    outcomes = list(run_sweep(runs, behave, out, backend=pool, threads=1).values())
    assert [outcome.status for outcome in outcomes] == ["done", "failed", "failed", "done"]
    assert outcomes[0].value["threads"] == "1"
    assert outcomes[1].reason == "got 3, expected 4."
    assert outcomes[2].reason and "\n" not in outcomes[2].reason
    assert [num_calls(out / run.name) for run in runs] == [1, 1, 1, 1]


@pytest.mark.slow
def test_ray_tells_failures_and_stops_in_good_order(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    check_behaviour(tmp_path / "sweep", RayPool(address=None, slots=2, threads=1), bad="killed")
    out = tmp_path / "stopped"
    thread = when(lambda: len(list(out.glob("*/begun"))) == 2, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(SweepInterrupted):
        run_sweep(runs_of("a", "b"), patient, out, backend=RayPool(address=None, slots=2, threads=1), threads=1)
    thread.join()
    assert len(list(out.glob("*/saved"))) == 2


def test_no_ray_at_the_address(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    with pytest.raises(UserError, match="--address nowhere: no Ray could be reached"):
        RayPool(address="nowhere", slots=1, threads=1)


@pytest.mark.slow
def test_ray_killed_in_the_middle_and_resumed_ends_with_the_same_table(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    whole, out = tmp_path / "whole", tmp_path / "broken"
    swept(whole, *GRID, code=1)  # on the local pool: where runs work makes no difference
    with started(out, *GRID, "--backend", "ray") as process:
        wait_for(lambda: process.poll() is not None or (len(done_runs(out)) >= 2 and bool(begun(out))), "two runs")
        assert process.poll() is None, "the sweep was over before it was killed: make the runs longer"
        process.kill()
        if sys.platform.startswith("linux"):
            wait_for(lambda: not processes_of(out), "Ray's end")
    done = done_runs(out)
    assert 2 <= len(done) < 6
    swept(out, *GRID, "--backend", "ray", "--resume", code=1)
    assert {name: at for name, at in done_runs(out).items() if name in done} == done
    for name in TABLES:
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    assert containers(out) == containers(whole)


def test_submitit_runs_jobs_on_this_machine(tmp_path: Path, importable: None) -> None:
    pytest.importorskip("submitit")
    parameters = slurm_parameters("cluster=local,partition=any,timeout_min=5")
    pool = SlurmPool(tmp_path / "slurm", workers=2, threads=1, parameters=parameters)
    check_behaviour(tmp_path, pool, bad="fault")


@pytest.mark.slow
def test_the_command_on_submitit(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    out = tmp_path / "sweep"
    flags = ["--vary", "seed=0,1", "--backend", "slurm", "--slurm", "cluster=local,timeout_min=10"]
    swept(out, *flags)
    assert [row["status"] for row in read_table(out)["runs"]] == ["done", "done"]
    before = done_runs(out)
    swept(out, *flags, "--resume")
    assert done_runs(out) == before


def test_slurm_parameters() -> None:
    found = slurm_parameters("partition=gpu,gpus=1,timeout_min=90,mem_gb=4,cluster=local,qos=1")
    assert found == {
        "slurm_partition": "gpu",
        "gpus_per_node": 1,
        "timeout_min": 90,
        "mem_gb": 4,
        "cluster": "local",
        "slurm_qos": 1,
    }
    for pair, words in (
        ("partition", "name=value"),
        ("nodes=2", "one task"),
        ("=x", "name=value"),
        ("a=", "name=value"),
    ):
        with pytest.raises(UserError, match=words):
            slurm_parameters(pair)


@pytest.mark.parametrize(
    ("given", "words"), [("cluster=cloud", "cloud"), ("cluster=local,colour=blue", "colour"), (None, "srun")]
)
def test_what_submitit_refuses_is_one_line(tmp_path: Path, given: str | None, words: str) -> None:
    pytest.importorskip("submitit")
    with pytest.raises(UserError, match=words) as caught:
        SlurmPool(tmp_path / "slurm", workers=1, threads=1, parameters=slurm_parameters(given))
    assert "\n" not in str(caught.value)


SBATCH = """
import os, pathlib, re, subprocess, sys
state = pathlib.Path(os.environ["FAKE_SLURM"])
script = sys.argv[1]
number = 7 + len(list(state.glob("script-*")))
text = pathlib.Path(script).read_text()
(state / f"script-{number}").write_text(text)
array = re.search(r"--array=0-(\\d+)", text)
for index in range(int(array[1]) + 1) if array else [None]:
    job = f"{number}" if index is None else f"{number}_{index}"
    own = {"SLURM_JOB_ID": str(number), "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1", "SLURM_NODEID": "0",
           "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    if index is not None:
        own |= {"SLURM_ARRAY_JOB_ID": str(number), "SLURM_ARRAY_TASK_ID": str(index)}
    process = subprocess.Popen(["bash", script], env=os.environ | own, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, start_new_session=True)
    (state / f"job-{job}").write_text(str(process.pid))
print("Submitted batch job", number)
"""
SACCT = """
import os, pathlib
print("JobID|State|NodeList")
for path in pathlib.Path(os.environ["FAKE_SLURM"]).glob("job-*"):
    stat = pathlib.Path(f"/proc/{path.read_text()}/stat")
    ended = not stat.exists() or ") Z" in stat.read_text()
    print(f"{path.name[4:]}|{'COMPLETED' if ended else 'RUNNING'}|here")
"""
SCANCEL = """
import os, pathlib, signal, sys
path = pathlib.Path(os.environ["FAKE_SLURM"]) / f"job-{sys.argv[-1]}"
os.killpg(int(path.read_text()), signal.SIGTERM)
"""
SRUN = """
import os, sys
start = next(i for i, word in enumerate(sys.argv) if word.endswith(("python", "python3")) or "/python" in word)
os.execvp(sys.argv[start], sys.argv[start:])
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, importable: None) -> Path:
    """A folder that stands for Slurm: scripts that were submitted, and the processes of jobs."""
    pytest.importorskip("submitit")
    if not sys.platform.startswith("linux"):
        pytest.skip("the stand-in for sacct reads /proc")
    state, programs = tmp_path / "state", tmp_path / "bin"
    state.mkdir()
    programs.mkdir()
    for name, code in (("sbatch", SBATCH), ("sacct", SACCT), ("scancel", SCANCEL), ("srun", SRUN)):
        (programs / name).write_text(f"#!{sys.executable}\n{code}")
        (programs / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(state))
    return state


def slurm_pool(out: Path) -> SlurmPool:
    parameters = slurm_parameters("partition=gpu,gpus=1,timeout_min=90")
    return SlurmPool(out / "slurm", workers=2, threads=3, parameters=parameters)


def test_slurm_gets_one_job_array_with_its_parameters(tmp_path: Path, slurm: Path) -> None:
    check_behaviour(tmp_path / "sweep", slurm_pool(tmp_path / "sweep"), bad="fault")
    scripts = list(slurm.glob("script-*"))
    assert len(scripts) == 1
    lines = set(scripts[0].read_text().splitlines())
    assert lines >= {
        f"#SBATCH --{flag}"
        for flag in (
            "partition=gpu",
            "gpus-per-node=1",
            "time=90",
            "cpus-per-task=3",
            "array=0-3%2",
            "job-name=hmn-sweep",
        )
    }


def test_slurm_jobs_that_a_sweep_left_behind_are_taken_up_again(tmp_path: Path, slurm: Path) -> None:
    out = tmp_path / "sweep"
    attempts = [
        Attempt(run=run, task=patient, folder=out / run.name, threads=1, environment={}) for run in runs_of("a", "b")
    ]
    slurm_pool(out).start(attempts)  # and the command ends here: its jobs go on
    wait_for(lambda: len(list(out.glob("*/begun"))) == 2, "two jobs")
    jobs = slurm_pool(out).start(attempts)
    assert len(list(slurm.glob("script-*"))) == 1 and not any(job.done() for job in jobs)
    for job in jobs:
        job.stop()
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not all(job.done() for job in jobs) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [job.outcome().status for job in jobs] == ["interrupted"] * 2
    assert len(list(out.glob("*/saved"))) == 2
    outcomes = run_sweep(runs_of("a", "b"), patient, out, backend=slurm_pool(out), threads=1)
    assert [outcome.value for outcome in outcomes.values()] == ["gone on"] * 2
    assert len(list(slurm.glob("script-*"))) == 2
