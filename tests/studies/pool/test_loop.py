"""Sweeps of small tasks: outcomes, failures, stopping and resuming; the grid and the table."""

from __future__ import annotations

import csv
import json
import os
import signal
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from tests.studies.pool.tasks import KINDS, behave, num_calls, patient, runs_of

from hmn.errors import UserError
from hmn.studies.pool.attempt import LOCK, read_outcome
from hmn.studies.pool.local import LOG, LocalPool
from hmn.studies.pool.loop import State, SweepInterrupted, run_sweep
from hmn.studies.sweep.grid import folder_name, product, short_names
from hmn.studies.sweep.table import groups_of, parts_of, sweep_markdown, write_sweep

PRELOAD = ("tests.studies.pool.tasks",)


def pool(workers: int = 2) -> LocalPool:
    return LocalPool(workers, preload=PRELOAD)


def test_a_run_that_fails_stops_no_other_and_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HMN_TOLD", "yes")
    runs = runs_of(*KINDS, "fine")
    states: list[State] = []
    outcomes = run_sweep(runs, behave, tmp_path, backend=pool(), threads=3, on_change=states.append)
    assert list(outcomes) == [run.name for run in runs]
    by_kind = dict(zip(KINDS, outcomes.values(), strict=False))
    assert by_kind["fine"].value == {"kind": "fine", "threads": "3", "told": "yes"}
    assert by_kind["mistake"].reason == "got 3, expected 4." and by_kind["mistake"].trace is None
    assert by_kind["fault"].reason == "ZeroDivisionError: divided"
    assert "behave" in (by_kind["fault"].trace or "")
    assert "SIGKILL" in (by_kind["killed"].reason or "")
    assert "code 7" in (by_kind["gone"].reason or "") and LOG in (by_kind["gone"].reason or "")
    assert "signal" in (by_kind["terminated"].reason or "")
    statuses = [outcome.status for outcome in outcomes.values()]
    assert statuses == ["done", "failed", "failed", "failed", "failed", "failed", "done"]
    assert states[-1].done == states[-1].total == 7 and max(len(state.running) for state in states) == 2
    assert all(read_outcome(tmp_path / name) == outcome for name, outcome in outcomes.items())
    again = run_sweep(runs, behave, tmp_path, backend=pool(), threads=3)
    assert [outcome.status for outcome in again.values()] == statuses
    calls = [num_calls(tmp_path / run.name) for run in runs]
    assert calls == [1, 2, 2, 2, 2, 2, 1]  # what was done is not repeated, what failed is


def test_each_process_imports_for_itself_without_preload(tmp_path: Path) -> None:
    outcomes = run_sweep(runs_of("fine", "killed"), behave, tmp_path, backend=LocalPool(2), threads=1)
    assert [outcome.status for outcome in outcomes.values()] == ["done", "failed"]


def when(condition: Callable[[], bool], act: Callable[[], object]) -> threading.Thread:
    """Act once a condition holds, beside the test's main thread."""

    def wait() -> None:
        deadline = time.monotonic() + 60
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.01)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_runs_save_and_resuming_goes_on(tmp_path: Path, number: signal.Signals) -> None:
    runs, before = runs_of("a", "b", "c"), signal.getsignal(signal.SIGTERM)
    thread = when(lambda: len(list(tmp_path.glob("*/begun"))) == 2, lambda: os.kill(os.getpid(), number))
    with pytest.raises(SweepInterrupted) as caught:
        run_sweep(runs, patient, tmp_path, backend=pool(), threads=1)
    thread.join()
    assert [outcome.status for outcome in caught.value.outcomes.values()] == ["interrupted"] * 2
    assert [(tmp_path / run.name / "saved").exists() for run in runs] == [True, True, False]
    assert signal.getsignal(signal.SIGTERM) == before
    (tmp_path / runs[2].name).mkdir(exist_ok=True)
    (tmp_path / runs[2].name / "saved").touch()
    outcomes = run_sweep(runs, patient, tmp_path, backend=pool(), threads=1)
    assert [outcome.value for outcome in outcomes.values()] == ["gone on"] * 3


def test_one_sweep_at_a_time_in_a_folder(tmp_path: Path) -> None:
    with FileLock(tmp_path / LOCK), pytest.raises(UserError, match="another sweep works there"):
        run_sweep(runs_of("fine"), behave, tmp_path, backend=pool(), threads=1)
    assert run_sweep(runs_of("fine"), behave, tmp_path, backend=pool(), threads=1)["000-fine"].status == "done"


def test_two_runs_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="same name"):
        run_sweep(runs_of("fine") * 2, behave, tmp_path, backend=pool(), threads=1)


