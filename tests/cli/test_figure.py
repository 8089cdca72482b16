"""Figures: files that are written, numbers that are those of the sources, mistakes by message."""

from __future__ import annotations

import csv
import re
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from hmn.cli.main import main
from hmn.containers.artifact.load import load
from hmn.errors import UserError
from hmn.pruning.aum import load_profile
from hmn.report.accuracy_figures import accuracy_by_bytes, minutes
from hmn.report.results import binned, read_result, spread_of
from hmn.report.style import SERIES
from tests.report.runs import evaluation, make_run, small_shape, study, write_json

CURVE = [{"step": step, "values": [step / 10, step / 10 + 2]} for step in (100, 200, 600)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("figure") / "run", names=("one", "two", "three"))


def drawn(arguments: list[str], out: Path) -> list[dict[str, str]]:
    """The rows of the CSV, once the pictures are what they should be."""
    assert main(["figure", *arguments, "--out", str(out)]) == 0
    svg = out.with_suffix(".svg").read_text()
    assert "<svg" in svg and "<dc:date>" not in svg
    assert min(Image.open(out.with_suffix(".png")).size) > 200
    with out.with_suffix(".csv").open() as file:
        return list(csv.DictReader(file))


def test_pruning_rate_shows_means_and_deviations(tmp_path: Path) -> None:
    files = [str(write_json(tmp_path / name, study())) for name in ("a.json", "b.json")]
    rows = drawn(["pruning-rate", "--results", *files, "--label", "first $x$"], tmp_path / "out" / "prune")
    assert [row["label"] for row in rows] == ["first $x$"] * 5 + ["cifar10, 1 IPC"] * 5
    row = next(row for row in rows if row["method"] == "double-end" and row["in_budget"] == "True")
    assert (float(row["mean"]), float(row["std"]), row["n"], row["images_per_class"]) == (47.0, 1.0, "3", "85")
    assert float(row["rate"]) == pytest.approx(8 / 93, abs=1e-6)


def test_iterations_keep_every_point(tmp_path: Path) -> None:
    content = evaluation(curve=CURVE, curve_images=2000)
    content["against"][0]["curve"] = CURVE[:2]
    rows = drawn(["iterations", "--results", str(write_json(tmp_path / "a.json", content))], tmp_path / "curve")
    assert [int(row["step"]) for row in rows] == [100, 200, 600, 100, 200]
    assert float(rows[2]["mean"]) == 61.0 and float(rows[2]["std"]) == pytest.approx(
        statistics.stdev([60, 62]), abs=1e-6
    )
    assert rows[0]["label"] == "hmn, 1 IPC" and rows[0]["test_images"] == "2000"


def test_iterations_of_several_methods_share_a_figure(tmp_path: Path) -> None:
    """HMN and IDC as in the supplement's Fig. 1: a line each, named as --label says, else by container and budget."""
    files = []
    for name, mean in (("hmn", 40.0), ("mosaic", 30.0)):
        points = [{"step": step, "mean": mean + step, "std": 0.0, "values": [mean + step]} for step in (1, 2)]
        content = evaluation(method=name, curve=points, curve_images=100, against=[])
        files.append(str(write_json(tmp_path / f"{name}.json", content)))
    rows = drawn(["iterations", "--results", *files, "--label", "HMN", "IDC"], tmp_path / "named")
    assert [(row["label"], float(row["mean"])) for row in rows] == [
        ("HMN", 41.0),
        ("HMN", 42.0),
        ("IDC", 31.0),
        ("IDC", 32.0),
    ]
    text = (tmp_path / "named.svg").read_text()
    assert "<!-- HMN -->" in text and "<!-- IDC -->" in text
    rows = drawn(["iterations", "--results", *files], tmp_path / "unnamed")
    assert [row["label"] for row in rows][::2] == ["hmn, 1 IPC", "mosaic, 1 IPC"]


