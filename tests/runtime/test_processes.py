"""Several processes on one condensation: the gradients, draws and files of one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import hmn.runtime.processes as distributed
from hmn.cli.main import main
from hmn.condensation.state import check_split
from hmn.containers.hmn import Hmn
from hmn.errors import UserError
from hmn.nets.convnet_cpu import passes_problem
from hmn.runtime.launched import ENVIRONMENT, Place, ProcessLost, launched
from hmn.runtime.processes import agreed, any_process, joined, on_first, own_range
from tests.runtime.rank_tasks import (
    BASE,
    CASES,
    NAMES,
    NARROW,
    SHAPE,
    new,
    passes_of,
    run,
    saved_states,
    stopped_on_last_process,
    toy,
    trajectory,
)

ROOT = Path(__file__).parents[2]
DEADLINE_SECONDS = 300.0


def environment(rank: int, size: int, port: int, **more: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("HMN_")}
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port}
    paths = f"{ROOT / 'src'}{os.pathsep}{ROOT}"
    return {
        **own,
        **{name: str(value) for name, value in told.items()},
        "MASTER_ADDR": "127.0.0.1",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": paths,
        **more,
    }


def processes(size: int, *arguments: str, **more: str) -> list[subprocess.Popen[str]]:
    """What torchrun would start, without torchrun: nothing but the processes themselves notices that one is gone."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [
        subprocess.Popen(
            [sys.executable, "-m", *arguments],
            env=environment(rank, size, port, **more),
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for rank in range(size)
    ]


def contents(out: Path) -> dict[str, bytes]:
    """Every file of a folder, but of run.json, which tells times, no more than that it is there."""
    return {path.name: b"" if path.name == "run.json" else path.read_bytes() for path in out.iterdir()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def alone(folder: Path) -> dict[str, list[torch.Tensor]]:
    """Gradients of one process in float32, whose states are left in files; and a run that is broken off."""
    with stopped_on_last_process(3):
        assert run(folder / "from-one") == "interrupted"
    return {case: saved_states(case, folder) for case in NARROW}


@pytest.fixture(scope="module")
def two(folder: Path, alone: dict[str, list[torch.Tensor]]) -> dict[str, Any]:
    """What two processes made of three classes."""
    started = processes(2, "tests.runtime.rank_tasks", str(folder))
    errors = [process.communicate(timeout=DEADLINE_SECONDS)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], "\n".join(errors)
    return torch.load(folder / "results.pt", weights_only=False)  # type: ignore[no-any-return]


def relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("case", CASES)
def test_gradients_step_by_step_are_those_of_one_process(case: str, two: dict[str, Any]) -> None:
    """Reconstruction and sweeps, each on the trajectory that its own steps led to, in float64."""
    found, wanted = two["trajectories"][case], trajectory(case)
    config = CASES[case][0]
    assert len(found["gradients"]) == len(wanted["gradients"]) == config.start.steps + config.num_sweeps
    errors = [relative(a, b) for a, b in zip(found["gradients"], wanted["gradients"], strict=True)]
    assert max(errors) < 1e-8, errors
    assert found["losses"] == pytest.approx(wanted["losses"], rel=1e-8)
    assert relative(found["net"], wanted["net"]) < 1e-8
    assert torch.equal(found["state"]["generator"], wanted["state"]["generator"])
    for number, (name, values) in enumerate(wanted["state"]["container"].items()):
        if name in ("decoder.0.bias", "decoder.1.bias"):
            continue  # BatchNorm takes them away again: their gradients are rounding, which Adam magnifies
        assert relative(found["state"]["container"][name], values) < 1e-6, name
        moments = (side["state"]["optimizer"]["state"][number] for side in (found, wanted))
        assert relative(*(own["exp_avg_sq"] for own in moments)) < 1e-6, name


@pytest.mark.parametrize("case", CASES)
def test_networks_are_the_same_bits_in_every_process(case: str, two: dict[str, Any]) -> None:
    assert two["trajectories"][case]["same_nets"]


@pytest.mark.parametrize("case", NARROW)
def test_gradients_step_by_step_in_float32(
    case: str, two: dict[str, Any], alone: dict[str, list[torch.Tensor]]
) -> None:
    """From the same states. Where a finite difference is taken, it magnifies float32's rounding (docs/log.md)."""
    if case.endswith("own passes"):
        state = new(case, toy())
        state.objective.begin_network(state)
        assert state.objective.net is not None
        with passes_of(case):
            against = passes_problem(state.objective.net, toy().image_shape)
        if against is not None:
            pytest.skip(against)
    most = 1e-3 if case == "gradient" else 1e-5
    errors = [relative(a, b) for a, b in zip(two["narrow"][case], alone[case], strict=True)]
    assert len(errors) == 4 and max(errors) < most, errors


def test_checkpoints_are_written_once_and_resumed_to_the_same_bytes(two: dict[str, Any], folder: Path) -> None:
    runs = two["runs"]
    # The first one, one for each of five records; the others write none.
    assert runs["unbroken"] == [("done", 6), ("done", 0)]
    assert runs["broken-1"] == runs["broken-3"] == [("interrupted", 2), ("interrupted", 0)]
    assert runs["resumed"] == [("done", 1), ("done", 0)]
    assert contents(folder / "broken-3") == contents(folder / "unbroken")
    assert "container.safetensors" in contents(folder / "unbroken")


def test_runs_go_on_with_another_number_of_processes(two: dict[str, Any], folder: Path) -> None:
    assert two["runs"]["from one"] == [("done", 1), ("done", 0)]
    assert run(folder / "broken-1", resume=True) == "done"  # broken off by two, ended by one
    histories = [(folder / name / "history.jsonl").read_text().splitlines() for name in ("from-one", "broken-1")]
    assert len(histories[0]) == len(histories[1]) == 5


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("in use", "holds a finished run"),
        ("other data", "process 1 has other data than process 0"),
        ("step_per", "condense.step_per class"),
        ("diverged", "diverged"),
    ],
)
def test_a_mistake_of_one_process_reaches_all(name: str, words: str, two: dict[str, Any], folder: Path) -> None:
    (first, _), (second, _) = two["runs"][name]
    assert words in first and first == second and "\n" not in first
    assert not (folder / "other").exists()


