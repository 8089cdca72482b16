"""Runs in folders: interrupted at random moments and resumed, a run ends with the same bytes."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hmn.cli.main import main
from hmn.errors import UserError
from hmn.runtime.tensor_files import load_checkpoint, save_checkpoint

COMMAND = [
    sys.executable,
    "-m",
    "hmn",
    "condense",
    "digits",
    "--ipc",
    "10",
    "--recipe",
    "quick",
    "--condense.epochs",
    "3",
    "--condense.inner-steps",
    "20",
    "--condense.start.steps",
    "60",
    "--condense.network.width",
    "8",
    "--checkpoint-seconds",
    "0.05",
]
DEADLINE_SECONDS = 300.0


def start(out: Path, *more: str) -> subprocess.Popen[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("HMN_")}
    environment = {**own, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    return subprocess.Popen(
        [*COMMAND, "--out", str(out), *more], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def contents(out: Path) -> dict[str, bytes]:
    """Every file of a folder, but of run.json, which tells times and the command, no more than that it is there."""
    return {path.name: b"" if path.name == "run.json" else path.read_bytes() for path in out.iterdir()}


def wait_for_progress(out: Path, process: subprocess.Popen[str], began: float, seconds: float) -> None:
    """Until the run that began at `began` has written a checkpoint, and then `seconds` longer."""
    checkpoint = out / "checkpoint.safetensors"
    deadline = time.monotonic() + DEADLINE_SECONDS
    while process.poll() is None:
        with contextlib.suppress(FileNotFoundError):  # not there yet, or the run has just ended
            if checkpoint.stat().st_mtime > began:
                break
        assert time.monotonic() < deadline, f"no checkpoint after {DEADLINE_SECONDS:.0f} s"
        time.sleep(0.02)
    time.sleep(seconds)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "unbroken"
    _, errors = start(out).communicate(timeout=DEADLINE_SECONDS)
    assert "checkpoint" not in [path.stem for path in out.iterdir()], errors
    return out


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """The same command in this process, where its end is not the point: exit code and stderr."""
    for name in [name for name in os.environ if name.startswith("HMN_")]:
        monkeypatch.delenv(name)

    def command(out: Path, *more: str) -> tuple[int, str]:
        code = main([*COMMAND[3:], "--out", str(out), *more])
        return code, capsys.readouterr().err

    return command


def test_interrupted_and_resumed_ends_with_the_same_bytes(tmp_path: Path, unbroken: Path) -> None:
    out = tmp_path / "broken"
    seed = int.from_bytes(os.urandom(4))
    print(f"the signals come at times drawn with seed {seed}")  # pytest shows it where the test fails
    rng = random.Random(seed)
    codes = []
    for attempt, number in enumerate((signal.SIGINT, signal.SIGTERM, signal.SIGKILL)):
        began = time.time()
        process = start(out, *(["--resume"] if attempt else []))
        wait_for_progress(out, process, began, rng.uniform(0, 0.6))
        process.send_signal(number)
        output, errors = process.communicate(timeout=DEADLINE_SECONDS)
        codes.append(process.returncode)
        assert "Traceback" not in errors
        if number != signal.SIGKILL and process.returncode == 130:
            assert "--resume" in errors.splitlines()[-1] and output == ""
            assert (out / "checkpoint.safetensors").exists()
            assert not (out / "container.safetensors").exists()
    assert set(codes) <= {0, 130, -signal.SIGKILL}
    assert 130 in codes, "the run was over before the first signal: make it longer"
    half_written = out / ".checkpoint.safetensors.0a1b2c3d.tmp"
    if codes[-1] != 0:
        half_written.write_bytes(b"cut short")  # as SIGKILL may leave it
    process = start(out, "--resume")
    _, errors = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0, errors
    assert contents(out) == contents(unbroken)


def test_a_second_run_asks_for_force_or_resume(
    tmp_path: Path, unbroken: Path, here: Callable[..., tuple[int, str]]
) -> None:
    out = tmp_path / "used"
    shutil.copytree(unbroken, out)
    before = contents(out)
    for more, words in (([], "--force"), (["--resume", "--seed", "5"], "other settings")):
        code, errors = here(out, *more)
        assert code == 2 and words in errors and "Traceback" not in errors
        assert contents(out) == before
    assert here(out, "--resume")[0] == 0  # finished already: nothing to do
    assert contents(out) == before == contents(unbroken)
    facts = json.loads((out / "run.json").read_text())
    assert facts["condense_seconds"] > 0 and facts["data"] == "digits" and facts["recipe"].startswith("quick")


def test_nothing_to_resume(tmp_path: Path, here: Callable[..., tuple[int, str]]) -> None:
    code, errors = here(tmp_path / "new", "--resume")
    assert code == 2 and "nothing to resume" in errors
    assert not (tmp_path / "new").exists()


def test_damaged_checkpoints_are_told_in_a_line(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, {"a": 1, "b": [2.5, None, (True, "x")], "c": {0: torch.arange(3)}})
    loaded = load_checkpoint(path)
    assert (loaded["a"], loaded["b"]) == (1, [2.5, None, (True, "x")])
    assert torch.equal(loaded["c"][0], torch.arange(3))
    whole = path.read_bytes()
    other_version = whole.replace(b"hmn-checkpoint-2", b"hmn-checkpoint-1")
    for damaged in (whole[:-3], whole[:20], b"", b"\xff" * 200, other_version):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="start again with --force") as caught:
            load_checkpoint(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
