"""The made-up data sets of the readers' tests, and a cache that is each test's own."""

from pathlib import Path

import pytest

from tests.data.conftest import make_tree

__all__ = ["make_tree"]


@pytest.fixture(autouse=True)
def _own_folders(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HMN_DATA", raising=False)
