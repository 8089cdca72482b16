"""The dial of a recipe: minutes into iterations, which are then kept."""

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from hmn.cli.main import main
from hmn.condensation.cost.price import Estimate, Price
from hmn.containers.artifact.place import CONTAINER
from hmn.containers.shape import Shape
from hmn.data.real import Splits
from hmn.recipes.settings import Recipe


def timed(splits: Splits, shape: Shape, recipe: Recipe) -> Estimate:
    """A machine of two seconds an iteration, after 100 for experts and fitting."""
    total = 100 + 2 * recipe.condense.num_sweeps
    return Estimate(2.0, 2.0, 0.0, 10.0, total, None, 1, 1, timing_seconds=8.0, expert_seconds=90.0)


SHORT = ["--trajectory.experts", "1", "--trajectory.max-start-epoch", "1", "--trajectory.student-steps", "2"]


def planned(capsys: pytest.CaptureFixture[str], tmp_path: Path, *more: str) -> dict[str, Any]:
    command = ["condense", "digits", "--ipc", "10", "--recipe", "fast", "--out", str(tmp_path / "out"), "--dry-run"]
    assert main([*command, "--json", *more]) == 0
    return tomllib.loads(json.loads(capsys.readouterr().out)["recipe_toml"])


def test_minutes_less_experts_and_fitting_are_iterations(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for caller in ("job", "cost.price"):  # in this order: job must not be loaded with the other one replaced
        monkeypatch.setattr(f"hmn.condensation.{caller}.price", lambda *given: Price(timed(*given), None))
    assert planned(capsys, tmp_path)["condense"]["epochs"] == 400
    found = planned(capsys, tmp_path, "--minutes", "20")
    assert (found["name"], found["minutes"], found["condense"]["epochs"]) == ("fast", 20.0, (1200 - 8 - 100) / 2)
    assert planned(capsys, tmp_path, "--minutes", "1")["condense"]["epochs"] == 20
    assert planned(capsys, tmp_path, "--minutes", "60")["trajectory"]["student_steps"] == 100
    assert planned(capsys, tmp_path, "--minutes", "20", "--condense.epochs", "7")["condense"]["epochs"] == 7


def test_what_the_dial_cannot_be_given_with(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    command = ["condense", "digits", "--ipc", "10", "--out", str(tmp_path / "out"), "--minutes", "20"]
    assert main([*command, "--recipe", "quick"]) == 2
    assert "--minutes 20: recipe quick has no such dial: expected one of fast." in capsys.readouterr().err
    whole = tmp_path / "recipe.toml"
    whole.write_text('name = "fast"\ncost = "none"\nipc = 10\n')
    assert main([*command, "--config", str(whole)]) == 2
    assert "which says how many iterations: give one of them" in capsys.readouterr().err


@pytest.mark.slow
def test_a_timed_run_repeats_from_its_recipe_and_resumes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("hmn.condensation.cost.price.BUDGET_SECONDS", 0.5)

    def condensed(name: str, *more: str) -> str:
        out = tmp_path / name
        assert main(["condense", "digits", "--ipc", "10", "--out", str(out), *more]) == 0
        return hashlib.sha256((out / CONTAINER).read_bytes()).hexdigest()

    command = ["--recipe", "fast", "--minutes", "0.05", *SHORT]
    first = condensed("timed", *command)
    assert condensed("again", "--config", str(tmp_path / "timed" / "recipe.toml")) == first
    monkeypatch.setattr(  # another moment of the machine
        "hmn.condensation.cost.price.price", lambda *given: Price(timed(*given), None)
    )
    assert condensed("timed", *command, "--resume") == first
