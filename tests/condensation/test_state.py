"""How often a run writes checkpoints: as asked, and by default never more than a percent of its time."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import hmn.condensation.run
from hmn.condensation.cost.trial import blank_splits
from hmn.condensation.run import condense_run
from hmn.containers.hmn_sizes import HmnShape
from hmn.containers.shape import Budget
from hmn.recipes.named import recipe
from hmn.recipes.settings import NetworkConfig, StartConfig
from hmn.runtime.tensor_files import save_checkpoint

SHAPE = (1, 8, 8)
SWEEPS, SLOW_SECONDS = 12, 0.05


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (0.0, 1 + SWEEPS),  # one before the first sweep, then one after each
        (1e9, 1),
        (None, 2),  # the second takes SLOW_SECONDS, after which the run rests for many times that
    ],
)
def test_number_of_checkpoints(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, asked: float | None, expected: int
) -> None:
    written = []

    def slow(path: Path, tree: dict[str, Any]) -> None:
        time.sleep(SLOW_SECONDS)
        save_checkpoint(path, tree)
        written.append(path)

    monkeypatch.setattr(hmn.condensation.run, "save_checkpoint", slow)
    monkeypatch.setattr(hmn.condensation.run, "CHECKPOINT_SECONDS", 1e-6)
    monkeypatch.setattr(hmn.condensation.run, "CHECKPOINT_REST", 1e4)
    splits = blank_splits("blank", image_shape=SHAPE, num_classes=2, images_per_class=4)
    base = recipe("quick", dataset="blank", ipc=20, image_shape=SHAPE)
    condense = replace(
        base.condense,
        epochs=1,
        inner_steps=SWEEPS,
        start=StartConfig(kind="noise"),
        network=NetworkConfig(name="convnet2", width=2, update_batches=0),
    )
    condense_run(
        splits,
        HmnShape.plan(Budget.of_images(20, 2, SHAPE)),
        replace(base, condense=condense),
        tmp_path / "run",
        resume=False,
        force=False,
        on_progress=lambda _: None,
        checkpoint_seconds=asked,
    )
    assert len(written) == expected
