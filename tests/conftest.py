import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data for tests: $HMN_TEST_DATA, else ../shared/data beside the checkout."""
    folder = Path(os.environ.get("HMN_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set HMN_TEST_DATA")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _brief_timings() -> Iterator[None]:
    """A plan times a run's parts for seconds on end; what tests ask of it is not how exact that makes it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hmn.condensation.cost.price.BUDGET_SECONDS", 0.05)
        yield
