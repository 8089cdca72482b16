"""Parts of `hmn compare`: the score, the published numbers, the order and text of the table, what is refused."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tests.report.runs import EVIL

from hmn.cli.main import main
from hmn.errors import UserError
from hmn.recipes.named import RECIPES
from hmn.recipes.published import MAIN, SAME_OBJECTIVE, SOURCES, published, remark, same_objective
from hmn.report.pages import comparison_page
from hmn.studies.compare.methods import read_budgets, read_methods
from hmn.studies.compare.table import label_robust_score, score_rounds
from hmn.studies.compare.text import cells, heads, in_order, markdown, notes


@pytest.mark.parametrize(
    ("small", "whole", "random"), [(0.5, 0.85, 0.2), (0.0, 1.0, 1.0), (1.0, 1.0, 0.0), (0.3, 0.3, 0.3)]
)
def test_the_score_is_the_formula(small: float, whole: float, random: float) -> None:
    """Source: README of DD-Ranking, with w = 0.5 written out."""
    alpha = 0.5 * (small - random) - (1 - 0.5) * (whole - small)
    wanted = (math.e**alpha - math.e ** (-1)) / (math.e - math.e ** (-1))
    assert label_robust_score(small, whole=whole, random=random) == pytest.approx(wanted, rel=1e-12)


def test_the_score_spans_zero_to_one_and_averages_rounds() -> None:
    assert label_robust_score(0.0, whole=1.0, random=1.0) == pytest.approx(0.0, abs=1e-12)
    assert label_robust_score(1.0, whole=0.0, random=0.0) == pytest.approx(1.0)
    found = score_rounds([40.0, 50.0], whole=[80.0, 82.0], random=[20.0, 19.0])
    rounds = [label_robust_score(0.4, whole=0.8, random=0.2), label_robust_score(0.5, whole=0.82, random=0.19)]
    assert found["mean"] == pytest.approx(statistics.fmean(rounds), abs=1e-4)
    assert found["std"] == pytest.approx(statistics.stdev(rounds), abs=1e-4)
    assert score_rounds([40.0], whole=[80.0], random=[20.0])["std"] == 0.0


def test_published_numbers_are_found_by_method_data_and_budget() -> None:
    found = published("dsa-cpu", data="cifar10", ipc=10, net="convnet3")
    assert found is not None and found.percent == 52.1 and "2102.08259" in found.source and not found.secondary
    assert published("whole", data="cifar100", ipc=None, net="convnet3").percent == 56.2  # type: ignore[union-attr]
    other = published("idc", data="cifar10", ipc=1, net="vgg16")
    assert other is not None and (other.percent, other.net, other.secondary) == (28.7, "vgg16", True)
    assert str(published("hmn", data="svhn", ipc=1, net="convnet3")) == "87.4 (secondary)"
    assert "secondary text" in remark(same_objective("linear", data="cifar10", ipc=1))  # type: ignore[arg-type]
    for method, data, ipc in (("hmn", "digits", 1), ("dsa", "cifar10", 2), ("webp", "cifar10", 1), ("dm", "svhn", 1)):
        assert published(method, data=data, ipc=ipc, net="convnet3") is None
    assert same_objective("inr", data="cifar10", ipc=1) is None
    order = sorted(SAME_OBJECTIVE, key=lambda name: -SAME_OBJECTIVE[name][0])  # type: ignore[operator]
    assert order == ["hmn", "linear", "mosaic", "factorized", "pixels"]


def test_every_published_method_has_a_source_and_most_a_recipe() -> None:
    methods = {method for rows in MAIN.values() for method in rows}
    assert methods <= SOURCES.keys()
    assert methods - {"gsdd", "autopalette"} <= {*RECIPES}


def row(method: str, ipc: int | None, mean: float | None, **changes: Any) -> dict[str, Any]:
    accuracy = None if mean is None else {"mean": mean, "std": 1.25, "values": [mean - 1, mean, mean + 1]}
    return {
        "method": method,
        "kind": "recipe",
        "ipc": ipc,
        "status": "done" if accuracy else "failed",
        "container": "hmn",
        "reason": None if accuracy else "diverged after sweep 3",
        "objective": "gradient",
        "distance": "cosine",
        "recipe": "x",
        "floats": 640,
        "bytes": 2560,
        "stored_as": "float32",
        "images": 40,
        "detail": "",
        "accuracy_percent": accuracy,
        "train_steps": 20,
        "stored": {},
        "label_robust_score": None,
        "published": None,
        "made": {"condense_seconds": 90.0, "peak_memory_bytes": 450_000_000},
        **changes,
    }


def table(*rows: dict[str, Any], **changes: Any) -> dict[str, Any]:
    how = {
        "name": "quick",
        "net": "convnet2",
        "width": 8,
        "train_steps": 600,
        "batch_size": 64,
        "lr": 0.01,
        "schedule": "cosine",
        "seeds": [0, 1, 2],
    }
    facts = {"command": "hmn compare x", "commit": None, "versions": {"hmn": "1"}, "hardware": {"cpu": "<b>"}}
    return {
        "data": "digits",
        "tested_on": "test",
        "test_images": 359,
        "train_images": 1438,
        "classes": 10,
        "image_shape": [1, 8, 8],
        "protocol": how,
        "sorted_by": "accuracy",
        "stored": [],
        "facts": facts,
        "rows": list(rows),
        **changes,
    }


def test_rows_go_by_budget_then_accuracy() -> None:
    rows = [row("whole", None, 90.0), row("a", 10, 40.0), row("b", 1, None), row("c", 1, 20.0), row("d", 1, 30.0)]
    assert [one["method"] for one in in_order(rows, "accuracy")] == ["d", "c", "b", "a", "whole"]
    assert [one["method"] for one in in_order(rows, "method")] == ["b", "c", "d", "a", "whole"]


def test_cells_fit_the_columns() -> None:
    beside = published("idc", data="svhn", ipc=1, net="convnet3")
    assert beside is not None
    int8 = {
        "bytes": 700,
        "images": 40,
        "reason": None,
        "accuracy_percent": {"mean": 29.0, "std": 0.5, "values": [1, 2]},
    }
    one = row(
        "idc",
        1,
        30.0,
        stored={"int8": int8},
        published=asdict(beside),
        label_robust_score={"mean": 0.25, "std": 0.01, "values": [0.2, 0.3]},
    )
    codec = row("webp", 1, 31.0, kind="codec", container=None, objective=None, made={}, floats=630)
    shown = table(one, codec, stored=["int8"])
    found = dict(zip(heads(shown), cells(one, shown), strict=True))
    assert found["accuracy %"] == "30.0 ± 1.2" and found["objective"] == "gradient (cosine)"
    assert found["int8 bytes"] == "700" and found["int8 %"] == "29.0 ± 0.5"
    assert found["published %"] == "68.5" and found["LRS"] == "0.250 ± 0.010"
    assert found["condensing"] == "1.5 min" and found["peak memory"] == "450 MB" and found["processor"] == ""
    found = dict(zip(heads(shown), cells(codec, shown), strict=True))
    assert (found["floats"], found["container"], found["int8 bytes"], found["published %"]) == ("(630)", "real", "", "")
    told = " ".join(notes(shown))
    assert "idc: IDC, arXiv:2205.14959" in told and "n = 3 networks" in told and "2505.13300" in told


def test_markdown_is_a_table_whatever_names_hold() -> None:
    text = markdown(table(row("a|b*c", 1, 30.0, detail="<i>"), row("worse", 1, None)))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 4 and len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert "a\\|b\\*c" in lines[2] and "\\<i\\>" in text and "worse at 1 IPC failed: diverged" in text


class Page(HTMLParser):
    """Elements of a page, and rows of its tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def test_the_page_fetches_nothing_and_keeps_texts_texts() -> None:
    evil = row(EVIL, 1, 30.0, detail=EVIL)
    text = comparison_page(table(evil, row("worse", 1, None, reason=EVIL), row("whole", None, 90.0, kind="whole")))
    found = Page(text)
    assert not found.all("script") and not found.all("img") and EVIL not in text and "&lt;img" in text
    links = {link["href"] for tag in ("link", "a") for link in found.all(tag)}
    assert all(link is not None and link.startswith(("#", "data:")) for link in links)
    assert {"#ipc-1", "#ipc-all"} <= links
    policy = next(meta["content"] for meta in found.all("meta") if "http-equiv" in meta)
    assert policy is not None and "default-src 'none'" in policy and "script-src" not in policy
    assert "light dark" in {meta.get("content") for meta in found.all("meta")}
    regions = [one for one in found.all("div") if one.get("role") == "region"]
    assert len(regions) == 2 and all(one["tabindex"] == "0" and one["aria-label"] for one in regions)
    assert text.count('scope="row"') >= 3 and "640 floats, 2,560 bytes" in text