COMMAND = [
    "hmn",
    "condense",
    "digits",
    "--ipc",
    "10",
    "--recipe",
    "quick",
    "--condense.start.steps",
    "60",
    "--condense.epochs",
    "3",
    "--condense.inner-steps",
    "40",
    "--condense.network.width",
    "8",
    "--checkpoint-seconds",
    "0.05",
]


def wait_for_checkpoint(out: Path, began: float, started: list[subprocess.Popen[str]]) -> None:
    """Until the run that began at `began` has begun to match and saved that."""
    checkpoint = out / "checkpoint.safetensors"
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (checkpoint.exists() and checkpoint.stat().st_mtime > began and "condense" in history(out)):
        assert time.monotonic() < deadline and all(process.poll() is None for process in started)
        time.sleep(0.02)


def history(out: Path) -> str:
    path = out / "history.jsonl"
    return path.read_text() if path.exists() else ""


@pytest.mark.parametrize("lost", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_survivors_say_so_when_a_process_is_gone(tmp_path: Path, lost: int) -> None:
    """Nobody stops them from outside: they notice it themselves."""
    out = tmp_path / "out"
    started = processes(2, *COMMAND, "--out", str(out))
    wait_for_checkpoint(out, 0.0, started)
    began = time.monotonic()
    started[lost].kill()
    output, errors = started[1 - lost].communicate(timeout=DEADLINE_SECONDS)
    started[lost].communicate()
    assert started[1 - lost].returncode == 1 and output == "" and time.monotonic() - began < 30
    last = errors.splitlines()[-1]
    assert last.startswith(f"hmn: process {1 - lost} of 0..1: another process has ended or does not answer")
    assert "--resume" in last and "Traceback" not in errors
    assert (out / "checkpoint.safetensors").exists() and not (out / "container.safetensors").exists()


def test_the_end_after_a_loss_skips_what_aborts() -> None:
    """The backends' own tidying aborts now and then; here something that always does stands for it."""
    code = """
import atexit, os, sys
import hmn.cli.main as cli
from hmn.runtime.launched import ProcessLost
def lost():
    raise ProcessLost("process 0 of 0..1: another process has ended.")
atexit.register(os.abort)
cli.build_app = lost
sys.exit(cli.main(["doctor"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(0, 2, 1), cwd=ROOT, text=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "hmn: process 0 of 0..1: another process has ended.\n"


def test_a_mistake_is_told_once_and_ends_all_with_2(tmp_path: Path) -> None:
    started = processes(
        2, "hmn", "condense", "digits", "--ipc", "10", "--recipe", "quick", "--out", str(tmp_path / "out"), "--resume"
    )
    told = [process.communicate(timeout=DEADLINE_SECONDS) for process in started]
    assert [process.returncode for process in started] == [2, 2]
    assert "nothing to resume there" in told[0][1] and told[1] == ("", "")


@pytest.mark.parametrize("extractor", [False, True])
def test_parts_hold_every_row_once_and_render_as_the_whole(extractor: bool) -> None:
    whole = Hmn(replace(SHAPE, extractor=extractor), class_names=NAMES, normalisation=toy().normalisation)
    parts = [whole.part(classes) for classes in (range(0, 2), range(2, 3))]
    for name, values in whole.named_parameters():
        rows = [part.get_parameter(name) for part in parts]
        shared = whole.rows(name, range(0, 2)) is None
        assert torch.equal(rows[0] if shared else torch.cat(rows), values), name
    assert [len(part) for part in parts] == [12, 4] and parts[1].labels.tolist() == [0] * 4
    with torch.no_grad():  # in one process a part of all classes is the whole, BatchNorm by other means
        everything = torch.arange(16)
        assert torch.allclose(whole.part(range(3)).images(everything), whole.images(everything), atol=1e-6)


def test_shares_are_contiguous_and_near_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    for count in (0, 1, 3, 10, 11):
        for size in (1, 2, 3, 7):
            shares = []
            for rank in range(size):
                monkeypatch.setattr(distributed, "_joined", Place(rank, size))
                shares.append(own_range(count))
            assert [i for share in shares for i in share] == list(range(count))
            assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_what_cannot_be_divided_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    batch_norm = replace(BASE, network=replace(BASE.network, name="resnet18", width=4))
    for size, config, words in (
        (4, BASE, "4 processes for 3 classes"),
        (2, replace(BASE, step_per="class"), "choose sweep"),
        (2, replace(BASE, learned_as="int4"), "learned_as int4: .* without torchrun"),
        (2, batch_norm, "resnet18 has BatchNorm"),
    ):
        monkeypatch.setattr(distributed, "_joined", Place(0, size))
        with pytest.raises(UserError, match=words):
            check_split(config, toy())
        monkeypatch.setattr(distributed, "_joined", Place(0, 1))
        check_split(config, toy())


def test_one_process_is_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.distributed, "init_process_group", None)  # calling it would be an error
    with joined():
        values = torch.ones(3)
        assert distributed.sum_in_place(values) is values
        assert (on_first(lambda: 5), agreed(lambda: 6), any_process(True, False)) == (5, 6, (True, False))
        assert launched() == distributed.place() == Place(0, 1)


def test_bad_variables_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(ENVIRONMENT, ("0", "two", "127.0.0.1", "1"), strict=True):
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="WORLD_SIZE='two': expected whole numbers"):
        launched()
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv(distributed.TIMEOUT, "soon")
    with pytest.raises(UserError, match="HMN_PROCESS_TIMEOUT: got 'soon'"), joined():
        pass
    monkeypatch.setenv(distributed.TIMEOUT, "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("MASTER_PORT", "0")
    with pytest.raises(ProcessLost, match="process 0 of 0..1"), joined():  # the other one never comes
        pass


@pytest.mark.slow
def test_a_process_that_does_not_answer_is_not_waited_for_longer_than_asked(tmp_path: Path) -> None:
    out = tmp_path / "out"
    started = processes(2, *COMMAND, "--out", str(out), **{distributed.TIMEOUT: "5"})
    wait_for_checkpoint(out, 0.0, started)
    started[1].send_signal(signal.SIGSTOP)
    began = time.monotonic()
    _, errors = started[0].communicate(timeout=DEADLINE_SECONDS)
    started[1].kill()
    started[1].communicate()
    assert started[0].returncode == 1 and 4 < time.monotonic() - began < 60
    assert "does not answer" in errors.splitlines()[-1] and "Traceback" not in errors


def torchrun(out: Path, *more: str, count: int = 2) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(count), "-m", *COMMAND]
    own = {name: value for name, value in environment(0, 1, 0).items() if name not in ENVIRONMENT}
    return subprocess.Popen(
        [*command, "--out", str(out), *more],
        env=own,
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def of_rank(rank: int, agent: subprocess.Popen[str]) -> int:
    """The process of a rank among the children of torchrun."""
    for child in Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split():
        if f"\0RANK={rank}\0".encode() in b"\0" + Path(f"/proc/{child}/environ").read_bytes():
            return int(child)
    raise AssertionError(f"no process of rank {rank}")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds torchrun's children in /proc")
def test_torchrun_stopped_killed_and_resumed_ends_with_the_same_bytes(tmp_path: Path) -> None:
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    process = torchrun(unbroken, "--json")
    output, errors = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0, errors
    assert json.loads(output)["out"] == str(unbroken)  # nothing else on stdout
    assert json.loads((unbroken / "run.json").read_text())["processes"] == 2
    for attempt, number in enumerate((signal.SIGTERM, signal.SIGKILL)):
        began = time.time()
        process = torchrun(broken, *(["--resume"] if attempt else []))
        wait_for_checkpoint(broken, began, [process])
        if number == signal.SIGTERM:
            process.send_signal(number)  # torchrun hands it on
        else:
            os.kill(of_rank(1, process), number)
        output, errors = process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode != 0 and output == ""
        told = [line for line in errors.splitlines() if line.startswith("hmn: ")]
        assert len(told) == 1 and "--resume" in told[0], errors
        assert told[0].startswith("hmn: interrupted" if number == signal.SIGTERM else "hmn: process 0 of 0..1: another")
        assert (broken / "checkpoint.safetensors").exists() and not (broken / "container.safetensors").exists()
    process = torchrun(broken, "--resume")
    _, errors = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0, errors
    assert contents(broken) == contents(unbroken)


def test_a_plan_is_of_one_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("hmn.runtime.launched.launched", lambda: Place(0, 2))
    assert main(["condense", "digits", "--ipc", "10", "--out", "unused", "--dry-run"]) == 2
    assert "--dry-run times one process" in capsys.readouterr().err
