import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data for tests: $HMN_TEST_DATA, else ../shared/data beside the checkout."""
    folder = Path(os.environ.get("HMN_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set HMN_TEST_DATA")
    return folder
