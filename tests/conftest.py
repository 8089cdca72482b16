import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hmn.nets.native import cache_place


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data for tests: $HMN_TEST_DATA, else ../shared/data beside the checkout."""
    folder = Path(os.environ.get("HMN_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set HMN_TEST_DATA")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _no_settings_of_the_user() -> Iterator[None]:
    """Tests run as where no HMN_* variable is set, but for those that say how tests are run."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("HMN_")]:
            if name not in ("HMN_TEST_DATA", "HMN_COMPILE", "HMN_CACHE"):
                patch.delenv(name)
        yield


@pytest.fixture
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of hmn's that is the test's own, but for the C code, which takes seconds to build: once for all tests."""
    native = cache_place(os.environ.get("HMN_CACHE"), "native")
    native.mkdir(parents=True, exist_ok=True)
    cache = tmp_path_factory.mktemp("cache")
    (cache / native.name).symlink_to(native, target_is_directory=True)
    monkeypatch.setenv("HMN_CACHE", str(cache))
    return cache


@pytest.fixture(scope="session", autouse=True)
def _brief_timings() -> Iterator[None]:
    """A plan times a run's parts for seconds on end; what tests ask of it is not how exact that makes it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hmn.condensation.cost.price.BUDGET_SECONDS", 0.05)
        yield
