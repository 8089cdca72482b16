"""`hmn compare`, whole: killed and resumed it ends with the same table; rows are added to it; failures have rows."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from hmn.cli.main import main
from hmn.studies.compare.table import score_rounds

TINY = [
    "--condense.epochs",
    "1",
    "--condense.inner-steps",
    "30",
    "--condense.start.steps",
    "10",
    "--condense.network.width",
    "4",
    "--condense.network.update-batches",
    "1",
    "--condense.real-per-class",
    "4",
    "--condense.generated-per-class",
    "4",
]
PROTOCOL = ["--protocol", "quick", "--steps", "10", "--width", "8", "--seeds", "2"]
FLAGS = ["--ipc", "1", "--recipe", "quick", "--checkpoint-seconds", "0.1", *PROTOCOL, *TINY]
DEADLINE_SECONDS = 300.0


@contextlib.contextmanager
def started(out: Path, *flags: str) -> Iterator[subprocess.Popen[str]]:
    """A comparison in a process group of its own, as a terminal starts it; whatever the test does, it ends with it."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("HMN_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "hmn", "compare", "digits", "--out", str(out), "--workers", "2", *flags],
        env={**own, "PYTHONPATH": str(Path(__file__).parents[2] / "src"), "HMN_COMPILE": "0"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def compared(out: Path, *flags: str, code: int = 0) -> None:
    """A comparison that runs to its end, in this process: all share one server of workers."""
    assert main(["compare", "digits", "--out", str(out), "--workers", "2", *flags]) == code


def wait_for(process: subprocess.Popen[str], condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert process.poll() is None, f"the comparison was over before {what}: make its runs longer"
        assert time.monotonic() < deadline, f"waited for {what} in vain"
        time.sleep(0.005)


def done(out: Path, pattern: str = "*") -> dict[str, int]:
    """When each run that is done ended."""
    return {
        path.parent.name: path.stat().st_mtime_ns
        for path in out.glob(f"{pattern}/outcome.json")
        if json.loads(path.read_text())["status"] == "done"
    }


def content(out: Path) -> dict[str, Any]:
    """The table but for times and machine."""
    table = json.loads((out / "table.json").read_text())
    del table["facts"]
    for row in table["rows"]:
        del row["made"]
    return table


def containers(out: Path) -> dict[str, bytes]:
    return {path.parts[-3]: path.read_bytes() for path in out.glob("*/condensed/container.safetensors")}


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that `hmn condense` wrote, stored as float16."""
    out = tmp_path_factory.mktemp("before") / "linear"
    own = ["--container", "linear", "--objective", "gradient", "--dtype", "float16"]
    assert main(["condense", "digits", "--ipc", "1", "--recipe", "quick", "--out", str(out), *own, *TINY]) == 0
    return out


@pytest.fixture(scope="module")
def flags(before: Path) -> list[str]:
    return ["--methods", f"jpeg,mosaic,hmn,old={before}", *FLAGS]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, flags: list[str]) -> Path:
    out = tmp_path_factory.mktemp("comparisons") / "unbroken"
    compared(out, *flags)
    return out


def half_condensed(out: Path) -> bool:
    return bool(list(out.glob("*/condensed/checkpoint.safetensors")))


@pytest.mark.parametrize("when", ["condensing", pytest.param("training", marks=pytest.mark.slow)])
def test_killed_and_resumed_ends_with_the_same_table(
    when: str, tmp_path: Path, unbroken: Path, flags: list[str]
) -> None:
    """The whole process group is killed in the middle of it."""
    out = tmp_path / "broken"
    reached = half_condensed if when == "condensing" else lambda out: len(done(out, "*-seed-*")) >= 3
    with started(out, *flags) as process:
        wait_for(process, lambda: reached(out), when)
        os.killpg(process.pid, signal.SIGKILL)
    kept = done(out)
    assert len(kept) < len(done(unbroken)) and not (out / "table.json").exists()
    assert (len(containers(out)) < 2) == (when == "condensing")
    compared(out, *flags, "--resume")
    assert {name: when for name, when in done(out).items() if name in kept} == kept
    assert content(out) == content(unbroken) and containers(out) == containers(unbroken)


@pytest.mark.slow
@pytest.mark.parametrize("when", ["condensing", "done with condensing"])
def test_ctrl_c_says_how_to_go_on(when: str, tmp_path: Path, unbroken: Path, flags: list[str]) -> None:
    out = tmp_path / "stopped"
    with started(out, *flags) as process:
        reached = half_condensed if when == "condensing" else lambda out: len(containers(out)) == 2
        wait_for(process, lambda: reached(out), when)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: parent and workers
        output, errors = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 130 and output == "" and "Traceback" not in errors
    assert errors.splitlines()[-1].startswith("hmn: interrupted; ") and "--resume" in errors.splitlines()[-1]
    assert not done(out, "*-seed-*") or when != "condensing"
    compared(out, *flags, "--resume")
    assert content(out) == content(unbroken) and containers(out) == containers(unbroken)


def test_every_row_has_its_accounts(unbroken: Path, before: Path) -> None:
    table = json.loads((unbroken / "table.json").read_text())
    rows = {row["method"]: row for row in table["rows"]}
    assert {*rows} == {"jpeg", "mosaic", "hmn", "old", "random", "whole"}
    assert [row["method"] for row in table["rows"]][-1] == "whole"
    means = [row["accuracy_percent"]["mean"] for row in table["rows"][:-1]]
    assert means == sorted(means, reverse=True) and len({*means}) > 1
    assert {row["train_steps"] for row in table["rows"]} == {10}
    assert all(row["status"] == "done" and len(row["accuracy_percent"]["values"]) == 2 for row in table["rows"])
    assert rows["random"]["images"] == 10 and rows["random"]["floats"] == rows["mosaic"]["floats"] == 640
    assert rows["mosaic"]["bytes"] == 2560 and 0 < rows["jpeg"]["bytes"] <= 2560
    old = rows["old"]
    assert (old["container"], old["objective"], old["distance"]) == ("linear", "gradient", "squared")
    assert old["stored_as"] == "float16" and old["made"]["sha256"] and "float16" in old["detail"]
    record = json.loads((before / "run.json").read_text())
    assert old["made"]["condense_seconds"] == record["condense_seconds"]
    made = rows["hmn"]["made"]
    assert made["condense_seconds"] > 0 and made["processor_seconds"] > 0 and made["peak_memory_bytes"] > 1e8
    values = {name: rows[name]["accuracy_percent"]["values"] for name in rows}
    wanted = score_rounds(values["hmn"], whole=values["whole"], random=values["random"])
    assert rows["hmn"]["label_robust_score"]["mean"] == pytest.approx(wanted["mean"], abs=2e-4)
    assert rows["whole"]["label_robust_score"] is None
    facts = table["facts"]
    assert facts["command"].startswith("hmn compare digits") and facts["hardware"]["cpu"] and facts["versions"]
    assert table["protocol"]["train_steps"] == 10 and table["protocol"]["width"] == 8
    assert "| hmn | 1 |" in (unbroken / "table.md").read_text()
    assert "10 optimizer steps" in (unbroken / "table.html").read_text()


def test_a_row_is_what_evaluate_makes_of_it(unbroken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = {row["method"]: row for row in json.loads((unbroken / "table.json").read_text())["rows"]}
    threads = torch.get_num_threads()
    torch.set_num_threads(json.loads((unbroken / "sweep.json").read_text())["threads"]["trainings"])
    try:
        folder = unbroken / "0001-mosaic" / "condensed"
        assert main(["evaluate", str(folder), *PROTOCOL, "--against", "random,whole", "--json"]) == 0
    finally:
        torch.set_num_threads(threads)
    found = json.loads(capsys.readouterr().out)
    assert found["accuracy_percent"] == rows["mosaic"]["accuracy_percent"]
    for other, name in zip(found["against"], ("random", "whole"), strict=True):
        assert other["accuracy_percent"] == rows[name]["accuracy_percent"]


def test_rows_are_added_and_other_settings_refused(
    unbroken: Path, flags: list[str], before: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "more"
    shutil.copytree(unbroken, out)
    kept = done(out)

    def refused(arguments: list[str], *parts: str) -> None:
        assert main(["compare", "digits", "--out", str(out), *arguments]) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert all(part in error for part in parts), error

    refused(flags, "runs done", "--resume", "--force")
    refused([*flags, "--resume", "--set", "hmn:condense.lr=0.5"], "0001-hmn", "other settings", "--force")
    refused([*flags, "--resume", "--on", "validation"], "data")
    refused([*flags, "--resume", "--schedule", "multistep"], "another settings")
    refused([flags[0], f"old={before}", "--ipc", "2", *FLAGS[4:], "--resume"], "budget of 1 IPC", "--ipc")
    added = ["--methods", "pixels", *FLAGS, "--stored", "int8,int4", "--resume", "--json"]
    compared(out, *added, "--set", "pixels:condense.inner_steps=2")
    found = json.loads(capsys.readouterr().out)
    assert {row["method"] for row in found["rows"]} == {"pixels", "random", "whole"}
    pixels = next(row for row in found["rows"] if row["method"] == "pixels")
    assert 640 < pixels["stored"]["int8"]["bytes"] < pixels["bytes"] == 2560
    assert 320 < pixels["stored"]["int4"]["bytes"] < pixels["stored"]["int8"]["bytes"]
    assert all(len(pixels["stored"][dtype]["accuracy_percent"]["values"]) == 2 for dtype in ("int8", "int4"))
    assert {name: when for name, when in done(out).items() if name in kept} == kept
    assert len(done(out)) == len(kept) + 1 + 2 + 2 + 2


def test_a_method_that_fails_has_a_row_that_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--methods", "hmn", *FLAGS, "--set", "hmn:condense.network.lr=1e6"]
    compared(tmp_path / "x", *flags, code=1)
    output, errors = capsys.readouterr()
    rows = {row["method"]: row for row in json.loads((tmp_path / "x" / "table.json").read_text())["rows"]}
    assert rows["hmn"]["status"] == "failed" and rows["random"]["status"] == "done"
    assert "diverged" in rows["hmn"]["reason"] and "diverged" in errors
    assert "failed" in output and "hmn at 1 IPC failed" in (tmp_path / "x" / "table.md").read_text()
