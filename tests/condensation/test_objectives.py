"""Trajectory matching and unrolled training as runs in folders: broken off, resumed, priced, refused."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import hmn
import hmn.condensation.objectives.experts
from hmn.cli.main import main
from hmn.condensation.check import check_recipe
from hmn.condensation.cost.price import price
from hmn.condensation.folder import forget_experts
from hmn.condensation.loop import condensing
from hmn.condensation.run import condense_run, new_state
from hmn.condensation.state import CondenseRecord, check_split
from hmn.containers.artifact.load import info
from hmn.containers.artifact.place import CHECKPOINT, EXPERTS
from hmn.containers.container import container_class
from hmn.containers.shape import Budget
from hmn.data.real import Splits
from hmn.errors import Interruption, UserError
from hmn.recipes.named import whole_recipe
from hmn.recipes.settings import (
    AugmentConfig,
    CondenseConfig,
    NetworkConfig,
    Recipe,
    StartConfig,
)
from hmn.recipes.values import changed, completed, content, given_file, recipe_to_toml
from hmn.runtime import processes as distributed
from hmn.runtime.tensor_files import load_checkpoint, save_checkpoint
from tests.cli.test_main import refused
from tests.condensation.cost.flop_clock import FlopClock
from tests.condensation.test_loop import toy

KINDS: dict[str, str] = {"unrolled": "linear", "trajectory": "factorized"}


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HMN_COMPILE", "0")


OWN: dict[str, dict[str, Any]] = {
    "trajectory": {
        "student_steps": 4,
        "student_batch": 5,
        "expert_epochs": 2,
        "max_start_epoch": 2,
        "experts": 2,
        "expert_batch": 16,
    },
    "unrolled": {"student_steps": 4, "student_per_class": 3, "student_lr": 0.05},
}


def settings(objective: str, **values: Any) -> Recipe:
    condense = CondenseConfig(
        objective=objective,
        epochs=2,
        inner_steps=3,
        real_per_class=6,
        lr=0.02,
        schedule="cosine",
        augment=AugmentConfig(strategy="color_crop_flip", at_once="one"),
        start=StartConfig(kind="fitted", steps=20),
        network=NetworkConfig(name="convnet2", width=8),
    )
    made = Recipe(
        name="tiny",
        cost="nothing",
        ipc=3,
        container=KINDS.get(objective, "pixels"),
        condense=condense,
        settings=OWN.get(objective, {}),
    )
    return replace(made, **values)


SPLITS = Splits(train=toy(), test=toy(), name="toy", skipped=0)


def shape_of(recipe: Recipe) -> Any:
    return container_class(recipe.container).shape_class.plan(
        Budget(num_classes=3, image_shape=(1, 8, 8), floats=3 * 3 * 64)
    )


def run(
    recipe: Recipe, out: Path, on_progress: Callable[[CondenseRecord], None] = lambda _: None, **given: Any
) -> Path:
    flags: dict[str, Any] = {"resume": False, "force": False, "checkpoint_seconds": 1e9, **given}
    return condense_run(SPLITS, shape_of(recipe), recipe, out, on_progress=on_progress, **flags)


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: b"" if path.name == "run.json" else path.read_bytes() for path in out.iterdir()}


def stop_at(phase: str, done: int) -> Callable[[CondenseRecord], None]:
    def watch(progress: CondenseRecord) -> None:
        if (progress.phase, progress.done) == (phase, done):
            signal.raise_signal(signal.SIGINT)

    return watch


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    place = tmp_path_factory.mktemp("unbroken")
    return {name: contents(run(settings(name), place / name)) for name in KINDS}


PLACES = [
    ("unrolled", [("start", 10), ("condense", 2), ("condense", 5)]),
    ("trajectory", [("experts", 1), ("experts", 4), ("start", 20), ("condense", 1), ("condense", 4)]),
]


@pytest.mark.parametrize(("objective", "places"), PLACES, ids=["unrolled", "trajectory"])
def test_broken_off_anywhere_and_resumed_ends_with_the_same_bytes(
    objective: str,
    places: list[tuple[str, int]],
    tmp_path: Path,
    unbroken: dict[str, dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trained: list[int] = []
    trained_on = hmn.condensation.objectives.experts.trained_on

    def counted(*args: Any) -> Any:
        trained.append(1)
        return trained_on(*args)

    monkeypatch.setattr(hmn.condensation.objectives.experts, "trained_on", counted)
    out, recipe = tmp_path / "broken", settings(objective)
    for number, (phase, done) in enumerate(places):
        with pytest.raises(Interruption):
            run(recipe, out, stop_at(phase, done), resume=number > 0)
        assert (out / CHECKPOINT).exists() and (out / EXPERTS).exists() == (objective == "trajectory")
    run(recipe, out, resume=True)
    assert contents(out) == unbroken[objective]
    assert set(unbroken[objective]) == {
        "container.safetensors",
        "history.jsonl",
        "ledger.json",
        "preview.png",
        "README.md",
        "recipe.toml",
        "run.json",
    }
    assert len(trained) == (2 * 3 if objective == "trajectory" else 0)  # each epoch of each expert once
    phases = [json.loads(line)["phase"] for line in (out / "history.jsonl").read_text().splitlines()]
    assert phases == ["experts"] * len(trained) + ["start"] * 2 + ["condense"] * 6
    # Again: done, and nothing changes.
    run(recipe, out, resume=True)
    assert contents(out) == unbroken[objective]


def test_lost_and_damaged_experts_are_made_again(tmp_path: Path, unbroken: dict[str, dict[str, bytes]]) -> None:
    out, recipe = tmp_path / "broken", settings("trajectory")
    with pytest.raises(Interruption):
        run(recipe, out, stop_at("condense", 3))
    files = sorted((out / EXPERTS).iterdir())
    assert len(files) == 2 * 4
    files[1].unlink()
    files[2].write_bytes(b"cut short")
    files[7].write_bytes(files[7].read_bytes()[:-9])
    run(recipe, out, resume=True)
    assert contents(out) == unbroken["trajectory"]


def test_beginning_anew_forgets_other_experts(tmp_path: Path, unbroken: dict[str, dict[str, bytes]]) -> None:
    out, recipe = tmp_path / "broken", settings("trajectory")
    with pytest.raises(Interruption):
        run(replace(recipe, seed=5), out, stop_at("condense", 1))
    with pytest.raises(UserError, match="other settings"):
        run(recipe, out, resume=True)
    run(recipe, out, force=True)
    assert contents(out) == unbroken["trajectory"]


def test_only_experts_are_removed(tmp_path: Path) -> None:
    kept = tmp_path / EXPERTS / "notes.txt"
    kept.parent.mkdir()
    for path in (kept, kept.with_name("0003-012.safetensors"), kept.with_name(".0003-012.safetensors.0a1b2c3d.tmp")):
        path.write_text("")
    forget_experts(tmp_path)
    assert [path.name for path in kept.parent.iterdir()] == ["notes.txt"]
    kept.unlink()
    forget_experts(tmp_path)
    assert not kept.parent.exists()


def test_processor_seconds_of_all_attempts(tmp_path: Path) -> None:
    out, recipe = tmp_path / "broken", settings("unrolled")
    with pytest.raises(Interruption):
        run(recipe, out, stop_at("condense", 3))
    tree = load_checkpoint(out / CHECKPOINT)
    assert 0 < tree["processor_seconds"] < 600
    save_checkpoint(out / CHECKPOINT, {**tree, "processor_seconds": 1000.0})
    run(recipe, out, resume=True)
    facts = json.loads((out / "run.json").read_text())
    assert 1000 <= facts["processor_seconds"] < 1600 and facts["condense_seconds"] < 600


def test_divergence_names_the_rates_of_the_loop(tmp_path: Path) -> None:
    recipe = settings("trajectory")
    steep = replace(recipe, settings={**recipe.settings, "expert_lr": 1e6})
    with pytest.raises(UserError, match=r"diverged .*--trajectory.student-lr, --trajectory.expert-lr"):
        run(steep, tmp_path / "steep")


@pytest.mark.parametrize("objective", list(KINDS))
def test_several_processes_are_refused_before_anything_is_written(
    objective: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "_joined", distributed.Place(0, 2))
    with pytest.raises(UserError, match=f"objective {objective}: runs in one process, and these are 2"):
        check_split(settings(objective).condense, toy())


ONE_OF_THREE = {"derivative": "direct", "differentiate_every": 3, "student_batch": 6}


@pytest.mark.parametrize(("objective", "own"), [*((name, {}) for name in KINDS), ("trajectory", ONE_OF_THREE)])
def test_price_where_operations_are_time(objective: str, own: dict[str, Any], tmp_path: Path) -> None:
    plain = settings(objective)
    experts = {"expert_batch": 10} if objective == "trajectory" else {}
    recipe = replace(plain, settings={**plain.settings, "student_steps": 9, **experts, **own})
    with FlopClock() as clock:
        found = price(SPLITS, shape_of(recipe), recipe, clock=lambda: 1e-9 * clock.total, budget_seconds=1e-9).estimate
        clock.total = 0
        took: dict[str, list[int]] = {"experts": [], "start": [], "condense": []}
        for record in condensing(new_state(SPLITS, shape_of(recipe), recipe, tmp_path)):
            took[record.phase].append(clock.total)
            clock.total = 0
    iteration = took["condense"][1]
    assert found.seconds_per_sweep == pytest.approx(1e-9 * iteration, rel=0.01)
    assert found.expert_seconds == pytest.approx(1e-9 * sum(took["experts"]), rel=0.01)
    assert found.start_seconds == pytest.approx(1e-9 * sum(took["start"]), rel=0.02)
    assert found.total_seconds == pytest.approx(1e-9 * sum(map(sum, took.values())), rel=0.01)
    if not own:  # the passes' own, where a derivative is direct: torch's double backward here takes more
        assert found.operations_per_sweep == pytest.approx(iteration, rel=0.01)
        assert found.total_operations == pytest.approx(sum(map(sum, took.values())), rel=0.01)
    assert found.peak_memory_bytes is None or found.peak_memory_bytes > 0


def test_written_recipes_have_the_table_of_their_objective_alone(tmp_path: Path) -> None:
    for objective, own, other in (("trajectory", "[trajectory]", "[unrolled]"), ("unrolled", "[unrolled]", "[traj")):
        written = completed(settings(objective))
        text = recipe_to_toml(written)
        assert own in text and other not in text
        (tmp_path / "recipe.toml").write_text(text)
        read = whole_recipe(given_file(tmp_path / "recipe.toml"))
        assert read == written
        check_recipe(read, image_shape=(1, 8, 8), num_classes=3)
    text = recipe_to_toml(settings("gradient"))
    assert "[trajectory]" not in text and "[unrolled]" not in text
    # As an older version wrote it, without any of this.
    older = text.replace('at_once = "one"\n', "")
    assert older != text
    (tmp_path / "recipe.toml").write_text(older)
    assert whole_recipe(given_file(tmp_path / "recipe.toml")).condense.augment.at_once == "all"


def test_a_table_that_the_objective_does_not_read_changes_no_name() -> None:
    base = settings("unrolled")
    assert changed(base, {"trajectory.experts": 7}).name == "tiny"
    assert changed(base, {"unrolled.student_steps": 7}).name == "tiny-changed"
    assert content(base) != content(changed(base, {"unrolled.max_norm": 1.0}))


DIGITS = ["condense", "digits", "--ipc", "10", "--recipe", "quick"]
TINY = [
    "--condense.epochs",
    "1",
    "--condense.inner-steps",
    "2",
    "--condense.start.steps",
    "4",
    "--condense.network.width",
    "4",
]
FEW_EXPERTS = [
    "--trajectory.experts",
    "1",
    "--trajectory.max-start-epoch",
    "1",
    "--trajectory.expert-epochs",
    "1",
    "--trajectory.student-steps",
    "2",
]
FEW_STEPS = ["--unrolled.student-steps", "2", "--unrolled.student-per-class", "3"]
MISTAKES = [
    (["--objective", "gradient", *FEW_STEPS], "unrolled.student_steps 2", "is for --objective unrolled"),
    (["--objective", "unrolled", "--trajectory.experts", "2"], "trajectory.experts 2", "this is unrolled"),
    (["--objective", "unrolled", "--condense.step-per", "class"], "condense.step_per class", "does not use it"),
    (["--objective", "trajectory", "--condense.real-per-class", "9"], "condense.real_per_class 9", "leave it out"),
    (["--objective", "trajectory", "--condense.network.lr", "0.1"], "condense.network.lr 0.1", "leave it out"),
    (["--objective", "features", "--condense.distance", "cosine"], "condense.distance cosine", "features"),
    (["--objective", "trajectory", "--trajectory.experts", "0"], "trajectory.experts 0", "from 1"),
    (["--objective", "trajectory", "--trajectory.expert-lr", "0"], "trajectory.expert_lr 0", "above 0"),
    (["--objective", "unrolled", "--unrolled.student-momentum", "1"], "unrolled.student_momentum 1", "below 1"),
    (["--objective", "unrolled", "--unrolled.max-norm", "0"], "unrolled.max_norm 0", "above 0"),
    (["--condense.augment.at-once", "two"], "at-once", "two"),
]


@pytest.mark.parametrize(("flags", "got", "expected"), MISTAKES, ids=[" ".join(flags) for flags, _, _ in MISTAKES])
def test_mistakes(
    flags: list[str], got: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(capsys, [*DIGITS, *flags, "--out", str(tmp_path / "new")], got, expected)
    assert not (tmp_path / "new").exists()


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every verb that takes an objective takes these."""
    out = tmp_path / "hmn"
    own = ["--objective", "trajectory", *FEW_EXPERTS]
    assert main([*DIGITS, *own, *TINY, "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["processor_seconds"] > 0 and info(out).shape.kind == "hmn"
    flags = ["--steps", "3", "--seeds", "1", "--width", "4", "--json"]
    assert main(["evaluate", str(out), *flags]) == 0
    assert json.loads(capsys.readouterr().out)["processor_seconds"] == told["processor_seconds"]
    # The written recipe makes the same container, and another objective may be put over it.
    again = ["condense", "digits", "--ipc", "10", "--config", str(out / "recipe.toml"), "--out", str(tmp_path / "same")]
    assert main(again) == 0
    assert (tmp_path / "same/container.safetensors").read_bytes() == (out / "container.safetensors").read_bytes()
    capsys.readouterr()
    monkeypatch.setattr("hmn.condensation.cost.price.BUDGET_SECONDS", 0.01)
    assert main([*DIGITS, "--objective", "unrolled", *FEW_STEPS, *TINY, "--dry-run", "--json", "--out", "x"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert "[unrolled]" in planned["recipe_toml"] and planned["estimate"]["total_seconds"] > 0
    plan = ["plan", "digits", "--ipc", "10", "--recipe", "quick", *own, *TINY]
    assert main(plan) == 0
    text = capsys.readouterr().out
    assert "2 iterations of" in text and "experts" in text and "sweep," not in text
    refused(capsys, [*plan, "--gpus", "2"], "--gpus 2", "one process")
    sweep = ["sweep", "digits", "--ipc", "10", *TINY, "--out", str(tmp_path / "sweep"), "--dry-run"]
    assert main([*sweep, "--vary", "condense.objective=trajectory,unrolled,gradient"]) == 0
    capsys.readouterr()
    refused(capsys, [*sweep, "--vary", "condense.objective=gradient,unrolled", *FEW_STEPS], "unrolled.student_steps 2")


def test_plan_refuses_bad_settings() -> None:
    with pytest.raises(UserError, match=r"unrolled.student_steps 0"):
        hmn.plan("digits", ipc=1, settings={"condense.objective": "unrolled", "unrolled.student_steps": 0})