def test_a_damaged_outcome_counts_as_none(tmp_path: Path) -> None:
    runs = runs_of("fine")
    for content in ("{", "[]", '{"status": "done", "colour": "blue"}', ""):
        folder = tmp_path / runs[0].name
        folder.mkdir(exist_ok=True)
        (folder / "outcome.json").write_text(content)
        assert read_outcome(folder) is None
    assert run_sweep(runs, behave, tmp_path, backend=pool(), threads=1)["000-fine"].status == "done"


def test_the_grid_is_every_combination_in_order() -> None:
    points = product({"seed": [0, 1], "condense.lr": [0.1, 0.2, 0.3]})
    assert [tuple(point.values()) for point in points] == [(seed, lr) for seed in (0, 1) for lr in (0.1, 0.2, 0.3)]


def test_names_are_short_and_tell_settings_apart() -> None:
    paths = ["seed", "condense.lr", "condense.network.lr", "condense.network.width", "evaluate.width"]
    names = short_names(paths)
    assert list(names.values()) == ["seed", "condense.lr", "network.lr", "network.width", "evaluate.width"]
    assert short_names(["condense.lr"]) == {"condense.lr": "lr"}
    assert folder_name(7, {"seed": 3, "condense.lr": 0.01}, names, digits=3) == "007-seed-3-condense.lr-0.01"
    name = folder_name(12, {"evaluate.net": "timm/" + "x" * 99}, {"evaluate.net": "net"}, digits=4)
    assert name.startswith("0012-net-timm-xx") and len(name) < 60 and "/" not in name
    assert folder_name(0, {}, {}, digits=3) == "000"


def row(seed: int, lr: float, values: list[float] | None) -> dict:
    accuracy = None if values is None else {"mean": statistics.fmean(values), "std": 0.5, "values": values}
    return {
        "values": {"seed": seed, "condense.lr": lr},
        "run": f"{seed}-{lr}",
        "accuracy_percent": accuracy,
        "status": "done" if values else "failed",
        "reason": None if values else "diverged | badly",
        "trained": None,
        "images": 8,
        "floats": 64,
    }


ROWS = [row(seed, lr, [50.0 + seed + 100 * lr, 52.0 + seed + 100 * lr]) for lr in (0.01, 0.02) for seed in range(3)]


def test_groups_are_means_over_seeds() -> None:
    groups = groups_of([*ROWS[:5], row(2, 0.02, None)])
    assert [group["values"] for group in groups] == [{"condense.lr": 0.01}, {"condense.lr": 0.02}]
    assert [(group["n"], group["failed"], group["networks"]) for group in groups] == [(3, 0, 6), (2, 1, 4)]
    for group, means in zip(groups, ([52.0, 53.0, 54.0], [53.0, 54.0]), strict=True):
        accuracy = group["accuracy_percent"]
        assert accuracy["values"] == means and accuracy["mean"] == pytest.approx(statistics.fmean(means))
        assert accuracy["std"] == pytest.approx(statistics.stdev(means), abs=1e-4)
    assert groups_of([row(0, 0.1, None)])[0]["accuracy_percent"] is None
    assert groups_of([{"values": {"condense.lr": 0.1}}]) == []


def test_tables_are_written_in_every_form(tmp_path: Path) -> None:
    rows = [*ROWS[:5], row(2, 0.02, None)]
    table = {
        "data": "digits",
        "tested_on": "validation",
        "vary": {"seed": [0, 1, 2], "condense.lr": [0.01, 0.02]},
        "groups": groups_of(rows),
        "runs": rows,
    }
    write_sweep(tmp_path, table, {"seconds": []})
    assert json.loads((tmp_path / "table.json").read_text()) == table
    with (tmp_path / "table.csv").open(newline="") as file:
        sheet = list(csv.DictReader(file))
    assert [(line["seed"], line["lr"], line["accuracy %"]) for line in sheet][:2] == [
        ("0", "0.01", "52.00"),
        ("1", "0.01", "53.00"),
    ]
    assert sheet[5]["accuracy %"] == "" and sheet[5]["status"] == "failed"
    with (tmp_path / "groups.csv").open(newline="") as file:
        assert [line["n"] for line in csv.DictReader(file)] == ["3", "2"]
    text = sweep_markdown(table)
    assert text == (tmp_path / "table.md").read_text()
    assert "| 0.02 | 53.50 | 0.71 | 2 | 4 | 8 | 64 | 1 |" in text and "2-0.02 failed: diverged" in text
    assert all(len(line) == len(head) for head, lines in parts_of(table).values() for line in lines)
