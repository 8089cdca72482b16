"""Containers and objectives by the names of their files, those of HMN_PLUGINS among them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hmn.errors import UserError
from hmn.recipes.kinds import PLUGINS, Kind


@pytest.fixture
def kind() -> Kind:
    return Kind("colour", "recipes", "Colour")


def plugged(monkeypatch: pytest.MonkeyPatch, *paths: Path) -> None:
    monkeypatch.setenv(PLUGINS, os.pathsep.join(map(str, paths)))


def test_a_file_elsewhere_is_found_and_run_once(kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin, other = tmp_path / "blue.py", tmp_path / "size.py"
    plugin.write_text("class Colour:\n    pass\n\n\nclass Blue(Colour):\n    times = []\n")
    other.write_text("class Size:\n    pass\n")
    plugged(monkeypatch, plugin, other)
    assert kind.names() == ("blue",)
    assert kind.load("blue").__name__ == "Blue"
    assert kind.load("blue") is kind.load("blue")
    assert kind.load("blue").__module__.endswith(".blue")


def test_files_that_cannot_be_used_are_one_line(kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="colour 'red': expected one of"):
        kind.load("red")
    plugged(monkeypatch, tmp_path / "absent.py")
    with pytest.raises(UserError, match="HMN_PLUGINS: .*absent.py cannot be read"):
        kind.names()
    broken = tmp_path / "broken.py"
    broken.write_text("class Broken(Colour):\n    pass\n")
    plugged(monkeypatch, broken)
    with pytest.raises(UserError, match="broken.py failed to run .NameError"):
        kind.load("broken")
    (tmp_path / "twice").mkdir()
    second = tmp_path / "twice" / "broken.py"
    second.write_text(broken.read_text())
    plugged(monkeypatch, broken, second)
    with pytest.raises(UserError, match="is called as another colour is"):
        kind.names()
