"""`hmn profile` on real data and folders of images, and its page of suspicious images."""

from __future__ import annotations

import base64
import io
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hmn.cli.main import main
from hmn.data.load import load_data
from hmn.data.real import RealData
from hmn.data.source import Normalisation, images_checksum
from hmn.pruning.aum import Profile, load_profile
from hmn.report.gallery import suspects_page

FAST = ["--epochs", "2", "--width", "4"]
NASTY = '<img src=x onerror="alert(1)">'


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def pictures(self) -> list[np.ndarray]:
        sources = [attributes["src"] or "" for tag, attributes in self.tags if tag == "img"]
        return [np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))) for source in sources]


def called(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> tuple[str, str]:
    capsys.readouterr()
    assert main(["profile", *words]) == code, capsys.readouterr().err
    output = capsys.readouterr()
    return output.out, output.err


def test_a_data_set_and_its_most_suspicious_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "new" / "page.html"
    output, _ = called(capsys, "digits", *FAST, "--suspects", "7", "--out", str(page), "--json")
    report = json.loads(output)
    data = load_data("digits").train
    found = load_profile(page.with_suffix(".npz"), sha256=images_checksum(data))
    lowest = found.aum.argsort(stable=True)[:7].tolist()
    assert [row["image"] for row in report["suspects"]] == lowest
    assert [row["class"] for row in report["suspects"]] == [data.class_names[data.labels[n]] for n in lowest]
    pictures = Page(page.read_text()).pictures()
    assert len(pictures) == 7
    for number, picture in zip(lowest, pictures, strict=True):
        assert np.array_equal(picture, data.pixels[number, 0].numpy())
    assert report["images"] == len(found) == len(data) and report["profile"] == str(page.with_suffix(".npz"))


def test_a_summary_without_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    output, errors = called(capsys, "digits", *FAST, "--subset", "5", "--seeds", "2", "--cutmix", "0.5")
    assert "2 networks of convnet2, width 4" in output and "profiling 4/4" in errors
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(8):
            pixels = generator.integers(0, 255, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{number}.png")
    called(capsys, str(tmp_path / "data"), *FAST, "--out", str(tmp_path / "kept"))
    assert load_profile(tmp_path / "kept", sha256=None).class_names == ("cat", "dog")


def data_of(names: tuple[str, ...]) -> tuple[RealData, Profile]:
    count = 3 * len(names)
    pixels = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(count) % len(names)
    data = RealData(pixels, labels, names, Normalisation((0.5,) * 3, (0.25,) * 3), "d")
    profile = Profile(
        aum=torch.arange(count, 0, -1, dtype=torch.float64),
        labels=labels,
        margin="softmax",
        epochs=1,
        net="n",
        width=None,
        seeds=(0,),
        source=NASTY,
        sha256="",
        class_names=names,
    )
    return data, profile


def test_names_cannot_become_markup() -> None:
    data, profile = data_of((NASTY, '"><script>alert(2)</script>', "a & b"))
    html = suspects_page(data, profile, count=9, facts={NASTY: NASTY})
    page = Page(html)
    assert {tag for tag, _ in page.tags} <= {
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "h1",
        "p",
        "dl",
        "dt",
        "dd",
        "ol",
        "li",
        "figure",
        "img",
        "figcaption",
        "br",
    }
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == 9 and all({*attributes} == {"src", "alt"} for attributes in pictures)
    assert all((attributes["src"] or "").startswith("data:image/png;base64,") for attributes in pictures)
    assert NASTY in page.text and "a & b" in page.text and "alert(2)" in page.text
    assert "http" not in html


def test_the_lowest_come_first() -> None:
    data, profile = data_of(("a", "b"))
    page = Page(suspects_page(data, profile, count=2, facts={}))
    assert page.text.index("image 5, AUM 1.00") < page.text.index("image 4, AUM 2.00")
    assert np.array_equal(page.pictures()[0], data.pixels[5].permute(1, 2, 0).numpy())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--epochs", "0"], "--epochs 0"),
        (["--seeds", "0"], "--seeds 0"),
        (["--suspects", "0"], "--suspects 0"),
        (["--suspects", "5"], "give --out FILE.html"),
        (["--suspects", "5", "--out", "page.txt"], "give --out FILE.html, not page.txt"),
        (["--cutmix", "2"], "--cutmix 2.0"),
        (["--out", "a.file"], "a file is there"),
        (["--out", "a.file/x.npz"], "is a file, not a folder"),
        (["--out", "there.npz"], "there.npz is already there: add --force"),
        (["--net", "convnet9"], "convnet9"),
    ],
)
def test_mistakes_are_told_before_any_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.file", "there.npz"):
        (tmp_path / name).write_text("x")
    _, errors = called(capsys, "digits", *words, code=2)
    assert told in errors and "Traceback" not in errors and "profiling" not in errors
    assert {path.name for path in tmp_path.iterdir()} == {"a.file", "there.npz"}