def test_a_page_of_failures_alone() -> None:
    assert "failed" in comparison_page(table(row("a", 1, None)))


def test_methods_are_read_in_order_and_the_needed_ones_are_there(tmp_path: Path) -> None:
    toml = tmp_path / "mine.toml"
    toml.write_text("")
    found = read_methods(f"webp,dsa-cpu,mosaic,mine={toml},hmn", recipe="quick", overrides=["hmn:condense.lr=0.5"])
    assert [(method.name, method.kind) for method in found] == [
        ("webp", "codec"),
        ("dsa-cpu", "recipe"),
        ("mosaic", "container"),
        ("mine", "file"),
        ("hmn", "container"),
        ("whole", "whole"),
        ("random", "coreset"),
    ]
    assert found[4].settings == {"condense.lr": 0.5} and not found[2].settings
    assert read_methods("hmn", recipe=None, overrides=[])[0].kind == "recipe"
    assert read_budgets("10,1") == [1, 10]


@pytest.mark.parametrize(
    ("methods", "overrides", "parts"),
    [
        ("herdng", [], ["herdng", "did you mean herding?"]),
        ("webp,", [], ["a name is missing"]),
        ("webp,webp", [], ["webp is given twice"]),
        ("mosaic", [], ["--recipe"]),
        ("a=absent", [], ["absent", "no such folder"]),
        ("a=absent.toml", [], ["absent.toml", "no such file"]),
        ("random=absent", [], ["LABEL=PATH"]),
        ("a b=absent", [], ["LABEL=PATH"]),
        ("a=.", [], ["nothing condensed"]),
        ("dsa", ["condense.lr=1"], ["METHOD:setting=value"]),
        ("dsa", ["webp:condense.lr=1"], ["webp", "dsa"]),
        ("dsa", ["dsa:condense.lrr=1"], ["did you mean condense.lr?"]),
        ("dsa", ["dsa:condense.lr=x"], ["'x'", "a number"]),
        ("dsa", ["dsa:condense.lr=1", "dsa:condense.lr=2"], ["given twice"]),
        ("dsa", ["dsa:evaluate.net=x"], ["no setting is called evaluate.net"]),
    ],
)
def test_mistakes_in_methods_name_themselves(
    methods: str, overrides: list[str], parts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        read_methods(methods, recipe=None, overrides=overrides)
    for part in parts:
        assert part in str(error.value), error.value


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--methods", "herdng"], ["did you mean herding?"]),
        (["--methods", "random", "--ipc", "0"], ["--ipc 0"]),
        (["--methods", "random", "--ipc", "1,x"], ["--ipc 1,x"]),
        (["--methods", "random", "--ipc", "1,1"], ["once"]),
        (["--methods", "herding", "--ipc", "500"], ["herding at 500 IPC", "training images"]),
        (["--methods", "hmn", "--recipe", "quik"], ["did you mean quick?"]),
        (["--methods", "webp", "--recipe", "quick"], ["--recipe quick", "containers"]),
        (["--methods", "random", "--codec-quality", "20"], ["--codec-quality 20", "webp"]),
        (["--methods", "webp", "--codec-quality", "101"], ["--codec-quality 101"]),
        (["--methods", "webp", "--codec-side", "64"], ["--codec-side 64"]),
        (["--methods", "random", "--protocol", "paper"], ["--protocol paper", "--steps"]),
        (["--methods", "random", "--steps", "0"], ["--steps 0"]),
        (["--methods", "random", "--stored", "int2"], ["int2", "int4"]),
        (["--methods", "random", "--slurm", "partition=x"], ["--backend slurm"]),
        (["--methods", "random", "--force", "--resume"], ["one of them"]),
        (["--methods", "random", "--container", "hmn"], ["--container hmn", "--methods"]),
        (["--methods", "mosaic", "--recipe", "quick", "--set", "mosaic:sizes.bases=4"], ["mosaic at 1 IPC", "bases"]),
        (["--methods", "mosaic", "--recipe", "quick", "--condense.lr", "-1"], ["mosaic at 1 IPC", "lr"]),
    ],
)
def test_mistakes_are_one_line_before_anything_runs(
    arguments: list[str], parts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    budget = [] if "--ipc" in arguments else ["--ipc", "1"]
    assert main(["compare", "digits", *budget, *arguments, "--out", str(tmp_path / "x")]) == 2
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if line.startswith("hmn: ")]
    assert out == "" and len(lines) == 1 and "Traceback" not in err
    for part in parts:
        assert part in lines[0], lines[0]
    assert not (tmp_path / "x").exists()


def test_a_dry_run_tells_every_cell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["compare", "digits", "--methods", "avif,pixels,hmn", "--recipe", "quick", "--ipc", "1,2", "--out"]
    command += [str(tmp_path / "x"), "--stored", "float32,int8,int4", "--protocol", "dsa", "--steps", "50", "--dry-run"]
    assert main([*command, "--set", "pixels:condense.inner_steps=7", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    cells_ = {cell["cell"]: cell for cell in found["cells"]}
    stored = ("avif", "pixels", "hmn")
    kinds = ("random", *(f"{kind}{form}" for kind in stored for form in ("", "-int8", "-int4")))
    assert {*cells_} == {f"000{ipc}-{kind}" for ipc in (1, 2) for kind in kinds} | {"0000-whole"}
    assert cells_["0002-pixels"]["sweeps"] * 50 == cells_["0002-hmn"]["sweeps"] * 7
    assert cells_["0001-pixels"]["floats"] == 640 and cells_["0001-hmn"]["container"] == "hmn"
    assert found["protocol"]["steps"] == 50
    assert main(command) == 0
    assert "12 sets of images to make, 63 trainings of 50 steps" in capsys.readouterr().out
    assert not (tmp_path / "x").exists()
