"""The command line: exit codes, one-line messages, clean JSON, and nothing half-written after a mistake."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hmn.cli.main import VERBS, main
from hmn.containers.hmn_sizes import PRESETS
from hmn.recipes.named import RECIPES

TINY = [
    "--condense.epochs",
    "1",
    "--condense.inner-steps",
    "2",
    "--condense.start.steps",
    "20",
    "--condense.network.width",
    "4",
    "--condense.network.update-batches",
    "1",
]
"""A condensation of digits of a second or two."""
TRAIN = ["--steps", "4", "--width", "4", "--seeds", "2"]


@pytest.fixture(autouse=True)
def _own_folders(own_cache: Path) -> None:
    """No caches of the user who runs the tests."""


@pytest.fixture(scope="module")
def condensed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("condensed") / "digits"
    assert main(["condense", "digits", "--ipc", "2", "--recipe", "quick", "--out", str(out), *TINY]) == 0
    return out


def refused(capsys: pytest.CaptureFixture[str], arguments: list[str], *parts: str, code: int = 2) -> None:
    """The command ends with `code` and one line on stderr that holds every part; nothing on stdout."""
    capsys.readouterr()
    assert main(arguments) == code
    out, err = capsys.readouterr()
    assert out == ""
    lines = [line for line in err.splitlines() if line.startswith("hmn: ")]
    assert len(lines) == 1 and err.endswith(lines[0] + "\n"), err
    assert "Traceback" not in err
    for part in parts:
        assert part in lines[0], lines[0]


def write_png(path: Path, value: int = 100, side: int = 8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (side, side), value).save(path)
    return path


def class_folders(root: Path, per_class: int = 6) -> Path:
    for label in ("cat", "dog"):
        for number in range(per_class):
            write_png(root / label / f"{number}.png", 40 * number + (5 if label == "dog" else 0))
    return root


def npz(path: Path, **changes: np.ndarray) -> Path:
    images = np.random.default_rng(0).integers(0, 255, (40, 8, 8), dtype=np.uint8)
    np.savez(path, **{"images": images, "labels": np.arange(40) % 2, **changes})
    return path


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(verb in text for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    assert f"hmn {verb}" in capsys.readouterr().out


def test_help_fits_a_screen_and_says_where_the_rest_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["condense", "--help"]) == 0
    text = capsys.readouterr().out
    assert len(text.splitlines()) <= 80
    words = " ".join(text.replace("│", " ").split())
    assert all(name in words for name in RECIPES if not name.endswith("-cpu"))
    assert "hmn list trajectory" in words and "--condense.KEY VALUE" in words


@pytest.mark.parametrize(("arguments", "seconds"), [(["--help"], 0.4), (["condense", "--help"], 1.0)])
def test_help_is_fast(arguments: list[str], seconds: float) -> None:
    """Processor time, not the clock: other processes must not decide the outcome."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    times = []
    for _ in range(3):
        before = os.times()
        command = [sys.executable, "-m", "hmn", *arguments]
        subprocess.run(command, check=True, capture_output=True, env=environment)
        after = os.times()
        times.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert 0 < min(times) < seconds


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["condens"], "condens"),
        (["ledger", "cifar10", "--ipx", "1"], "Did you mean --ipc?"),
        (["ledger", "cifar10", "--ipc", "one"], "--ipc"),
        (["ledger"], "TARGET"),
        (["condense", "digits", "--ipc", "1"], "--out"),
        (["condense", "digits", "--ipc", "1", "--out", "x", "--dtype", "int2"], "int4"),
        (["condense", "digits", "--ipc", "1", "--out", "x", "--condense.lrr", "1"], "--condense.lr"),
        (["condense", "digits", "--ipc", "1", "--out", "x", "--force", "--resume"], "one of them"),
        (["condense", "digits", "--out", "x"], "--ipc"),
        (["condense", "digits", "--ipc", "0", "--out", "x"], "--ipc 0"),
        (["condense", "digits", "--ipc", "2", "--out", "x", "--recipe", "quik"], "quick"),
        (["condense", "digits", "--ipc", "2", "--out", "x", "--config", "absent.toml"], "absent.toml"),
        (["condense", "digitz", "--ipc", "1", "--out", "x"], "did you mean digits?"),
        (["condense", "nowhere/at/all", "--ipc", "1", "--out", "x"], "nowhere/at/all"),
        (["condense", "digits", "--ipc", "2", "--images", "9999", "--out", "x"], "more than the budget"),
        (["condense", "cifar10", "--ipc", "1", "--out", "x"], "--download"),
        (["ledger", "cifar10"], "--ipc"),
        (["ledger", "cifar10", "--ipc", "1", "--images", "86"], "259 more than the budget"),
        (["ledger", "absent", "--ipc", "1"], "absent"),
        (["ledger", "absent"], "absent: no such file or folder"),
        (["plan", "digits"], "--ipc"),
        (["plan", "digits", "--ipc", "1", "--recipe", "none"], "no recipe"),
        (["show", "absent", "--out", "x.png"], "absent"),
        (["generate", "absent", "--out", "x"], "absent"),
        (["evaluate", "absent"], "absent"),
        (["evaluate", "digits", "--against", "herdin"], "random, herding, k-center, whole, codec"),
        (["evaluate", "digits", "--seeds", "0"], "--seeds 0"),
        (["evaluate", "digits", "--against", "random"], "--subset"),
        (["evaluate", "digits", "--net", "convnet0x"], "convnet"),
        (["evaluate", "digits", "--subset", "5000"], "5000"),
        (["evaluate", "digits", "--protocol", "long"], "paper"),
        (["evaluate", "digits", "--out", "."], "is a folder"),
        (["evaluate", "digits", "--steps", "0"], "--steps 0"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], part: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HMN_DATA", str(tmp_path))
    refused(capsys, arguments, part)
    assert not (tmp_path / "x").exists() and not (tmp_path / "x.png").exists()


