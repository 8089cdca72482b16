"""What is refused before a run: settings out of their range, folders of others; nothing is written or deleted."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hmn.cli.main import main
from hmn.condensation.check import check_recipe, leaves
from hmn.condensation.state import CondenseRecord, CondenseState
from hmn.errors import UserError
from hmn.recipes.named import RECIPES, recipe
from hmn.runtime.tensor_files import load_checkpoint
from tests.cli.test_main import TINY, npz, refused

QUICK = ["condense", "digits", "--ipc", "2", "--recipe", "quick"]


@pytest.fixture(autouse=True)
def _own_folders(own_cache: Path) -> None:
    """No caches of the user who runs the tests."""


@pytest.fixture(scope="module")
def condensed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("condensed") / "digits"
    assert main([*QUICK, "--out", str(out), *TINY]) == 0
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


MISTAKES = [
    ("--condense.network.name foo", "condense.network", "unknown network 'foo'"),
    ("--condense.network.width 0", "condense.network.width 0", "1"),
    ("--condense.network.name convnet5", "condense.network", ""),
    ("--condense.augment.strategy bad", "condense.augment.strategy", "unknown augmentation 'bad'"),
    ("--condense.augment.scale 0.5", "condense.augment.scale 0.5", "from 1"),
    ("--condense.augment.cutout-share 2", "condense.augment.cutout_share 2", "from 0 to 1"),
    ("--condense.lr -1", "condense.lr -1", "above 0"),
    ("--condense.lr 1e38", "condense.lr 1e+38", "up to"),
    (f"--condense.epochs {10**400}", "condense.epochs", "whole number"),
    ("--condense.lr nan", "condense.lr nan", "finite"),
    ("--condense.start.lr inf", "condense.start.lr inf", "finite"),
    ("--condense.beta1 2", "condense.beta1 2", "below 1"),
    ("--condense.network.weight-decay -1", "weight_decay -1", "from 0"),
    ("--condense.network.cutmix-probability 1.5", "cutmix_probability 1.5", "from 0 to 1"),
    ("--condense.real-per-class 0", "condense.real_per_class 0", "from 1"),
    ("--condense.generated-per-class 0", "condense.generated_per_class 0", "from 1"),
    ("--condense.start.batch 0", "condense.start.batch 0", "from 1"),
    ("--condense.start.steps -3", "condense.start.steps -3", "from 0"),
    ("--condense.network.update-batch-size 0", "update_batch_size 0", "from 1"),
    ("--condense.network.update-batches -1", "update_batches -1", "from 0"),
    ("--condense.inner-steps 0", "condense.inner_steps 0", "at least 1 sweep"),
    ("--condense.epochs 0 --condense.start.kind noise", "condense.epochs 0", "nothing to do"),
    ("--condense.epochs 0 --condense.start.steps 0", "condense.epochs 0", "nothing to do"),
    (f"--seed {2**70}", f"seed {2**70}", "whole number"),
    ("--seed -1", "seed -1", "whole number"),
    ("--evaluate.protocol zzz", "evaluate.protocol 'zzz'", "quick"),
    ("--evaluate.net zzz", "evaluate.net", "unknown network 'zzz'"),
    ("--evaluate.seeds 0", "evaluate.seeds 0", "from 1"),
    ("--objective trajectory --trajectory.differentiate-every 0", "differentiate_every 0", "from 1"),
    ("--objective trajectory --trajectory.differentiate-every 2", "differentiate_every 2", "derivative direct"),
]


@pytest.mark.parametrize(("flags", "setting", "expected"), MISTAKES, ids=[flags for flags, _, _ in MISTAKES])
def test_bad_settings_write_and_delete_nothing(
    flags: str, setting: str, expected: str, condensed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command, before = [*QUICK, *flags.split()], contents(condensed)
    refused(capsys, [*command, "--out", str(tmp_path / "new")], setting, expected)
    refused(capsys, [*command, "--out", str(tmp_path / "new"), "--dry-run"], setting, expected)
    refused(capsys, [*command, "--out", str(condensed), "--force"], setting, expected)
    assert not (tmp_path / "new").exists()
    assert contents(condensed) == before


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize(("dataset", "shape"), [("digits", (1, 8, 8)), ("cifar10", (3, 32, 32))])
def test_every_named_recipe_passes(name: str, dataset: str, shape: tuple[int, int, int]) -> None:
    named = recipe(name, dataset=dataset, ipc=1, image_shape=shape)
    check_recipe(named, image_shape=shape, num_classes=10)
    alone = replace(named, condense=replace(named.condense, epochs=0, inner_steps=0))
    if named.condense.start.kind != "noise":
        check_recipe(alone, image_shape=shape, num_classes=10)
    else:
        with pytest.raises(UserError, match="nothing to do"):
            check_recipe(alone, image_shape=shape, num_classes=10)


def test_leaves_are_every_setting() -> None:
    named = recipe("quick", dataset="digits", ipc=1, image_shape=(1, 8, 8))
    paths = {path: value for path, _, value in leaves(named)}
    assert paths["condense.network.width"] == 32 and paths["seed"] == 0 and len(paths) > 30


def test_an_unknown_choice_of_a_library_user() -> None:
    named = recipe("quick", dataset="digits", ipc=1, image_shape=(1, 8, 8))
    wrong = replace(named, condense=replace(named.condense, objective="hessian"))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="condense.objective 'hessian': expected one of distribution, features"):
        check_recipe(wrong, image_shape=(1, 8, 8), num_classes=10)


def test_reconstruction_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main([*QUICK, "--out", str(out), "--condense.epochs", "0", "--condense.start.steps", "20"]) == 0
    phases = [json.loads(line)["phase"] for line in (out / "history.jsonl").read_text().splitlines()]
    assert phases and set(phases) == {"start"}


def test_force_leaves_folders_of_others_alone(
    condensed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.numpy import save_file

    (tmp_path / "README.md").write_text("a stranger's")
    save_file({"a": np.zeros(3)}, tmp_path / "checkpoint.safetensors", metadata={"format": "pt"})
    before = contents(tmp_path)
    for more in ([], ["--force"]):
        refused(capsys, [*QUICK, "--out", str(tmp_path), *TINY, *more], "holds other files: choose another folder")
    assert contents(tmp_path) == before


def test_force_replaces_a_result_and_keeps_what_lies_beside_it(
    condensed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, content in contents(condensed).items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "notes.txt").write_text("kept")
    (tmp_path / "container.safetensors").write_bytes(b"damaged")
    (tmp_path / ".README.md.0123abcd.tmp").write_bytes(b"cut short")
    (tmp_path / ".notes.txt.0123abcd.tmp").write_bytes(b"not ours")
    assert main([*QUICK, "--out", str(tmp_path), *TINY, "--force"]) == 0
    found = contents(tmp_path)
    assert found.pop("notes.txt") == b"kept" and found.pop(".notes.txt.0123abcd.tmp") == b"not ours"
    assert found.keys() == contents(condensed).keys()
    assert found["container.safetensors"] == (condensed / "container.safetensors").read_bytes()


def test_leftovers_of_a_killed_run_do_not_fill_a_folder(tmp_path: Path) -> None:
    (tmp_path / ".checkpoint.safetensors.0123abcd.tmp").write_bytes(b"cut short")
    assert main([*QUICK, "--out", str(tmp_path), *TINY]) == 0
    assert not (tmp_path / ".checkpoint.safetensors.0123abcd.tmp").exists()


def test_a_finished_run_is_the_same_run_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    npz(tmp_path / "a.npz")
    images = np.random.default_rng(1).integers(0, 255, (40, 8, 8), dtype=np.uint8)
    npz(tmp_path / "b.npz", images=images)
    command = ["--ipc", "3", "--recipe", "quick", "--out", "out", *TINY]
    assert main(["condense", "a.npz", *command]) == 0
    before = contents(tmp_path / "out")
    record = json.loads(before["run.json"])
    assert record["data"] == str(tmp_path / "a.npz")  # found again from any folder
    assert record["identity"]["dtype"] == "float32"
    refused(capsys, ["condense", "b.npz", *command, "--resume"], "other data")
    assert main(["condense", "a.npz", *command, "--resume"]) == 0
    assert contents(tmp_path / "out") == before


def test_a_whole_recipe_in_place_of_a_named_one(
    condensed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, out = tmp_path / "edited.toml", str(tmp_path / "x")
    text = (condensed / "recipe.toml").read_text()
    config.write_text(text)
    refused(capsys, [*QUICK, "--config", str(config), "--out", out], "--recipe quick", "one of them")
    # A hand that edits settings seldom edits the name.
    config.write_text(text.replace('name = "quick-changed"', 'name = "quick"'))
    command = ["condense", "digits", "--config", str(config), "--out", out, "--dry-run", "--json"]
    assert main(command) == 0
    assert 'name = "quick-changed"' in json.loads(capsys.readouterr().out)["recipe_toml"]


def test_seed_and_ipc_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HMN_SEED", "7")
    monkeypatch.setenv("HMN_IPC", "3")
    command = ["condense", "digits", "--recipe", "quick", "--out", str(tmp_path / "x"), *TINY, "--dry-run", "--json"]
    for more, lines in (([], {"seed = 7", "ipc = 3"}), (["--seed", "8", "--ipc", "2"], {"seed = 8", "ipc = 2"})):
        assert main([*command, *more]) == 0
        assert lines <= set(json.loads(capsys.readouterr().out)["recipe_toml"].splitlines())
    assert main(["ledger", "cifar10", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["budget"] == 3 * 30_720
    monkeypatch.setenv("HMN_IPC", "10")
    assert main(["ledger", "cifar10", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images_per_class"] == 278


def test_divergence_stops_at_once_and_keeps_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def diverging(state: CondenseState) -> Iterator[CondenseRecord]:
        state.sweeps_done = 1
        yield CondenseRecord("condense", 1, 9, 2.5)
        yield CondenseRecord("condense", 2, 9, float("nan"))
        raise AssertionError("went on after a loss that is no number")

    monkeypatch.setattr("hmn.condensation.run.condensing", diverging)
    out = tmp_path / "out"
    refused(capsys, [*QUICK, "--out", str(out), *TINY], "diverged after sweep 1: choose a smaller learning rate")
    assert (out / "checkpoint.safetensors").exists() and not (out / "container.safetensors").exists()
    assert "NaN" not in (out / "history.jsonl").read_text()


def test_values_beyond_numbers_reach_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The step after a finite loss may be the one that goes wrong."""

    def diverging(state: CondenseState) -> Iterator[CondenseRecord]:
        next(state.container.parameters()).data.fill_(math.inf)
        yield CondenseRecord("condense", 1, 1, 2.5)

    monkeypatch.setattr("hmn.condensation.run.condensing", diverging)
    out = tmp_path / "out"
    for seconds in ("0", "1000"):
        command = [*QUICK, "--out", str(out), *TINY, "--checkpoint-seconds", seconds, "--force"]
        refused(capsys, command, "diverged", "smaller learning rate")
        saved = load_checkpoint(out / "checkpoint.safetensors")["state"]["container"]
        assert all(bool(values.isfinite().all()) for values in saved.values())
        assert not (out / "container.safetensors").exists()


def test_a_full_disk_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hmn.runtime.files.os.fsync", full)
    out = tmp_path / "out"
    refused(capsys, [*QUICK, "--out", str(out), *TINY], f"No space left on device: {out}/checkpoint", code=1)
    assert not list(out.iterdir())
    monkeypatch.setattr("hmn.cli.evaluate.write_json", lambda *_: full(0))
    evaluate = ["evaluate", "digits", "--subset", "2", "--steps", "2", "--width", "2", "--seeds", "1", "--json"]
    assert main([*evaluate, "--out", str(tmp_path / "x.json")]) == 1
    text, errors = capsys.readouterr()
    assert json.loads(text)["images"] == 20 and "hmn: No space left on device" in errors


def test_evaluate_asks_first_whether_it_may_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hmn.cli.outputs.os.access", lambda *_: False)
    refused(capsys, ["evaluate", "digits", "--out", str(tmp_path / "sub" / "x.json")], "cannot be written")


def test_the_card_tells_versions_in_words(condensed: Path) -> None:
    (line,) = [line for line in (condensed / "README.md").read_text().splitlines() if "| versions |" in line]
    assert "{" not in line and "hmn 0." in line and ", torch " in line
