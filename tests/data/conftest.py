"""Small made-up data sets on disk, and a cache that stays inside the test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.data.pictures import picture


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HMN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HMN_DATA", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def make_tree(tmp_path: Path) -> Callable[..., Path]:
    """make_tree({"train/cat": 3, ...}) writes that many PNGs into each folder below tmp_path/tree."""

    def make(counts: dict[str, int], *, side: int = 8, mode: str = "RGB", root: str = "tree") -> Path:
        top = tmp_path / root
        seed = 0
        for folder, count in counts.items():
            (top / folder).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                picture(seed, side=side, mode=mode).save(top / folder / f"{i:03}.png")
                seed += 1
        return top

    return make
