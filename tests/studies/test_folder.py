"""The engine of studies: done runs are kept, rows are added, another study is refused, interruptions say what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.cli.test_prune import Here

from hmn.errors import Interruption, UserError
from hmn.studies.folder import PLAN, Study, plan_of, run_names
from hmn.studies.pool.attempt import SweepRun
from hmn.studies.pool.loop import SweepInterrupted
from hmn.studies.where import Where

IDENTITY = {"data": {"train": "a", "test": "b"}, "tested_on": "test", "runs": {"steps": 1}}


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr("hmn.studies.pool.loop.POLL_SECONDS", 0.0)
    monkeypatch.setattr("hmn.studies.where.Where.pool", lambda *_, **__: Here())


def count(payload: float, folder: Path) -> dict[str, Any]:
    with (folder / "calls").open("a") as file:
        file.write("x")
    if payload < 0:
        raise UserError(f"got {payload}.")
    return {"accuracies": [payload]}


def study(out: Path, *names: str, rows: dict[str, Any] | None = None, **identity: Any) -> Study:
    points = [{"run": name} for name in names]
    return Study(out, Where(workers=1), plan_of({**IDENTITY, **identity}, points, rows))


def run(made: Study, **payloads: float) -> dict[str, str]:
    runs = [SweepRun(name=f"{name}-x", payload=value) for name, value in payloads.items()]
    return {name: outcome.status for name, outcome in made.run("trials", runs, count).items()}


def begun(out: Path, *names: str, **more: Any) -> Study:
    made = study(out, *names, **more)
    made.open(resume=False, force=False)
    return made


def test_rows_are_added_and_what_is_done_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "x"
    first = begun(out, "001-x", rows={"001": {"lr": 1}})
    assert not out.exists(), "nothing changes before the first run"
    assert run(first, **{"001": 50.0, "002": -1.0}) == {"001-x": "done", "002-x": "failed"}
    errors = capsys.readouterr().err
    assert "2 trials, 1 at a time on" in errors
    assert "001-x done in" in errors and ": 50.0 %" in errors and "002-x failed: got -1.0." in errors
    more = study(out, "001-x", "003-x", rows={"003": {"lr": 2}})
    more.open(resume=True, force=False)
    assert run(more, **{"001": 50.0, "003": 60.0}) == {"001-x": "done", "003-x": "done"}
    assert "1 of 2 trials are done already." in capsys.readouterr().err
    assert (out / "001-x" / "calls").read_text() == "x"
    plan = json.loads((out / PLAN).read_text())
    assert run_names(plan) == ["001-x", "002-x", "003-x"] and plan["rows"] == {"001": {"lr": 1}, "003": {"lr": 2}}


def test_another_study_is_refused_and_force_removes_the_old_one(tmp_path: Path) -> None:
    out = tmp_path / "x"
    run(begun(out, "001-x", rows={"001": {"lr": 1}}), **{"001": 50.0})
    before = (out / PLAN).read_bytes()
    for made, words in (
        (study(out, tested_on="validation"), r"another --on \(tested_on was test\)"),
        (study(out, data={}), "another data"),
        (study(out, runs={}), "another settings"),
        (study(out, rows={"001": {"lr": 2}}), "001 was begun there with other settings"),
    ):
        with pytest.raises(UserError, match=words):
            made.open(resume=True, force=False)
    with pytest.raises(UserError, match=r"holds a sweep \(1 of 1 runs done\)"):
        begun(out)
    assert (out / PLAN).read_bytes() == before
    (out / "mine.txt").touch()
    anew = study(out, "005-x")
    anew.open(resume=False, force=True)
    run(anew, **{"005": 1.0})
    assert sorted(path.name for path in out.iterdir() if path.name != ".lock") == ["005-x", "mine.txt", PLAN]


def test_threads_stay_those_that_it_began_with(tmp_path: Path) -> None:
    made = begun(tmp_path / "x")
    made.plan["threads"]["trials"] = 7
    run(made, **{"001": 1.0})
    assert made.threads == {"trials": 7}
    again = Study(tmp_path / "x", Where(workers=1, threads_per_run=3), plan_of(IDENTITY, []))
    again.open(resume=True, force=False)
    run(again, **{"002": 1.0})
    assert again.threads == {"trials": 3}


def test_an_interruption_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise SweepInterrupted({})

    made = begun(tmp_path / "x")
    monkeypatch.setattr("hmn.studies.folder.run_sweep", interrupted)
    with pytest.raises(Interruption, match=r"^interrupted; 0 of 1 trials are done, .*--resume to go on\.$"):
        run(made, **{"001": 1.0})
