"""Runs in folders: interrupted at random moments and resumed, a run ends with the same bytes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from hmn.checkpoint import load_checkpoint, save_checkpoint
from hmn.errors import UserError

COMMAND = [
    sys.executable, "-m", "hmn", "condense", "digits", "--ipc", "10", "--recipe", "quick",
    "--condense.epochs", "3", "--condense.inner-steps", "20", "--condense.start.steps", "60",
    "--condense.network.width", "8", "--checkpoint-seconds", "0.05",
]  # fmt: skip
SAME = ("container.safetensors", "ledger.json", "history.jsonl", "recipe.toml", "preview.png", "README.md")


def start(out: Path, *more: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*COMMAND, "--out", str(out), *more], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def contents(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in SAME}


def wait_for_progress(out: Path, process: subprocess.Popen[str], began: float, seconds: float) -> None:
    """Until the run that began at `began` has written a checkpoint, and then `seconds` longer."""
    checkpoint = out / "checkpoint.safetensors"
    while process.poll() is None and not (checkpoint.exists() and checkpoint.stat().st_mtime > began):
        time.sleep(0.02)
    time.sleep(seconds)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("runs") / "unbroken"
    _, errors = start(out).communicate(timeout=300)
    assert "checkpoint" not in [path.stem for path in out.iterdir()], errors
    return contents(out)


def test_interrupted_and_resumed_ends_with_the_same_bytes(tmp_path: Path, unbroken: dict[str, bytes]) -> None:
    out = tmp_path / "broken"
    rng = random.Random(int.from_bytes(os.urandom(4)))
    codes = []
    for attempt, number in enumerate((signal.SIGINT, signal.SIGTERM, signal.SIGKILL, signal.SIGKILL)):
        began = time.time()
        process = start(out, *(["--resume"] if attempt else []))
        wait_for_progress(out, process, began, rng.uniform(0, 0.6))
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        codes.append(process.returncode)
        assert "Traceback" not in errors
        if number != signal.SIGKILL and process.returncode == 130:
            assert "--resume" in errors
    assert set(codes) <= {0, 130, -signal.SIGKILL}
    assert 130 in codes, "the run was over before the first signal: make it longer"
    process = start(out, "--resume")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert contents(out) == unbroken


def test_a_second_run_asks_for_force_or_resume(tmp_path: Path, unbroken: dict[str, bytes]) -> None:
    out = tmp_path / "used"
    assert start(out).wait(timeout=300) == 0
    before = contents(out)
    for more, words in (
        ([], "--force"),
        (["--resume", "--seed", "5"], "other settings"),
    ):
        process = start(out, *more)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 2 and words in errors and "Traceback" not in errors
        assert contents(out) == before
    assert start(out, "--resume").wait(timeout=60) == 0  # finished already: nothing to do
    assert contents(out) == before == unbroken
    facts = json.loads((out / "run.json").read_text())
    assert facts["condense_seconds"] > 0 and facts["data"] == "digits" and facts["recipe"].startswith("quick")


def test_nothing_to_resume(tmp_path: Path) -> None:
    process = start(tmp_path / "new", "--resume")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2 and "nothing to resume" in errors
    assert not (tmp_path / "new").exists()


def test_damaged_checkpoints_are_told_in_a_line(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, {"a": 1, "b": [2.5, None, (True, "x")], "c": {0: torch.arange(3)}})
    loaded = load_checkpoint(path)
    assert (loaded["a"], loaded["b"]) == (1, [2.5, None, (True, "x")])
    assert torch.equal(loaded["c"][0], torch.arange(3))
    whole = path.read_bytes()
    other_version = whole.replace(b"hmn-checkpoint-1", b"hmn-checkpoint-9")
    for damaged in (whole[:-3], whole[:20], b"", b"\xff" * 200, other_version):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="start again with --force") as caught:
            load_checkpoint(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
