"""The report without a browser: one file that fetches nothing, texts that stay texts, and the rule of the sliders."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from PIL import Image

import hmn.report.pages
from hmn.cli.main import main
from hmn.containers.artifact.load import load
from hmn.containers.artifact.picture import to_uint8
from hmn.errors import UserError
from hmn.pruning.aum import load_profile
from hmn.pruning.survivors import counts_at_rate, keep_indices
from hmn.report.chart import Axis, Line, line_chart, ticks
from hmn.report.gallery import fair_share, orders, sheet, sheets, spaced
from hmn.report.gather import assign, gather_run
from hmn.report.pages import byte_parts, write_report
from tests.report.runs import EVIL, evaluation, make_run, small_shape, study, write_json

TEMPLATES = Path(hmn.report.pages.__file__).parent / "templates"


class Elements(HTMLParser):
    """Every element with its attributes, and the texts of each kind of element."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts.setdefault(self._open[-1], []).append(data)


def script_data(page: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_run(tmp_path_factory.mktemp("report") / "a <run> & 'more'")
    write_json(folder / "evaluation.json", evaluation(folder))
    write_json(folder / "study.json", study(folder))
    write_json(folder / "other.json", {"something": "else"})
    return folder


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    out = run.parent / "page.html"
    assert main(["report", str(run), "--out", str(out), "--title", f"About {EVIL}"]) == 0
    return out.read_text()


def test_names_and_paths_stay_text(page: str) -> None:
    assert EVIL not in page
    elements = Elements(page)
    assert "img" not in {tag for tag, _ in elements.found} and "run" not in {tag for tag, _ in elements.found}
    assert not [name for _, attributes in elements.found for name in attributes if name.startswith("on")]
    assert any(EVIL in text for text in elements.texts["h1"])  # the title
    assert any(f"random {EVIL}" in text for text in elements.texts["td"])  # a method
    assert script_data(page)["runs"][0]["classes"][1]["name"] == EVIL
    assert "a <b>processor</b>" in elements.texts["td"]


def test_the_page_fetches_nothing(page: str) -> None:
    elements = Elements(page)
    for _, attributes in elements.found:
        for name in ("src", "href", "action", "data", "srcset"):
            value = attributes.get(name) or ""
            assert value.startswith(("data:", "#")) or not value, value
    assert not re.search(r"url\((?!data:)", page.replace('url(" + group.url + ")', "url(data:"))
    policy = next(a["content"] for tag, a in elements.found if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'")
    script = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert len(script) == 1 and f"script-src 'sha256-{digest}';" in policy


def test_the_page_says_what_the_files_say(run: Path, page: str) -> None:
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.split('<script type="application/json"')[0]))
    ledger = json.loads((run / "ledger.json").read_text())
    for part in (
        f"{ledger['num_floats']:,} floats",
        "45.0 ± 1.0 (n = 3)",
        "15.0 (n = 1)",
        "48.0 ± 1.0 (n = 3)",
        ledger["sha256"],
        "beta 0.3 is like 0.2 and 0.4.",
        "objective = &#34;features&#34;",
        "over 20 epochs of convnet3, width 128",
        f"{ledger['file_bytes']:,} bytes",
    ):
        assert part in text, part
    assert f"data = hmn.load({json.dumps(str(run))}".replace('"', "&#34;").replace("<", "&lt;") in page.replace(
        "&gt;", ">"
    ).replace("&amp;", "&").replace("&#39;", "'")


def test_bytes_add_up(run: Path) -> None:
    found = gather_run(run)
    assert sum(size for _, size in byte_parts(found.info)) == (run / "container.safetensors").stat().st_size
    assert found.floats_per_image == 3 * 2 * 2 and not found.cannot_prune  # 3 channels of 2 x 2


def test_sprites_hold_the_exact_pixels(run: Path, page: str) -> None:
    images, data = load(run), script_data(page)["runs"][0]
    for label, group in enumerate(data["classes"]):
        members = (images.labels == label).nonzero()[:, 0]
        picture = Image.open(io.BytesIO(base64.b64decode(group["url"].removeprefix("data:image/webp;base64,"))))
        pixels = torch.frombuffer(bytearray(picture.convert("RGB").tobytes()), dtype=torch.uint8)
        grid = pixels.view(picture.height, picture.width, 3)
        for place, image in enumerate(group["shown"]):
            top, left = place // group["columns"] * 16, place % group["columns"] * 16
            wanted = to_uint8(images.pixels[members[image]]).permute(1, 2, 0)
            assert torch.equal(grid[top : top + 16, left : left + 16], wanted)