# Totals of Table 1 of the supplement, counted part by part.
TOTALS = {
    ("cifar10", 1): (30_720, 30_659, 85, 93),
    ("cifar10", 10): (307_200, 306_339, 278, 306),
    ("cifar10", 50): (1_536_000, 1_534_819, 1_168, 1_284),
    ("cifar100", 1): (307_200, 305_379, 93, 102),
    ("cifar100", 10): (3_072_000, 3_069_779, 219, 243),
    ("cifar100", 50): (15_360_000, 15_342_739, 673, 740),
    ("tiny-imagenet", 1): (2_457_600, 2_418_259, 42, 46),
    ("tiny-imagenet", 10): (24_576_000, 24_489_299, 185, 203),
    ("imagenet-10", 1): (1_505_280, 1_491_699, 125, 138),
}
TOTALS |= {("svhn", ipc): TOTALS["cifar10", ipc] for ipc in (1, 10, 50)}


@pytest.mark.parametrize(("data", "ipc"), list(TOTALS))
def test_ledger_of_the_presets(data: str, ipc: int, capsys: pytest.CaptureFixture[str]) -> None:
    budget, total, images, over_budget = TOTALS[data, ipc]
    assert main(["ledger", data, "--ipc", str(ipc)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f" {total:,} " in next(line for line in lines if "total" in line)
    assert f" {budget:,} " in next(line for line in lines if "budget" in line)
    assert any(line.startswith(f"{images:,} images per class") for line in lines)
    assert any(line.endswith(f"{over_budget:,} images per class") for line in lines)
    assert main(["ledger", data, "--ipc", str(ipc), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["budget"], found["floats"], found["images_per_class"]) == (budget, total, images)
    assert found["floats"] == sum(part["num_floats"] for part in found["parts"])


def test_every_preset_has_its_total() -> None:
    assert set(PRESETS) == set(TOTALS)


def test_ledger_of_other_data_is_within_budget(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger", "digits", "--ipc", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert 0 < found["floats"] <= found["budget"] == 10 * 3 * 64
    assert found["reason"].startswith("planned")


def test_ledger_of_a_folder(condensed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger", str(condensed), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    stored = json.loads((condensed / "ledger.json").read_text())
    assert found["floats"] == stored["num_floats"]
    refused(capsys, ["ledger", str(condensed), "--ipc", "1"], "sizes are settled")


def test_condense_writes_the_folder(condensed: Path) -> None:
    names = {path.name for path in condensed.iterdir()}
    assert names == {
        "container.safetensors",
        "recipe.toml",
        "ledger.json",
        "history.jsonl",
        "preview.png",
        "README.md",
        "run.json",
    }
    record = json.loads((condensed / "run.json").read_text())
    assert record["command"].startswith("hmn condense digits --ipc 2")
    assert record["data"] == "digits" and record["recipe"] == "quick-changed"
    assert record["condense_seconds"] > 0


def test_a_used_folder_is_kept(condensed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path.name: path.read_bytes() for path in condensed.iterdir()}
    again = ["condense", "digits", "--ipc", "2", "--recipe", "quick", "--out", str(condensed), *TINY]
    refused(capsys, again, "--resume", "--force")
    refused(capsys, [*again, "--resume", "--seed", "1"], "other settings")
    refused(capsys, [*again, "--resume", "--images", "3"], "other container sizes")
    refused(capsys, [*again, "--resume", "--channels", "3"], "other")
    refused(capsys, [*again, "--resume", "--dtype", "int8"], "other --dtype")
    assert {path.name: path.read_bytes() for path in condensed.iterdir()} == before
    assert main([*again, "--resume"]) == 0  # finished: nothing left to do
    assert (condensed / "container.safetensors").read_bytes() == before["container.safetensors"]


def test_json_is_all_of_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    arguments = ["condense", "digits", "--ipc", "2", "--recipe", "quick", "--out", str(out), "--dtype", "int8"]
    assert main([*arguments, *TINY, "--json"]) == 0
    text, progress = capsys.readouterr()
    found = json.loads(text)
    assert found["dtype"] == "int8" and found["floats"] <= found["budget"]
    assert found["quantisation_error"]["mean"] > 0
    assert "matching 2/2" in progress


def test_the_written_recipe_starts_the_same_run(condensed: Path, tmp_path: Path) -> None:
    arguments = ["condense", "digits", "--config", str(condensed / "recipe.toml"), "--out", str(tmp_path / "again")]
    assert main(arguments) == 0
    for name in ("container.safetensors", "recipe.toml", "history.jsonl"):
        assert (tmp_path / "again" / name).read_bytes() == (condensed / name).read_bytes(), name


def test_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "settings.toml"
    config.write_text("[condense]\nlr = 0.3\nbeta1 = 0.3\nbeta2 = 0.3\n")
    monkeypatch.setenv("HMN_CONDENSE_LR", "0.2")
    monkeypatch.setenv("HMN_CONDENSE_BETA1", "0.2")
    arguments = ["condense", "digits", "--ipc", "2", "--recipe", "quick", "--out", str(tmp_path / "x"), *TINY]
    arguments += ["--config", str(config), "--condense.lr", "0.1", "--dry-run", "--json"]
    assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    lines = found["recipe_toml"].splitlines()
    assert {"lr = 0.1", "beta1 = 0.2", "beta2 = 0.3"} <= set(lines)
    assert found["estimate"]["total_seconds"] > 0 and found["estimate"]["peak_memory_bytes"] > 0
    assert not (tmp_path / "x").exists()


def test_environment_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HMN_CONDENSE_LRATE", "0.2")
    refused(capsys, ["condense", "digits", "--ipc", "2", "--out", str(tmp_path / "x")], "did you mean HMN_CONDENSE_")


KEYS = {
    "command",
    "commit",
    "versions",
    "hardware",
    "data",
    "method",
    "recipe",
    "ipc",
    "floats",
    "bytes",
    "images",
    "condense_seconds",
    "protocol",
    "train_steps",
    "accuracy_percent",
}


def test_evaluate_reports(condensed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results" / "x.json"
    arguments = ["evaluate", str(condensed), *TRAIN, "--against", "random,whole,codec", "--json", "--out", str(out)]
    assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert json.loads(out.read_text()) == found
    assert found.keys() >= KEYS
    assert set(found["accuracy_percent"]) == {"mean", "std", "values"}
    values = found["accuracy_percent"]["values"]
    assert len(values) == 2 and found["accuracy_percent"]["mean"] == pytest.approx(np.mean(values), abs=1e-3)
    assert found["accuracy_percent"]["std"] == pytest.approx(np.std(values, ddof=1), abs=1e-3)
    assert found["command"] == "hmn " + " ".join(arguments)
    assert found["data"] == "digits" and found["ipc"] == 2 and found["condense_seconds"] > 0
    random, whole, codec = found["against"]
    assert random["images"] == 20 and random["floats"] == 20 * 64
    assert whole["images"] > 1000
    assert codec["bytes"] <= found["bytes"]
    assert {row["train_steps"] for row in (found, *found["against"])} == {4}
    assert found["width"] == 4


def test_evaluate_prints_a_table(condensed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(condensed), *TRAIN]) == 0
    text = capsys.readouterr().out
    assert "accuracy %" in text and "hmn" in text and "4 steps" in text


def test_evaluate_real_data_and_exported_images(
    condensed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "digits", "--subset", "3", *TRAIN, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 30
    assert main(["generate", str(condensed), "--out", str(tmp_path / "images")]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "images"), "--data", "digits", *TRAIN, "--json"]) == 0
    exported = json.loads(capsys.readouterr().out)
    assert main(["evaluate", str(condensed), *TRAIN, "--json"]) == 0
    assert exported["images"] == json.loads(capsys.readouterr().out)["images"]


def test_evaluate_refuses_other_data(condensed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = class_folders(tmp_path / "pets")
    refused(capsys, ["evaluate", str(condensed), "--data", str(other)], "10 classes", "2 (cat, dog)")


@pytest.mark.parametrize("format", ["folders", "npz", "parquet"])
def test_generate(format: str, condensed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if format == "parquet":
        pytest.importorskip("pyarrow")
    out = tmp_path / ("images.npz" if format == "npz" else "images")
    assert main(["generate", str(condensed), "--format", format, "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["classes"] == 10
    assert out.exists()
    refused(capsys, ["generate", str(condensed), "--format", format, "--out", str(out)], "--force")


def test_show(condensed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "grid.png"
    show = ["show", str(condensed), "--out", str(picture), "--per-class", "3", "--classes", "7,1"]
    assert main(show) == 0
    with Image.open(picture) as image:
        assert image.width > 3 * 90 and image.height < 3 * 110
    refused(capsys, show, "--force")
    refused(capsys, ["show", str(condensed), "--out", str(tmp_path / "x.jpg")], ".png")
    for name in ("ten", "²"):
        refused(capsys, ["show", str(condensed), "--out", str(tmp_path / "x.png"), "--classes", name], name, "0..9")
    assert main([*show, "--force", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"out": str(picture), "classes": ["7", "1"], "per_class": 3}


def test_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    assert "torch" in capsys.readouterr().out
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["hardware"]["cores"] >= 1 and "vision" in found["extras"]


def test_doctor_reports_a_data_folder_that_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("HMN_DATA", str(tmp_path / "file"))
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["folders"]
    assert found["data"]["path"] == str(tmp_path / "file") and "is a file" in found["data"]["problem"]
    assert found["cache"]["problem"] is None


def bad_data(kind: str, root: Path) -> tuple[Path, tuple[str, ...]]:
    """A broken data set, and what the message must name."""
    if kind == "npz":
        return npz(root / "nan.npz", images=np.full((40, 8, 8), np.nan)), ("nan.npz", "NaN")
    if kind == "labels":
        labels = np.full(40, -3)
        return npz(root / "labels.npz", labels=labels), ("labels.npz", "-3")
    folder = class_folders(root / "data")
    if kind == "truncated":
        bad = folder / "cat" / "2.png"
        bad.write_bytes(bad.read_bytes()[:40])
        return folder, (str(bad),)
    if kind == "unreadable":
        bad = folder / "dog" / "1.png"
        bad.write_bytes(b"no picture at all")
        return folder, (str(bad),)
    if kind == "empty class":
        (folder / "eel").mkdir()
        return folder, ("eel", "no images")
    if kind == "one image":
        write_png(folder / "eel" / "0.png")
        return folder, ("eel", "1 image")
    if kind == "mixed sizes":
        bad = write_png(folder / "cat" / "9.png", side=9)
        return folder, (str(bad), "--size")
    raise AssertionError(kind)


@pytest.mark.parametrize(
    "kind", ["npz", "labels", "truncated", "unreadable", "empty class", "one image", "mixed sizes"]
)
def test_bad_data(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, parts = bad_data(kind, tmp_path)
    out = tmp_path / "out"
    refused(capsys, ["condense", str(data), "--ipc", "2", "--recipe", "quick", "--out", str(out)], *parts)
    assert not out.exists()


@pytest.mark.parametrize("kind", ["truncated", "unreadable", "empty class"])
def test_skip_bad_goes_on(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, _ = bad_data(kind, tmp_path)
    out = tmp_path / "out"
    arguments = ["condense", str(data), "--ipc", "3", "--recipe", "quick", "--out", str(out), "--skip-bad", *TINY]
    assert main(arguments) == 0
    assert (out / "container.safetensors").exists()
    if kind != "empty class":
        assert "1 bad image was skipped." in capsys.readouterr().err


def test_damaged_folder(condensed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("container.safetensors", "recipe.toml", "ledger.json"):
        (tmp_path / name).write_bytes((condensed / name).read_bytes())
    damaged = tmp_path / "container.safetensors"
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 0xFF
    damaged.write_bytes(content)
    for verb in (["evaluate"], ["ledger"], ["show", "--out", str(tmp_path / "x.png")]):
        refused(capsys, [verb[0], str(tmp_path), *verb[1:]], "container.safetensors")
    assert not (tmp_path / "x.png").exists()


def test_foreign_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("x")
    refused(capsys, ["show", str(tmp_path), "--out", str(tmp_path / "x.png")], "hmn condense")


def test_out_cannot_be_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("kept")
    refused(capsys, ["condense", "digits", "--ipc", "2", "--out", str(tmp_path / "file")], "file")
    assert (tmp_path / "file").read_text() == "kept"
