"""`hmn condense --over-budget`, `hmn profile`, `hmn prune` and its study, end to end on tiny runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from hmn.cli.main import main
from hmn.condensation.run import condense_run
from hmn.containers.artifact.load import info, load
from hmn.containers.hmn_sizes import HmnShape
from hmn.containers.shape import Budget
from hmn.data.load import load_data
from hmn.errors import UserError
from hmn.pruning.aum import load_profile
from hmn.pruning.survivors import double_end_keep
from hmn.recipes.named import recipe
from hmn.studies.pool.attempt import Attempt, Outcome

SHORT = [
    "--recipe",
    "quick",
    "--condense.epochs",
    "1",
    "--condense.inner-steps",
    "4",
    "--condense.start.steps",
    "10",
    "--condense.network.width",
    "4",
    "--condense.network.update-batches",
    "1",
    "--evaluate.width",
    "4",
]
OVER = ["condense", "digits", "--ipc", "1", "--over-budget", "20%", *SHORT]
TRAININGS = ["--steps", "3", "--width", "4", "--repeats", "2", "--workers", "2"]


class Here:
    """A backend that works in this process at once: starting one for each training takes longer than the training."""

    slots = 1

    def start(self, attempts: Sequence[Attempt]) -> list[Ended]:
        return [Ended(attempt()) for attempt in attempts]

    def close(self) -> None:
        pass


class Ended(NamedTuple):
    """A job that is over."""

    result: Outcome

    def done(self) -> bool:
        return True

    def outcome(self) -> Outcome:
        return self.result

    def stop(self) -> None: ...

    def kill(self) -> None: ...


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr("hmn.studies.pool.loop.POLL_SECONDS", 0.0)
    monkeypatch.setattr("hmn.studies.where.Where.pool", lambda *_, **__: Here())


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hmn.studies.pruning.beta.BETAS", (0.0, 0.5))  # two of the grid's ten


@pytest.fixture(scope="module")
def over(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over its budget that has kept the validation tenth, profiled."""
    run = tmp_path_factory.mktemp("prune") / "over"
    assert main([*OVER, "--hold-out", "--out", str(run)]) == 0
    assert main(["profile", str(run), "--epochs", "2", "--width", "4"]) == 0
    return run