def rule_cases(run: Path) -> tuple[list[list[int]], list[tuple[int, int]], list[list[int]]]:
    """Orders of the classes, rates and betas in per cent, and what pruning keeps for each, within its class."""
    found = gather_run(run)
    profile, labels = load_profile(run, sha256=found.info.checksum), found.labels
    classes = len(found.info.class_names)
    starts = torch.searchsorted(labels, torch.arange(classes))
    settings = [(rate, beta) for rate in (0, 1, 8, 9, 29, 30, 33, 50, 57, 70, 90, 95) for beta in range(0, 101, 5)]
    kept = []
    for rate, beta in settings:
        index = keep_indices(
            profile.aum,
            labels,
            counts=counts_at_rate(labels.bincount().tolist(), rate / 100),
            method="double-end",
            hard_share=beta / 100,
        )
        kept.append([[int(i - starts[label]) for i in index if labels[i] == label] for label in range(classes)])
    return [order for order, _ in orders(found)], settings, kept


@pytest.mark.parametrize("images", [(5, 3, 7), (1, 100, 29), (93, 40, 2)])
def test_the_sliders_rule_is_that_of_prune(images: tuple[int, ...], tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node: the browser tests run the same rule")
    given, settings, kept = rule_cases(make_run(tmp_path / "run", small_shape(images)))
    program = (TEMPLATES / "prune.js").read_text() + (
        f"const orders = {json.dumps(given)}, settings = {json.dumps(settings)};"
        "console.log(JSON.stringify(settings.map(([rate, beta]) => orders.map((order) =>"
        "  pruned(order, rate / 100, beta / 100).kept.sort((a, b) => a - b)))));"
    )
    done = subprocess.run([node, "-e", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == kept


def test_orders_keep_ties_in_storage_order(run: Path) -> None:
    for order, aum in orders(gather_run(run)):
        assert aum is not None and order == sorted(range(len(aum)), key=lambda image: (aum[image], image))


def test_results_go_to_the_run_that_they_are_of(tmp_path: Path) -> None:
    first, second = make_run(tmp_path / "a"), make_run(tmp_path / "b", small_shape((4, 4)))
    files = [write_json(tmp_path / "one.json", evaluation(second)), write_json(tmp_path / "two.json", study(first))]
    runs = [gather_run(first), gather_run(second)]
    assign(runs, files)
    assert [[name for name, _ in run.evaluations] for run in runs] == [[], ["one.json"]]
    assert [[name for name, _ in run.studies] for run in runs] == [["two.json"], []]
    with pytest.raises(UserError, match="another container"):
        assign([gather_run(first)], [files[0]])
    nameless = write_json(tmp_path / "three.json", evaluation())
    with pytest.raises(UserError, match="another container"):
        assign([gather_run(first), gather_run(second)], [nameless])
    alone = gather_run(first)
    assign([alone], [nameless])
    assert alone.unkeyed == ["three.json"]
    told = write_json(
        tmp_path / "four.json", evaluation(condensed={"command": "hmn condense cifar10 --ipc 1", "commit": "abc"})
    )
    assign([alone], [told])
    assert [name for name, _ in alone.evaluations] == ["three.json", "four.json"] and alone.unkeyed == ["three.json"]


def test_a_bare_run_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "bare", profiled=False)
    for name in ("history.jsonl", "run.json", "recipe.toml"):
        (run / name).unlink()
    assert main(["report", str(run), "--out", str(tmp_path / "page.html"), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["images"] == 15 and "hmn profile" in err
    page = (tmp_path / "page.html").read_text()
    assert "hmn evaluate" in page and "holds no history" in page
    assert not script_data(page)["runs"][0]["profiled"]


def test_many_images_are_thinned_evenly_and_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hmn.report.gallery.MOST_SHOWN", 30)
    run = make_run(tmp_path / "run", small_shape((40, 5, 20)))
    written = write_report([run], tmp_path / "page.html")
    assert (written.images, written.shown) == (65, 29)
    group = script_data((tmp_path / "page.html").read_text())["runs"][0]["classes"][0]
    assert len(group["order"]) == 40 and {group["order"][0], group["order"][-1]} <= set(group["shown"])
    assert "29 of 65 images are shown" in written.notes[0]


def test_spaced_takes_both_ends() -> None:
    assert spaced([4, 2, 0, 1, 3], 3) == [0, 3, 4]
    assert spaced([4, 2, 0, 1, 3], 9) == [0, 1, 2, 3, 4]
    assert spaced([4, 2, 0], 1) == [4]


def test_pages_stay_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [gather_run(make_run(tmp_path / name, small_shape((40, 30, 7)))) for name in ("a", "b")]
    exact = sheets(runs)
    assert [found.quality for found, _ in exact] == [None, None]
    size = sum(found.num_bytes for found, _ in exact)
    monkeypatch.setattr("hmn.report.gallery.MOST_BYTES", size // 2)
    lossy = sheets(runs)
    assert lossy[0][0].quality is not None and sum(found.num_bytes for found, _ in lossy) <= size // 2
    assert [len(some) for some in lossy[1][1]] == [40, 30, 7]
    monkeypatch.setattr("hmn.report.gallery.MOST_BYTES", size // 20)
    few = sheets(runs)
    assert sum(found.num_bytes for found, _ in few) <= size // 20 and 1 <= max(map(len, few[0][1])) < 40
    monkeypatch.setattr("hmn.report.gallery.MOST_BYTES", 100)
    with pytest.raises(UserError, match="one image a class"):
        sheets(runs)


def test_large_images_are_shrunk() -> None:
    found = sheet(torch.full((2, 1, 224, 112), 77, dtype=torch.uint8), [torch.arange(2)], None)
    assert (found.side, found.sprites[0].columns, found.sprites[0].rows) == (64, 2, 1)


def test_fair_share_fills_the_room() -> None:
    for counts, most in (((40, 5, 20), 30), ((3, 3), 100), ((100, 1), 10), ((5, 5, 5), 2)):
        share = fair_share(counts, most)
        shown = sum(min(share, count) for count in counts)
        assert shown <= max(most, len(counts))
        assert share == max(counts) or sum(min(share + 1, count) for count in counts) > most


def test_ticks_are_round_and_few() -> None:
    assert ticks(Axis(0, 4000, 0, 1, False)) == [0, 1000, 2000, 3000, 4000]
    assert ticks(Axis(0.3, 1.1, 0, 1, False)) == pytest.approx([0.4, 0.6, 0.8, 1.0])
    assert ticks(Axis(0.04, 3, 0, 1, True)) == pytest.approx([0.05, 0.1, 0.2, 0.5, 1, 2])
    for low, high in ((3e-9, 5e7), (1.0, 1.0001), (5, 6)):
        assert 1 <= len(ticks(Axis(low, high, 0, 1, True))) <= 7


def test_charts_lie_within_their_frame() -> None:
    points = [(float(x), 10.0 / (x + 1), 8.0 / (x + 1), 12.0 / (x + 1)) for x in range(20)]
    svg = line_chart([Line("a", points)], title="a <b>", x_label="x", y_label="<y>", log_y=True)
    assert "<y>" not in svg and "&lt;y&gt;" in svg
    coordinates = [tuple(map(float, pair.split(","))) for pair in re.findall(r"[\d.]+,[\d.]+", svg)]
    assert all(0 <= x <= 440 and 0 <= y <= 250 for x, y in coordinates) and len(coordinates) == 60


@pytest.mark.parametrize(("package", "verb"), [("jinja2", "report"), ("matplotlib", "figure")])
def test_without_the_extra_its_name_is_told(
    package: str, verb: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    given = ["report", str(run)] if verb == "report" else ["figure", "history", "--run", str(run)]
    assert main([*given, "--out", str(tmp_path / "out.html")]) == 2
    assert "pip install 'hmn[report]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "at least one"),
        (["absent"], "absent"),
        (["{run}", "--results", "absent.json"], "absent.json"),
        (["{run}", "--results", "{run}/recipe.toml"], "not a JSON file"),
        (["{run}", "--results", "{run}/ledger.json"], "hmn evaluate --out"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], part: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [argument.replace("{run}", str(run)) for argument in arguments]
    assert main(["report", *given, "--out", str(tmp_path / "page.html")]) == 2
    out, err = capsys.readouterr()
    assert out == "" and part in err and err.count("\n") == 1
    assert not (tmp_path / "page.html").exists()
    (tmp_path / "mine.html").write_text("mine")
    assert main(["report", str(run), "--out", str(tmp_path / "mine.html")]) == 2
    assert main(["report", str(run), "--out", str(tmp_path / "page.pdf")]) == 2
    assert (tmp_path / "mine.html").read_text() == "mine"
