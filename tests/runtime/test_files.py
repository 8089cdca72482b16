"""Results kept in the cache folder: given again for the same, measured anew for anything else."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from hmn.runtime.files import remembered, write_json


def test_measured_once_and_anew_where_something_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HMN_CACHE", str(tmp_path / "new"))
    calls: list[int] = []

    def measure() -> dict[str, int]:
        calls.append(1)
        return {"n": len(calls)}

    about = {"format": "webp", "point": (20, None)}
    assert [remembered(about, measure) for _ in range(3)] == [{"n": 1}] * 3
    assert remembered({**about, "point": (20, 3)}, measure) == {"n": 2}
    assert len(list((tmp_path / "new").iterdir())) == 2


@pytest.mark.parametrize("content", [b"{", b"[1]", b'{"of": 1, "result": {}}', b'{"result": 3}', b"\xff"])
def test_a_damaged_file_is_measured_anew(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HMN_CACHE", str(tmp_path))
    remembered({"a": 1}, lambda: {"n": 1})
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert remembered({"a": 1}, lambda: {"n": 2}) == {"n": 2}
    assert str(file) in caplog.text
    assert remembered({"a": 1}, lambda: {"n": 3}) == {"n": 2}


def test_a_folder_that_cannot_be_written_costs_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("HMN_CACHE", str(tmp_path / "file" / "below"))
    with caplog.at_level(logging.WARNING):
        assert remembered({"a": 1}, lambda: {"n": 1}) == {"n": 1}
    assert "cannot write the cache" in caplog.text


def test_names_that_are_no_text_are_written_and_read_back(tmp_path: Path) -> None:
    content = {"data": "caf\udce9/±"}
    write_json(tmp_path / "facts.json", content)
    assert json.loads((tmp_path / "facts.json").read_text(encoding="utf-8")) == content
