"""The finite difference stays right as the run goes on, not only at its start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hmn.condensation.run import new_state
from hmn.containers.hmn_sizes import preset
from hmn.data.load import load_data
from hmn.data.options import DataOptions
from hmn.recipes.named import recipe
from hmn.recipes.settings import StartConfig
from tests.reference.trajectory import relative_errors


@pytest.mark.real
@pytest.mark.parametrize(
    ("ipc", "steps"),
    [(1, 3), pytest.param(1, 50, marks=pytest.mark.slow), pytest.param(10, 50, marks=pytest.mark.slow)],
)
def test_container_gradient_along_a_real_run(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ipc: int, steps: int
) -> None:
    splits = load_data("cifar10", DataOptions(data_dir=shared_data))
    named = recipe("paper", dataset="cifar10", ipc=ipc, image_shape=(3, 32, 32))
    shape = preset("cifar10", ipc)
    assert shape is not None
    small = steps < 50
    network = replace(named.condense.network, width=16 if small else 32, update_batches=4)
    config = replace(named.condense, network=network, start=StartConfig(kind="real", steps=20))
    if small:
        config = replace(config, real_per_class=16, generated_per_class=16)
    state = new_state(splits, shape, replace(named, condense=config))
    errors = list(relative_errors(state, steps=steps))
    assert len(errors) == steps
    # A unit within rounding of zero that float64 finds on the other side moves the gradient by more than that,
    # whatever the method in float32: docs/log.md.
    assert max(error.same_masks for error in errors) < 1e-3
    assert all(error.free_masks < 1e-3 + 2 * error.plain_float32 for error in errors)
