"""Exports read back by the readers that people use, and nothing half-written or wrongly replaced."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from PIL import Image

from hmn.containers.artifact import export
from hmn.containers.artifact.export import MARKER_FILE, PARQUET_FILE, export_images, safe_names
from hmn.errors import UserError

NAMES = ("ant", "bee", "a/b")
LABELS = torch.tensor([0, 2, 1, 0])


def pixels(channels: int = 3) -> torch.Tensor:
    return torch.rand(4, channels, 6, 5, generator=torch.Generator().manual_seed(0))


def as_bytes(images: torch.Tensor) -> np.ndarray:
    """uint8 NHWC, the slow way: to the nearest of 256 steps."""
    return np.array(
        [
            [[[round(255 * float(v)) for v in pixel] for pixel in row] for row in image]
            for image in images.permute(0, 2, 3, 1)
        ],
        dtype=np.uint8,
    )


def picture(content: Any) -> np.ndarray:
    with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as opened:
        array = np.asarray(opened)
    return array[:, :, None] if array.ndim == 2 else array


@pytest.mark.parametrize("channels", [1, 3])
def test_folders(channels: int, tmp_path: Path) -> None:
    out = export_images(pixels(channels), LABELS, NAMES, tmp_path / "new" / "out", format="folders")
    assert out == tmp_path / "new" / "out"
    assert (out / MARKER_FILE).is_file()
    files = sorted(str(file.relative_to(out)) for file in out.rglob("*.png"))
    assert files == ["a_b/00000.png", "ant/00000.png", "ant/00001.png", "bee/00000.png"]
    for file, index in zip(files, (1, 0, 3, 2), strict=True):
        assert np.array_equal(picture(out / file), as_bytes(pixels(channels))[index])
    assert [path.name for path in out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("channels", [1, 3])
def test_npz(channels: int, tmp_path: Path) -> None:
    out = export_images(pixels(channels), LABELS, NAMES, tmp_path / "out.npz", format="npz")
    with np.load(out, allow_pickle=False) as found:
        assert np.array_equal(found["images"], as_bytes(pixels(channels)))
        assert found["images"].dtype == np.uint8
        assert found["labels"].tolist() == LABELS.tolist() and found["labels"].dtype == np.int64
        assert tuple(found["class_names"].tolist()) == NAMES


def test_parquet_in_the_hubs_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(export, "ROWS_PER_GROUP", 3)
    out = export_images(pixels(), LABELS, NAMES, tmp_path / "out", format="parquet")
    assert sorted(file.name for file in out.iterdir()) == [MARKER_FILE, PARQUET_FILE]
    table = pq.read_table(out / PARQUET_FILE)
    assert table["label"].to_pylist() == LABELS.tolist() and str(table.schema.field("label").type) == "int64"
    assert str(table.schema.field("image").type) == "struct<bytes: binary, path: string>"
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features == {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": list(NAMES)}}
    for row, wanted in zip(table["image"].to_pylist(), as_bytes(pixels()), strict=True):
        assert np.array_equal(picture(row["bytes"]), wanted)
    assert [row["path"] for row in table["image"].to_pylist()] == [f"{i:05d}.png" for i in range(4)]


@pytest.mark.parametrize("format", ["folders", "npz", "parquet"])
def test_hmns_own_readers_read_it_back(format: Any, tmp_path: Path) -> None:
    from hmn.data.load import load_data
    from hmn.data.options import DataOptions

    if format == "parquet":
        pytest.importorskip("pyarrow")
    many = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(4).repeat(10)
    name = "x.npz" if format == "npz" else "x"
    out = export_images(many, labels, ("a", "b", "c", "d"), tmp_path / name, format=format)
    splits = load_data(str(out), DataOptions(cache=False, progress=False))
    assert splits.train.class_names == ("a", "b", "c", "d") and splits.skipped == 0
    wanted = set(zip(map(np.ndarray.tobytes, as_bytes(many)), labels.tolist(), strict=True))
    for part, share in ((splits.train, 0.8), (splits.test, 0.2)):
        rows = part.pixels.permute(0, 2, 3, 1).contiguous().numpy()
        found = set(zip(map(np.ndarray.tobytes, rows), part.labels.tolist(), strict=True))
        assert len(found) == share * 40 and found <= wanted


@pytest.mark.parametrize("format", ["folders", "npz", "parquet"])
def test_used_output_needs_force_and_same_images_same_bytes(format: Any, tmp_path: Path) -> None:
    if format == "parquet":
        pytest.importorskip("pyarrow")
    out = tmp_path / ("x.npz" if format == "npz" else "x")

    def content() -> dict[str, bytes]:
        return {str(file): file.read_bytes() for file in tmp_path.rglob("*.*") if file.is_file()}

    export_images(pixels(), LABELS, NAMES, out, format=format)
    first = content()
    with pytest.raises(UserError, match=r"already there and not empty.*--force"):
        export_images(1 - pixels(), LABELS, NAMES, out, format=format)
    assert content() == first
    export_images(1 - pixels(), LABELS, NAMES, out, format=format, force=True)
    assert content().keys() == first.keys() and content() != first
    export_images(pixels(), LABELS, NAMES, out, format=format, force=True)
    assert content() == first


def test_an_empty_folder_is_free(tmp_path: Path) -> None:
    export_images(pixels(), LABELS, NAMES, tmp_path, format="folders")
    assert sorted(path.name for path in tmp_path.iterdir()) == [MARKER_FILE, "a_b", "ant", "bee"]


@pytest.mark.parametrize("stranger", ["notes.txt", "ant/notes.txt", "ant/deep/00000.png", "ant/cat.png"])
def test_force_never_deletes_what_no_export_wrote(stranger: str, tmp_path: Path) -> None:
    out = export_images(pixels(), LABELS, NAMES, tmp_path / "out", format="folders")
    (out / stranger).parent.mkdir(exist_ok=True)
    (out / stranger).write_text("dear")
    with pytest.raises(UserError, match=r"holds files that no export wrote"):
        export_images(pixels(), LABELS, NAMES, out, format="folders", force=True)
    assert (out / stranger).read_text() == "dear"


@pytest.mark.parametrize("marker", ["absent", "folder", "link"])
@pytest.mark.parametrize("name", ["cat/00000.png", PARQUET_FILE])
def test_force_never_deletes_real_data_that_look_like_an_export(name: str, marker: str, tmp_path: Path) -> None:
    out = tmp_path / "photos"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text("dear")
    if marker == "folder":
        (out / MARKER_FILE).mkdir()
    elif marker == "link":
        (out / MARKER_FILE).symlink_to(out / name)
    with pytest.raises(UserError, match=r"holds files that no export wrote"):
        export_images(pixels(), LABELS, NAMES, out, format="folders", force=True)
    assert (out / name).read_text() == "dear"


@pytest.mark.parametrize(("name", "format"), [("x", "npz"), ("x.npz", "folders"), ("x.parquet", "parquet")])
def test_names_that_do_not_fit_the_format(name: str, format: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected"):
        export_images(pixels(), LABELS, NAMES, tmp_path / name, format=format)
    assert not list(tmp_path.iterdir())


def test_files_links_and_folders_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("dear")
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    for name, format in (("file", "folders"), ("folder.npz", "npz"), ("link", "folders")):
        with pytest.raises(UserError, match="in use by something else"):
            export_images(pixels(), LABELS, NAMES, tmp_path / name, format=format, force=True)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="cannot write"):
        export_images(pixels(), LABELS, NAMES, tmp_path / "file" / "out", format="folders")
    assert (tmp_path / "file").read_text() == "dear"


@pytest.mark.parametrize("format", ["folders", "npz"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_failure_leaves_the_old_output_and_nothing_else(
    format: Any, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / ("x.npz" if format == "npz" else "x")
    export_images(pixels(), LABELS, NAMES, out, format=format)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*.*") if file.is_file()}

    def fail(*_: object) -> None:
        raise error

    if format == "folders":
        monkeypatch.setattr(Path, "write_bytes", fail)
    else:
        monkeypatch.setattr(export.os, "replace", fail)
    with pytest.raises(UserError if isinstance(error, OSError) else KeyboardInterrupt, match=r"No space|"):
        export_images(1 - pixels(), LABELS, NAMES, out, format=format, force=True)
    monkeypatch.undo()
    assert {file: file.read_bytes() for file in tmp_path.rglob("*.*") if file.is_file()} == before
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_bad_values(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="format='jpeg'"):
        export_images(pixels(), LABELS, NAMES, tmp_path / "x", format="jpeg")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="NaN"):
        export_images(pixels() / 0 * 0, LABELS, NAMES, tmp_path / "x", format="folders")
    for labels in (LABELS[:3], LABELS + 1, LABELS - 1):
        with pytest.raises(UserError, match=r"expected a label in 0\.\.2"):
            export_images(pixels(), labels, NAMES, tmp_path / "x", format="folders")
    assert not list(tmp_path.iterdir())


def test_missing_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UserError, match=r"pip install 'hmn\[data\]'"):
        export_images(pixels(), LABELS, NAMES, tmp_path / "x", format="parquet")


def test_safe_names_examples() -> None:
    names = ["cat", "a/b", "a_b", "..", "", "CON", "Cat", "con.txt", "x" * 300, "tab\there", "ends. ", "é", "e\u0301"]
    assert safe_names(names) == [
        "cat",
        "a_b_2",
        "a_b",
        "class",
        "class_2",
        "CON_",
        "Cat_2",
        "con.txt_",
        "x" * 120,
        "tab_here",
        "ends",
        "é",
        "e\u0301_2",
    ]


@given(st.lists(st.text(st.characters(), max_size=60), max_size=8))
def test_safe_names_are_different_and_allowed(names: list[str]) -> None:
    chosen = safe_names(names)
    assert len({name.casefold() for name in chosen}) == len(names)
    for name in chosen:
        assert name and not set('<>:"/\\|?*\0\n') & set(name) and name not in (".", "..")
        assert not name.startswith(".") and not name.endswith((".", " ")) and len(name.encode()) < 200