def test_minutes_put_results_of_a_label_on_one_line(tmp_path: Path) -> None:
    def result(name: str, seconds: float, **content: Any) -> str:
        about = {"tested_on": "validation", "width": 32, "recipe": "fast", "train_steps": 600}
        return str(write_json(tmp_path / f"{name}.json", evaluation(processor_seconds=seconds, **{**about, **content})))

    files = [result("long", 3600.0), result("short", 90.0), result("paper", 600.0, recipe="hmn-changed")]
    rows = drawn(["minutes", "--results", *files, "--label", "ours", "ours"], tmp_path / "minutes")
    assert [(row["label"], float(row["minutes"]), float(row["mean"]), row["tested_on"]) for row in rows] == [
        ("ours", 60.0, 45.0, "validation"),
        ("ours", 1.5, 45.0, "validation"),
        ("hmn-changed", 10.0, 45.0, "validation"),
    ]
    text = (tmp_path / "minutes.svg").read_text()
    assert text.count("<!-- ours -->") == 1 and "Validation accuracy" in text
    for other, part in (
        (result("wide", 60.0, width=128), "must be the same"),
        (result("none", 0.0), "no processor time"),
    ):
        with pytest.raises(UserError, match=part):
            minutes([Path(files[0]), Path(other)], [])


def test_schedules_as_figure_and_table(tmp_path: Path) -> None:
    cosine = write_json(tmp_path / "a.json", evaluation())
    other = {"mean": 48.0, "std": 0.0, "values": [48.0]}
    multistep = write_json(tmp_path / "b.json", evaluation(schedule="multistep", lr=0.1, accuracy_percent=other))
    rows = drawn(["schedules", "--results", str(cosine), str(multistep)], tmp_path / "schedules")
    assert [(row["schedule"], float(row["mean"]), row["lr"]) for row in rows] == [
        ("cosine", 45.0, "0.01"),
        ("multistep", 48.0, "0.1"),
    ]
    table = (tmp_path / "schedules.md").read_text()
    assert "| hmn, cifar10, 1 IPC | 45.0 ± 1.0 (n = 3) | 48.0 (n = 1) | +3.0 |" in table


def test_generation_time(tmp_path: Path) -> None:
    rows = [
        {"label": f"{ipc} IPC", "images": 10 * ipc, "form": form, "seconds": seconds}
        for ipc in (1, 10)
        for form, seconds in (("hmn", [0.1, 0.2, 0.3]), ("paper", [0.4]))
    ]
    file = write_json(tmp_path / "a.json", {"kind": "generation-time", "rows": rows, "hardware": {"cpu": "X"}})
    found = drawn(["generation-time", "--results", str(file)], tmp_path / "time")
    assert [(row["form"], row["n"]) for row in found] == [("hmn", "3"), ("paper", "1")] * 2
    assert float(found[0]["mean_seconds"]) == 0.2 and float(found[0]["std_seconds"]) == pytest.approx(0.1)


def test_histograms_count_every_image(run: Path, tmp_path: Path) -> None:
    longer = make_run(tmp_path / "longer", small_shape((4, 4, 4)), names=("one", "two", "three"), epochs=200)
    rows = drawn(["aum-histogram", "--run", str(run), str(longer), "--label", "a", "b"], tmp_path / "aum")
    by_label = {label: [row for row in rows if row["label"] == label] for label in ("a", "b")}
    assert [sum(int(row["images"]) for row in part) for part in by_label.values()] == [15, 12]
    assert sum(float(row["share_percent"]) for row in by_label["a"]) == pytest.approx(100, abs=1e-3)
    # Other numbers of epochs: margins per epoch, which lie within -1 and 1.
    assert min(float(row["bin_left"]) for row in rows) >= -1 and max(float(row["bin_right"]) for row in rows) <= 1
    alone = drawn(["aum-histogram", "--run", str(run)], tmp_path / "alone")
    margins = load_profile(run, sha256=None).aum
    assert float(alone[0]["bin_left"]) == float(margins.min()) and float(alone[-1]["bin_right"]) == float(margins.max())


