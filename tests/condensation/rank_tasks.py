"""Condensations of the containers besides HMN, in one process or in each of several, for test_processes.py beside it.

    python -m tests.condensation.rank_tasks FILE

The first process leaves losses and images in FILE.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor

from hmn.condensation.loop import condensing
from hmn.condensation.state import CondenseState
from hmn.containers.container import container_class
from hmn.containers.shape import Budget
from hmn.recipes.kinds import CONTAINERS
from hmn.recipes.settings import CondenseConfig, NetworkConfig, StartConfig
from hmn.runtime.processes import is_first, joined
from tests.runtime.rank_tasks import NAMES, toy

BUDGET = 3 * 8 * 64
CONFIG = CondenseConfig(
    objective="features",
    epochs=1,
    inner_steps=3,
    real_per_class=6,
    generated_per_class=5,
    start=StartConfig(kind="real", steps=5, batch=12),
    network=NetworkConfig(name="convnet2", width=8, update_batches=1, update_batch_size=9),
)
KINDS = (*(kind for kind in CONTAINERS.names() if kind != "hmn"), "mosaic, bounded", "frequency, mirrored")


def condensed(kind: str) -> tuple[list[float], Tensor]:
    """Losses and, on the first process, all images after a few steps."""
    budget = Budget(num_classes=3, image_shape=(1, 8, 8), floats=BUDGET)
    own = {"mosaic, bounded": {"bound": 16}, "frequency, mirrored": {"views": 2}}.get(kind, {})
    shape = container_class(kind.split(",")[0]).shape_class.plan(budget, **own)
    real = toy()
    container = container_class(shape.kind)(shape, class_names=NAMES, normalisation=real.normalisation)
    state = CondenseState(container, real, CONFIG, seed=0)
    losses = [record.loss for record in condensing(state)]
    state.state_dict()  # collective: it would hang if the processes held different things
    return losses, state.whole().render_all()


def main(path: str) -> None:
    """All kinds, into a file."""
    torch.set_num_threads(1)
    with joined():
        found = {kind: condensed(kind) for kind in KINDS}
        if is_first():
            torch.save(found, path)


if __name__ == "__main__":
    main(sys.argv[1])
