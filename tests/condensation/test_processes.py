"""The containers besides HMN, condensed by two processes, are those of one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.condensation.rank_tasks import KINDS, condensed
from tests.runtime.test_processes import DEADLINE_SECONDS, processes


@pytest.mark.slow
def test_two_processes_condense_what_one_does(tmp_path: Path) -> None:
    started = processes(2, "tests.condensation.rank_tasks", str(tmp_path / "two.pt"))
    errors = [process.communicate(timeout=DEADLINE_SECONDS)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], "\n".join(errors)
    two = torch.load(tmp_path / "two.pt", weights_only=True)
    assert list(two) == list(KINDS)
    for kind, (losses, images) in two.items():
        wanted, all_images = condensed(kind)
        assert losses == pytest.approx(wanted, rel=1e-4), kind
        assert images.shape == all_images.shape and torch.allclose(images, all_images, atol=1e-4), kind