def test_a_profile_of_real_images_has_its_panel_beside_containers(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "original.npz"
    assert main(["profile", "digits", "--subset", "3", "--epochs", "1", "--width", "4", "--out", str(file)]) == 0
    flags = ["--run", str(file), str(run), "--label", "Original", "HMN"]
    rows = drawn(["aum-histogram", *flags], tmp_path / "both")
    count = {label: sum(int(row["images"]) for row in rows if row["label"] == label) for label in ("Original", "HMN")}
    assert count == {"Original": 30, "HMN": 15}


def test_extremes_are_the_lowest_and_the_highest(run: Path, tmp_path: Path) -> None:
    rows = drawn(["aum-extremes", "--run", str(run), "--per-class", "2", "--classes", "three,one"], tmp_path / "ends")
    aum, labels = load_profile(run, sha256=None).aum, load(run).labels
    for name, label in (("three", 2), ("one", 0)):
        order = sorted((float(aum[i]), i) for i in (labels == label).nonzero()[:, 0].tolist())
        shown = [(row["block"][:6], int(row["image"])) for row in rows if row["label"] == name]
        lowest = [("Lowest", i) for _, i in order[:2]]
        assert shown == lowest + [("Highes", i) for _, i in reversed(order[-2:])]
    assert {row["label"] for row in rows} == {"one", "three"}


def test_grids_hold_three_blocks(run: Path, tmp_path: Path) -> None:
    rows = drawn(["aum-grids", "--run", str(run), "--per-class", "3"], tmp_path / "grids")
    assert {row["block"] for row in rows} == {"High AUM", "Low AUM", "Random"} and len(rows) == 27
    again = drawn(["aum-grids", "--run", str(run), "--per-class", "3", "--force"], tmp_path / "grids")
    assert rows == again


def test_history_keeps_every_record(run: Path, tmp_path: Path) -> None:
    rows = drawn(["history", "--run", str(run)], tmp_path / "history")
    assert [row["phase"] for row in rows].count("start") == 30 and len(rows) == 930
    assert (rows[-1]["step"], float(rows[-1]["loss"])) == ("900", 0.01)


def test_the_same_numbers_give_the_same_bytes(run: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        drawn(["history", "--run", str(run)], tmp_path / name)
    for suffix in (".svg", ".png", ".csv"):
        first, second = ((tmp_path / f"{name}{suffix}").read_bytes() for name in ("a", "b"))
        assert first == second


def test_bins_are_medians_and_percentiles() -> None:
    points = [(step, float(step % 7)) for step in range(1, 101)]
    groups = binned(points, limit=10)
    assert len(groups) == 10
    for number, (step, middle, low, high) in enumerate(groups):
        losses = torch.tensor([loss for _, loss in points[10 * number : 10 * number + 10]], dtype=torch.float64)
        wanted = torch.quantile(losses, torch.tensor([0.5, 0.05, 0.95], dtype=torch.float64))
        assert [middle, low, high] == pytest.approx(wanted.tolist()) and step == 10 * number + 5.5
    assert binned([(1, 2.0)]) == [(1.0, 2.0, 2.0, 2.0)]


def test_spread_comes_from_the_values() -> None:
    assert spread_of({"values": [1.0, 2.0, 3.0, 6.0]}) == (3.0, pytest.approx(statistics.stdev([1, 2, 3, 6])), 4)
    assert spread_of({"values": [4.0]}).std == 0.0


def test_series_differ_in_grey() -> None:
    """Each has a marker, a line and a hatch of its own."""
    for name in ("colour", "marker", "line", "hatch"):
        assert len({str(getattr(look, name)) for look in SERIES}) == len(SERIES)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["pruning-rate", "--run", "{run}"], "--results"),
        (["history"], "--run"),
        (["pruning-rate", "--results", "absent.json"], "absent.json: no such file"),
        (["pruning-rate", "--results", "{evaluation}"], "hmn prune --study"),
        (["iterations", "--results", "{evaluation}"], "--curve"),
        (["schedules", "--results", "{evaluation}"], "--schedule multistep"),
        (["schedules", "--results", "{evaluation}", "{evaluation}"], "--label"),
        (["iterations", "--results", "{broken}"], "hmn evaluate"),
        (["iterations", "--results", "{text}"], "not a JSON file"),
        (["aum-extremes", "--run", "{run}", "{run}"], "one run"),
        (["aum-extremes", "--run", "{run}", "--classes", "four"], "four"),
        (["aum-extremes", "--run", "{run}", "--per-class", "0"], "--per-class 0"),
        (["aum-extremes", "--run", "{run}", "--label", "x"], "--label x"),
        (["history", "--run", "{run}", "--per-class", "3"], "no images"),
        (["history", "--run", "{run}", "--label", "a", "b"], "2 names"),
        (["aum-histogram", "--run", "absent"], "absent"),
        (["history", "--run", "absent"], "absent"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str],
    part: str,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("no json")
    places = {
        "run": run,
        "evaluation": write_json(tmp_path / "e.json", evaluation()),
        "text": tmp_path / "text",
        "broken": write_json(tmp_path / "b.json", {"method": "hmn", "accuracy_percent": {"values": ["x"]}}),
    }
    given = [re.sub(r"^\{(\w+)\}$", lambda found: str(places[found[1]]), argument) for argument in arguments]
    assert main(["figure", *given, "--out", "figure"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and part in err and err.count("\n") == 1
    assert not list(tmp_path.glob("figure*"))


def test_files_are_not_written_over(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "history.csv").write_text("mine")
    assert main(["figure", "history", "--run", str(run), "--out", str(tmp_path / "history.svg")]) == 2
    assert "--force" in capsys.readouterr().err and (tmp_path / "history.csv").read_text() == "mine"


def test_a_profile_of_other_images_is_refused(run: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", small_shape((2, 2, 2)))
    (other / "aum.npz").write_bytes((run / "aum.npz").read_bytes())
    assert main(["figure", "aum-histogram", "--run", str(other), "--out", str(tmp_path / "x")]) == 2


@pytest.mark.parametrize("values", [[], [float("nan")]])
def test_results_without_numbers_are_damaged(values: list[Any], tmp_path: Path) -> None:
    content = evaluation(accuracy_percent={"mean": 0, "std": 0, "values": values})
    with pytest.raises(UserError, match="damaged"):
        read_result(write_json(tmp_path / "a.json", content), "evaluation")


def test_accuracy_by_bytes_has_a_line_for_each_method(tmp_path: Path) -> None:
    """Float32 and int8 of a container, the codec in as many bytes, a coreset; not a failed row, nor the whole set."""

    def accuracy(mean: float) -> dict[str, Any]:
        return {"mean": mean, "std": 1.0, "values": [mean - 1, mean, mean + 1]}

    def row(method: str, kind: str, mean: float | None, size: int, **stored: dict[str, Any]) -> dict[str, Any]:
        found = None if mean is None else accuracy(mean)
        return {
            "method": method,
            "kind": kind,
            "ipc": None if kind == "whole" else 1,
            "bytes": size,
            "images": 5,
            "stored_as": None if kind in ("codec", "coreset") else "float32",
            "accuracy_percent": found,
            "stored": stored,
        }

    int8 = {"bytes": 100, "images": 5, "accuracy_percent": accuracy(39.0), "reason": None}
    failed = {**int8, "accuracy_percent": None, "reason": "no"}
    content = {
        "format": "hmn-comparison-1",
        "rows": [
            row("hmn-cpu", "recipe", 40.0, 400, int8=int8, float16=failed),
            row("webp", "codec", 50.0, 390, int8=int8),
            row("herding", "coreset", 20.0, 100),
            row("bad", "recipe", None, 400),
            row("whole", "whole", 80.0, 9000),
        ],
    }
    path = write_json(tmp_path / "table.json", content)
    rows = drawn(["bytes", "--results", str(path)], tmp_path / "bytes")
    assert [(one["method"], one["stored_as"], int(one["bytes"]), float(one["mean"])) for one in rows] == [
        ("hmn-cpu", "float32", 400, 40.0),
        ("hmn-cpu", "int8", 100, 39.0),
        ("webp", "files", 390, 50.0),
        ("webp", "files", 100, 39.0),
        ("herding", "uint8", 100, 20.0),
    ]
    assert {float(one["std"]) for one in rows} == {1.0} and {one["n"] for one in rows} == {"3"}
    content["rows"] = content["rows"][3:]
    with pytest.raises(UserError, match="no method is done"):
        accuracy_by_bytes([write_json(tmp_path / "none.json", content)], [])