def called(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> tuple[str, str]:
    capsys.readouterr()
    assert main(list(words)) == code, capsys.readouterr().err
    output = capsys.readouterr()
    return output.out, output.err


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    _, errors = called(capsys, *words, code=2)
    lines = [line for line in errors.splitlines() if line.startswith("hmn: ")]
    assert len(lines) == 1 and "Traceback" not in errors
    return lines[0]


def test_a_container_over_its_budget_says_so(over: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored = info(over)
    excess = stored.ledger.num_floats - stored.ledger.budget
    assert stored.shape.images_per_class == (50,) * 10 and excess == 76
    record = json.loads((over / "run.json").read_text())
    assert record["over_budget"] == {"asked": "20%", "in_budget": 42, "images": 50, "excess_floats": 76}
    assert record["condensed_from"] == "the training split less its validation tenth"
    assert "76 floats over the budget of 640" in (over / "README.md").read_text()
    words = ["evaluate", str(over), "--steps", "2", "--seeds", "1", "--width", "4"]
    output, _ = called(capsys, *words, "--on", "validation")
    assert "76 floats over its budget of 640" in output and "never seen in its condensation" in output
    output, _ = called(capsys, *words)
    assert "seen" not in output


def test_without_the_flag_more_than_fits_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["condense", "digits", "--ipc", "1", "--images", "50", *SHORT, "--out", str(tmp_path / "x")]
    assert "76 more than the budget of 640" in refused(capsys, *words)
    assert "give one of them" in refused(capsys, *words, "--over-budget", "10%")
    assert not (tmp_path / "x").exists()


def test_the_library_refuses_it_too(tmp_path: Path) -> None:
    splits = load_data("digits")
    shape = HmnShape.plan(Budget.of_images(1, 10, (1, 8, 8))).with_images(99)
    short = recipe("quick", dataset="digits", ipc=1, image_shape=(1, 8, 8))
    with pytest.raises(UserError, match="more than the budget of 640"):
        condense_run(splits, shape, short, tmp_path / "x", resume=False, force=False, on_progress=lambda _: None)
    assert not (tmp_path / "x").exists()


def test_a_profile_lies_beside_its_container(over: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = load_profile(over, sha256=info(over).checksum)
    assert (len(found), found.epochs, found.net, found.width, found.margin) == (500, 2, "convnet2", 4, "softmax")
    assert torch.equal(found.labels, load(over).labels)
    assert "is already there: add --force" in refused(capsys, "profile", str(over), "--epochs", "2")
    output, _ = called(
        capsys,
        "profile",
        str(over),
        "--epochs",
        "1",
        "--width",
        "4",
        "--force",
        "--json",
        "--out",
        str(over.parent / "other.npz"),
        "--margin",
        "logit",
    )
    told = json.loads(output)
    other = load_profile(over.parent / "other.npz", sha256=info(over).checksum)
    assert told["aum"]["mean"] == pytest.approx(float(other.aum.mean())) and other.margin == "logit"
    assert len(told["classes"]) == 10 and told["classes"][0]["images"] == 50


def test_pruning_into_the_budget(over: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "pruned"
    output, _ = called(capsys, "prune", str(over), "--out", str(out), "--beta", "0.3")
    assert "636 of 640, 4 left" in output
    aum, record = load_profile(over, sha256=None).aum, json.loads((out / "pruning.json").read_text())
    by_hand = [
        50 * label + double_end_keep(aum[50 * label : 50 * (label + 1)], keep=42, hard_share=0.3) for label in range(10)
    ]
    assert record["kept"] == torch.cat(by_hand).tolist()
    assert torch.equal(load(out).pixels, load(over).pixels[record["kept"]])
    output, _ = called(capsys, "evaluate", str(out), "--steps", "2", "--seeds", "1", "--width", "4", "--json")
    report = json.loads(output)
    assert (report["images"], report["recipe"], report["floats"]) == (420, "quick-changed-pruned", 636)
    assert "holds a run" in refused(capsys, "prune", str(over), "--out", str(out), "--beta", "0.3")
    called(capsys, "prune", str(over), "--out", str(out), "--beta", "1", "--to", "3", "--force")
    assert info(out).shape.images_per_class == (3,) * 10
    within = ["prune", str(out), "--out", str(tmp_path / "x"), "--method", "random"]
    assert "nothing to remove (246 of 640 floats)" in refused(capsys, *within)


def test_random_pruning_needs_no_aum_and_follows_its_seed(
    over: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(over, bare)
    (bare / "aum.npz").unlink()
    kept = []
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        words = ["--out", str(tmp_path / name), "--method", "random", "--rate", "0.5", "--seed", seed]
        called(capsys, "prune", str(bare), *words)
        kept.append(json.loads((tmp_path / name / "pruning.json").read_text())["kept"])
        assert not (tmp_path / name / "aum.npz").exists()
    assert kept[0] == kept[1] != kept[2] and len(kept[0]) == 250
    told = refused(capsys, "prune", str(bare), "--out", str(tmp_path / "d"), "--beta", "0.3")
    assert f"take it first with hmn profile {bare}" in told


def outcomes(folder: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("*/outcome.json")}


@pytest.mark.usefixtures("here")
def test_beta_is_searched_for_and_the_study_goes_on_where_it_broke_off(
    over: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, file = tmp_path / "out", tmp_path / "study.json"
    words = ["prune", str(over), "--out", str(out), "--beta", "auto", *TRAININGS]
    output, errors = called(capsys, *words)
    assert "best beta" in output and "validation accuracy" in output and "seen" not in errors
    record = json.loads((out / "pruning.json").read_text())
    search = record["chosen_by"]
    assert [(row["beta"], row["n"]) for row in search["betas"]] == [(0.0, 2), (0.5, 2)]
    assert record["beta"] == search["best"] and search["images_per_class"] == 42 and not search["validation_seen"]
    before = outcomes(out / "trials")
    assert len(before) == 4 and all("validation" in name for name in before)
    assert "holds a run" in refused(capsys, *words)
    lost = next(iter(before))
    shutil.rmtree(out / "trials" / lost)
    study = [*words, "--resume", "--study", str(file), "--rates", "0,0.5"]
    called(capsys, *study)
    after = outcomes(out / "trials")
    assert {name: when for name, when in after.items() if name in before and name != lost} == {
        name: when for name, when in before.items() if name != lost
    }
    assert after[lost] != before[lost]
    report = json.loads(file.read_text())
    check_study(report, search)
    called(capsys, *study, "--json")
    assert outcomes(out / "trials") == after
    again = json.loads(file.read_text())
    assert again["rows"] == report["rows"] and again["beta_search"] == report["beta_search"]
    assert "another data" in refused(capsys, *study, "--data", "digits", "--aum", str(other_profile(over, tmp_path)))


@pytest.mark.slow
def test_processes_of_their_own_train_the_same(
    over: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reports = []
    for name in ("pool", "here"):
        if name == "here":
            monkeypatch.setenv("OMP_NUM_THREADS", "1")
            monkeypatch.setattr("hmn.studies.where.Where.pool", lambda *_, **__: Here())
        file = tmp_path / f"{name}.json"
        called(capsys, "prune", str(over), "--study", str(file), "--rates", "0.5", *TRAININGS, "--threads-per-run", "1")
        reports.append(json.loads(file.read_text()))
    for part in ("rows", "beta_search", "comparisons"):
        assert reports[0][part] == reports[1][part]


def check_study(report: dict[str, Any], search: dict[str, Any]) -> None:
    """The file says what was trained, at every count, with its spread."""
    assert (report["kind"], report["data"], report["ipc"], report["budget"]) == ("pruning-study", "digits", 1, 640)
    assert (report["net"], report["width"], report["steps"], report["beta_from"]) == ("convnet2", 4, 3, "once")
    assert (report["images_per_class"], report["in_budget_images_per_class"]) == (50, 42)
    assert report["beta_search"] == [search] and report["validation_seen"] is False
    rows = [(row["method"], row["images_per_class"], row["rate"], row["in_budget"]) for row in report["rows"]]
    assert rows == [
        ("unpruned", 50, 0.0, False),
        ("double-end", 42, 0.16, True),
        ("random", 42, 0.16, True),
        ("double-end", 25, 0.5, False),
        ("random", 25, 0.5, False),
    ]
    for row in report["rows"]:
        assert row["n"] == len(row["values"]) == 2
        assert row["mean"] == pytest.approx(sum(row["values"]) / 2, abs=1e-3)
        assert row["beta"] == (search["best"] if row["method"] == "double-end" else None)
    for row in report["comparisons"]:
        ours, random = (
            next(r for r in report["rows"] if (r["method"], r["rate"]) == (method, row["rate"]))
            for method in ("double-end", "random")
        )
        assert row["difference"] == pytest.approx(ours["mean"] - random["mean"], abs=1e-3)


def other_profile(over: Path, folder: Path) -> Path:
    """The same container's AUM, taken otherwise."""
    path = folder / "other.npz"
    assert main(["profile", str(over), "--epochs", "1", "--width", "4", "--out", str(path)]) == 0
    return path


@pytest.mark.usefixtures("here")
def test_a_choice_on_images_that_were_seen_says_so(
    over: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = tmp_path / "seen"
    shutil.copytree(over, seen)
    record = json.loads((seen / "run.json").read_text())
    (seen / "run.json").write_text(json.dumps({**record, "condensed_from": "the training split"}))
    words = ["--beta", "auto", "--steps", "1", "--width", "4", "--repeats", "1"]
    output, errors = called(capsys, "prune", str(seen), "--out", str(tmp_path / "out"), *words)
    assert "the validation images were seen in its condensation" in output + errors
    assert "tells nothing about noise" in output
    output, _ = called(capsys, "prune", str(over), "--out", str(tmp_path / "on-test"), *words, "--choose-on", "test")
    assert "chosen on the test split" in output
    assert json.loads((tmp_path / "on-test" / "pruning.json").read_text())["chosen_by"]["chosen_on"] == "test"


def test_the_whole_pipeline_in_one_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    words = [*OVER, "--hold-out", "--prune", "0.5", "--out", str(out)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hmn.studies.pruning.carry_out.EPOCHS", 2)
        output, _ = called(capsys, *words)
        assert "636 of 640" in output
        assert info(out / "over-budget").shape.images_per_class == (50,) * 10
        assert info(out).shape.images_per_class == (42,) * 10
        output, _ = called(capsys, "evaluate", str(out), "--steps", "2", "--seeds", "1", "--width", "4", "--json")
        assert json.loads(output)["images"] == 420
        assert "holds a run" in refused(capsys, *words)
        container = (out / "container.safetensors").read_bytes()
        (out / "container.safetensors").unlink()
        (out / "over-budget" / "aum.npz").unlink()
        called(capsys, *words, "--resume")
        assert (out / "container.safetensors").read_bytes() == container
        called(capsys, *words, "--force")
        assert (out / "container.safetensors").read_bytes() == container


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--beta", "0.3"], "nothing to write: give --out"),
        (["--out", "x"], "double-end pruning needs --beta"),
        (["--out", "x", "--beta", "2"], "--beta 2: expected a share from 0 to 1, or auto"),
        (["--out", "x", "--beta", "best"], "--beta best: expected"),
        (["--out", "x", "--beta", "nan"], "--beta nan: expected"),
        (["--out", "x", "--beta", "0.3", "--method", "random"], "--beta 0.3: is for --method double-end"),
        (["--out", "x", "--beta", "0.3", "--to", "3", "--rate", "0.1"], "give one of them"),
        (["--out", "x", "--beta", "0.3", "--to", "51"], "51 images per class: expected 1..50"),
        (["--out", "x", "--beta", "0.3", "--to", "50"], "nothing to remove"),
        (["--out", "x", "--beta", "0.3", "--rate", "1"], "pruning rate 1"),
        (["--out", "x", "--beta", "0.3", "--force", "--resume"], "give one of them"),
        (["--out", "x", "--beta", "auto", "--repeats", "0"], "--repeats 0"),
        (["--out", "x", "--beta", "auto", "--workers", "0"], "--workers 0"),
        (["--out", "x", "--beta", "auto", "--slurm", "gpus=1"], "is for --backend slurm"),
        (["--out", "x", "--method", "random", "--seed", "-1"], "--seed -1"),
        (["--study", "s.json", "--rates", "0.1,x"], "--rates x"),
        (["--study", "s.json", "--rates", "0.1,1"], "--rates 1"),
        (["--study", "s.json", "--methods", "best"], "--methods best: expected double-end, random"),
        (["--study", "s.json", "--to", "3"], "are for the folder that --out names"),
        (["--study", "."], "--study .: is a folder"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(
    over: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert told in refused(capsys, "prune", str(over), *words)
    assert list(tmp_path.iterdir()) == []


def test_targets_that_are_none(over: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--out", str(tmp_path / "x"), "--beta", "0.3"]
    assert "no such folder" in refused(capsys, "prune", str(tmp_path / "nothing"), *words)
    same = ["--out", str(over), "--beta", "0.3", "--force"]
    assert "is the folder to be pruned" in refused(capsys, "prune", str(over), *same)
    assert load(over).pixels.shape[0] == 500
    swapped = tmp_path / "swapped"
    shutil.copytree(over, swapped)
    called(capsys, "prune", str(over), "--out", str(tmp_path / "p"), "--beta", "0.3")
    shutil.copy(tmp_path / "p" / "aum.npz", swapped / "aum.npz")
    assert "the AUM of other images" in refused(capsys, "prune", str(swapped), *words)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--over-budget", "0%"], "expected images per class (93), a per cent (10%) or preset"),
        (["--over-budget", "preset"], "no published number for digits at 1 ipc"),
        (["--prune", "auto"], "give --over-budget too"),
        (["--over-budget", "10%", "--prune", "most"], "--prune most: expected a share"),
    ],
)
def test_condense_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str) -> None:
    assert told in refused(capsys, "condense", "digits", "--ipc", "1", *SHORT, "--out", str(tmp_path / "x"), *words)
    assert not (tmp_path / "x").exists()
