"""`hmn sweep`: broken and resumed it ends with the same table as unbroken; nothing goes on behind a killed one."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from hmn.cli.main import main
from hmn.studies.pool.attempt import LOCK

TINY = [
    "--ipc",
    "1",
    "--recipe",
    "quick",
    "--images",
    "4",
    "--condense.epochs",
    "1",
    "--condense.inner-steps",
    "16",
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
    "--evaluate.width",
    "8",
    "--evaluate.seeds",
    "2",
    "--steps",
    "20",
    "--checkpoint-seconds",
    "0.2",
]
"""Runs of about a second of processor time."""
GRID = ["--vary", "seed=0,1", "--vary", "condense.network.lr=0.01,0.02,0.03,1e6"]
"""Eight runs; the two at 1e6 diverge."""
TABLES = ("table.json", "table.md", "table.csv", "groups.csv")
DEADLINE_SECONDS = 300.0
TOKEN = "SWEEP_TEST_TOKEN"


def sweep_into(out: Path) -> list[str]:
    return ["sweep", "digits", "--out", str(out), "--workers", "2", *TINY]


@contextlib.contextmanager
def started(out: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """A sweep in a process group of its own, as a terminal starts it; whatever the test does, it ends with it."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("HMN_")}
    paths = {"PYTHONPATH": str(Path(__file__).parents[2] / "src"), TOKEN: str(out)}
    process = subprocess.Popen(
        [sys.executable, "-m", "hmn", *sweep_into(out), *more],
        env={**own, **paths},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def swept(out: Path, *more: str, code: int = 0) -> tuple[str, str]:
    """stdout and stderr of a sweep that runs to its end, in this process: all share one server of workers."""
    with redirect_stdout(io.StringIO()) as output, redirect_stderr(io.StringIO()) as errors:
        ended = main([*sweep_into(out), *more])
    assert ended == code, errors.getvalue()
    assert "Traceback" not in errors.getvalue()
    return output.getvalue(), errors.getvalue()


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited for {what} in vain"
        time.sleep(0.01)


def processes_of(out: Path) -> list[int]:
    """Processes that the sweep into a folder has started, found by a variable that they inherit."""
    mark = f"{TOKEN}={out}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def done_runs(out: Path) -> dict[str, int]:
    """When each run that is done ended."""
    return {
        path.parent.name: path.stat().st_mtime_ns
        for path in out.glob("*/outcome.json")
        if json.loads(path.read_text())["status"] == "done"
    }


def begun(out: Path) -> list[str]:
    """Runs whose condensation has a checkpoint."""
    return [path.parts[-3] for path in out.glob("*/condensed/checkpoint.safetensors")]


def containers(out: Path) -> dict[str, bytes]:
    return {path.parts[-3]: path.read_bytes() for path in out.glob("*/condensed/container.safetensors")}


def read_table(out: Path) -> dict:
    return json.loads((out / "table.json").read_text())


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sweeps") / "unbroken"
    output, errors = swept(out, *GRID, code=1)  # two runs fail
    assert "diverged after sweep" in output and "of 8" not in errors
    return out


def test_killed_in_the_middle_and_resumed_ends_with_the_same_table(tmp_path: Path, unbroken: Path) -> None:
    out = tmp_path / "broken"
    with started(out, *GRID) as process:
        wait_for(lambda: process.poll() is not None or (len(done_runs(out)) >= 2 and bool(begun(out))), "two runs")
        assert process.poll() is None, "the sweep was over before it was killed: make the runs longer"
        process.kill()  # the parent alone: its workers notice
        if sys.platform.startswith("linux"):
            wait_for(lambda: not processes_of(out), "the workers' end")
    done, left, whole = done_runs(out), begun(out), containers(out)
    assert 2 <= len(done) < 6
    assert not (out / "table.json").exists()
    _, errors = swept(out, *GRID, "--resume", code=1)
    assert f"{len(done)} of 8 runs are done already" in errors
    assert {name: when for name, when in done_runs(out).items() if name in done} == done
    assert containers(out).items() >= whole.items()
    print(f"{len(done)} runs were done, {left} had a checkpoint")
    for name in TABLES:
        assert (out / name).read_bytes() == (unbroken / name).read_bytes(), name
    assert containers(out) == containers(unbroken) and len(whole) < 6


def test_the_table_has_a_row_for_every_run_and_group(unbroken: Path) -> None:
    table = read_table(unbroken)
    assert [row["values"] for row in table["runs"]] == [
        {"seed": seed, "condense.network.lr": lr} for seed in (0, 1) for lr in (0.01, 0.02, 0.03, 1e6)
    ]
    assert [row["status"] for row in table["runs"]] == ["done", "done", "done", "failed"] * 2
    assert all("diverged" in row["reason"] for row in table["runs"] if row["status"] == "failed")
    means = [row["accuracy_percent"]["mean"] for row in table["runs"] if row["status"] == "done"]
    assert len(set(means)) > 1, "accuracies that are all alike show nothing"
    assert [(group["n"], group["failed"], group["networks"]) for group in table["groups"]] == [(2, 0, 4)] * 3 + [
        (0, 2, 0)
    ]
    facts = json.loads((unbroken / "facts.json").read_text())
    assert facts["threads_per_run"] >= 1 and facts["seconds"][0]["condense_seconds"] > 0
    assert "digits: validation accuracy" in (unbroken / "table.md").read_text()


def test_a_run_is_what_evaluate_makes_of_it(unbroken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And a validation accuracy is one of images that the condensation has not seen."""
    row = read_table(unbroken)["runs"][1]
    folder = unbroken / row["run"] / "condensed"
    flags = ["--steps", "20", "--on", "validation", "--json"]
    assert main(["evaluate", str(folder), *flags]) == 0
    found = json.loads(capsys.readouterr().out)
    # Another number of threads may round sums otherwise: one image of 144 is 0.7 %.
    assert found["accuracy_percent"]["values"] == pytest.approx(row["accuracy_percent"]["values"], abs=0.8)
    assert found["test_images"] == row["test_images"]
    record = json.loads((folder / "run.json").read_text())
    seen = int(record["identity"]["data"].split()[0])
    assert main(["evaluate", "digits", "--steps", "1", "--seeds", "1", "--on", "validation", "--json"]) == 0
    assert seen == json.loads(capsys.readouterr().out)["images"] and "validation" in record["condensed_from"]
    assert record["command"].startswith("hmn sweep digits")


def refused(capsys: pytest.CaptureFixture[str], arguments: list[str], *parts: str) -> None:
    """The command ends with 2 and one line on stderr that holds every part."""
    capsys.readouterr()
    assert main(["sweep", "digits", *arguments]) == 2
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if line.startswith("hmn: ")]
    assert out == "" and len(lines) == 1 and "Traceback" not in err
    for part in parts:
        assert part in lines[0], lines[0]


def test_another_sweep_in_the_folder_is_refused(
    unbroken: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in unbroken.rglob("*")}
    same = ["--out", str(unbroken), *TINY, *GRID]
    refused(capsys, same, "6 of 8 runs done", "--resume", "--force")
    refused(capsys, [*same[:-1], "condense.network.lr=0.01", "--resume"], "another grid", "seed=0,1, condense.network")
    refused(capsys, [*same, "--on", "test", "--resume"], "data")
    refused(capsys, [*same, "--condense.lr", "0.5", "--resume"], "another settings", "--force")
    refused(capsys, [*same, "--channels", "3", "--resume"], "data")
    with FileLock(unbroken / LOCK):
        refused(capsys, [*same, "--force"], "another sweep works there")
    refused(capsys, ["--out", str(tmp_path / "new"), *TINY, *GRID, "--resume"], "no sweep to resume")
    (tmp_path / "mine.txt").touch()
    refused(capsys, ["--out", str(tmp_path), *TINY, *GRID], "holds other files")
    refused(capsys, ["--out", str(tmp_path / "mine.txt"), *TINY, *GRID], "a file is there")
    assert {path: path.stat().st_mtime_ns for path in unbroken.rglob("*")} == before
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([], ["nothing varies"]),
        (["--vary", "seed"], ["--vary seed", "seed=0,1,2"]),
        (["--vary", "seed="], ["--vary seed", "missing"]),
        (["--vary", "seed=1,,2"], ["--vary seed", "missing"]),
        (["--vary", "=1"], ["--vary =1"]),
        (["--vary", "sed=1"], ["no setting is called sed", "did you mean seed?"]),
        (["--vary", "condense.lrr=1"], ["did you mean condense.lr?"]),
        (["--vary", "name=a"], ["no setting is called name"]),
        (["--vary", "seed=1,two"], ["--vary seed", "'two'", "a whole number"]),
        (["--vary", "condense.lr=small"], ["'small'", "a number"]),
        (["--vary", "condense.schedule=linear"], ["'linear'", "cosine"]),
        (["--vary", "dtype=int2"], ["int4"]),
        (["--vary", "recipe=quik"], ["quick"]),
        (["--vary", "seed=1,1"], ["1 is given twice"]),
        (["--vary", "seed=1", "--vary", "seed=2"], ["--vary seed is given twice"]),
        (["--vary", "seed=1,2", "--seed", "3"], ["--seed and --vary seed"]),
        (["--vary", "dtype=int8", "--dtype", "int8"], ["--dtype and --vary dtype"]),
        (["--vary", "condense.lr=1", "--condense.lr", "2"], ["--condense.lr and --vary condense.lr"]),
        (["--vary", "condense.lr=0.1,-1"], ["condense.lr -1", "above 0"]),
        (["--vary", "evaluate.net=convnet2,convnet0x"], ["evaluate.net"]),
        (["--vary", "images=1,9999"], ["more than the budget"]),
        (["--vary", "seed=-1"], ["seed -1"]),
        (["--vary", "seed=1", "--workers", "0"], ["--workers 0"]),
        (["--vary", "seed=1", "--threads-per-run", "0"], ["--threads-per-run 0"]),
        (["--vary", "seed=1", "--steps", "0"], ["--steps 0"]),
        (["--vary", "seed=1", "--force", "--resume"], ["one of them"]),
        (["--vary", "seed=1", "--on", "val"], ["--on", "validation"]),
        (["--vary", "seed=1", "--backend", "cloud"], ["--backend", "ray"]),
        (["--vary", "seed=1", "--address", "auto"], ["--backend ray"]),
        (["--vary", "seed=1", "--slurm", "partition=x"], ["--backend slurm"]),
        (["--vary", "seed=1", "--config", "absent.toml"], ["absent.toml"]),
        (["--vary", ",".join(["seed=0", *map(str, range(1, 10_001))])], ["10,001 points"]),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], parts: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    refused(capsys, ["--ipc", "1", "--recipe", "quick", "--out", str(tmp_path / "x"), *arguments], *parts)
    assert not (tmp_path / "x").exists()


def test_ipc_is_needed_unless_it_varies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--recipe", "quick", "--out", str(tmp_path / "x"), "--dry-run", "--json"]
    refused(capsys, [*arguments, "--vary", "seed=1"], "--ipc")
    assert main(["sweep", "digits", *arguments, "--vary", "ipc=1,2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [point["values"] for point in found["points"]] == [{"ipc": 1}, {"ipc": 2}]


def test_dry_run_and_a_grid_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs that differ in their evaluation alone share a condensation; a flag has precedence over the file."""
    config = tmp_path / "grid.toml"
    config.write_text(
        '[condense]\nlr = 0.3\n[vary]\nseed = [0, 1]\n"recipe" = ["quick", "fast"]\n'
        '[vary.evaluate]\nnet = ["convnet1", "convnet2"]\n'
    )
    out = tmp_path / "x"
    command = ["sweep", "digits", "--ipc", "1", "--config", str(config), "--out", str(out), "--dry-run"]
    assert main([*command, "--vary", "seed=5", "--workers", "9", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(point["run"], point["evaluation"]) for point in found["points"]] == [
        ("000-seed-5-recipe-quick", "evaluation.json"),
        ("000-seed-5-recipe-quick", "evaluation-1.json"),
        ("001-seed-5-recipe-fast", "evaluation.json"),
        ("001-seed-5-recipe-fast", "evaluation-1.json"),
    ]
    assert found["workers"] == 2  # no more than there are runs
    assert all("\nlr = 0.3\n" in run["recipe"] for run in found["identity"]["runs"].values())
    assert main(command) == 0
    text = capsys.readouterr().out
    assert "4 condensations, 8 evaluations" in text and "convnet1" in text
    assert not out.exists()
    for words, part in (
        ("seed = 1", "expected a list"),
        ("seeed = [1]", "did you mean seed?"),
        ("seed = []", "missing"),
    ):
        config.write_text(f"[vary]\n{words}\n")
        refused(capsys, ["--ipc", "1", "--config", str(config), "--out", str(out)], str(config), part)


@pytest.mark.slow
def test_ctrl_c_then_resume_is_what_condense_makes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "stopped"
    flags = ["--vary", "seed=0,1,2", "--vary", "evaluate.net=convnet2,convnet1", "--on", "test"]
    flags += ["--threads-per-run", str(torch.get_num_threads())]  # as many as `hmn condense` takes below
    with started(out, *flags) as process:
        wait_for(lambda: process.poll() is not None or len(begun(out)) == 2, "two checkpoints")
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: parent and workers
        output, errors = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 130 and output == "" and "Traceback" not in errors
    assert errors.splitlines()[-1].startswith("hmn: interrupted; ") and "--resume" in errors.splitlines()[-1]
    assert begun(out) and not done_runs(out) and not (out / "table.json").exists()
    if sys.platform.startswith("linux"):
        wait_for(lambda: not processes_of(out), "the workers' end")
    output, errors = swept(out, *flags, "--resume", "--json")
    found = json.loads(output)
    assert {key: found[key] for key in ("runs", "groups")} == {key: read_table(out)[key] for key in ("runs", "groups")}
    assert len(done_runs(out)) == 3 and len(found["runs"]) == 6
    assert [group["values"] for group in found["groups"]] == [
        {"evaluate.net": "convnet2"},
        {"evaluate.net": "convnet1"},
    ]
    at = TINY.index("--steps")
    condense = TINY[:at] + TINY[at + 2 :]
    assert main(["condense", "digits", "--out", str(tmp_path / "direct"), *condense, "--evaluate.net", "convnet2"]) == 0
    run = next(row["run"] for row in found["runs"] if row["values"]["seed"] == 0)
    for name in ("container.safetensors", "recipe.toml", "history.jsonl"):
        assert (out / run / "condensed" / name).read_bytes() == (tmp_path / "direct" / name).read_bytes(), name


@pytest.mark.slow
def test_force_begins_anew_and_keeps_what_is_not_its_own(tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    swept(out, "--vary", "seed=0,1")
    first = read_table(out)
    (out / "notes.txt").write_text("mine")
    swept(out, "--vary", "dtype=int8", "--force")
    assert (
        [row["run"] for row in read_table(out)["runs"]] == ["000-dtype-int8"] != [row["run"] for row in first["runs"]]
    )
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == ["000-dtype-int8"]
    assert (out / "notes.txt").read_text() == "mine" and not (out / "groups.csv").exists()
