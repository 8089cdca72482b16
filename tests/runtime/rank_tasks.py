"""What the tests of several processes run in each of them; with one process it is the reference.

    RANK=0 WORLD_SIZE=2 MASTER_ADDR=... MASTER_PORT=... python -m tests.runtime.rank_tasks FOLDER

The first process leaves its results in FOLDER.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

import hmn.condensation.run
from hmn.condensation.loop import condensing
from hmn.condensation.objectives.matching import Matching
from hmn.condensation.run import condense_run
from hmn.condensation.state import CondenseRecord, CondenseState
from hmn.containers.hmn import Hmn
from hmn.containers.hmn_sizes import HmnShape
from hmn.data.real import RealData, Splits
from hmn.data.source import Normalisation
from hmn.errors import Interruption, UserError
from hmn.nets import native
from hmn.recipes.settings import CondenseConfig, NetworkConfig, Recipe, StartConfig
from hmn.runtime.processes import gather, is_first, joined, place
from hmn.runtime.tensor_files import load_checkpoint, save_checkpoint

NAMES = ("square", "stripe", "dot")
SHAPE = HmnShape(
    image_shape=(1, 8, 8),
    memory_size=1,
    dataset_channels=3,
    class_channels=2,
    instance_channels=4,
    images_per_class=(5, 7, 4),
    extractor=False,
    budget=20_000,
    hidden=(6, 4),
)
BASE = CondenseConfig(
    objective="features",
    epochs=2,
    inner_steps=2,
    real_per_class=6,
    generated_per_class=4,
    lr=0.02,
    start=StartConfig(kind="real", steps=10),
    network=NetworkConfig(
        name="convnet2", width=8, update_batches=2, update_batch_size=9, warm_up_batches=1, cutmix_probability=0.7
    ),
)
BATCH_NORM = replace(BASE.network, name="resnet18", width=4)
CASES: dict[str, tuple[CondenseConfig, HmnShape]] = {
    "features": (BASE, SHAPE),
    "gradient": (replace(BASE, objective="gradient"), SHAPE),
    "absolute": (replace(BASE, objective="gradient", distance="absolute"), replace(SHAPE, extractor=True)),
    "one image a step": (replace(BASE, start=StartConfig(kind="real", steps=10, batch=1)), SHAPE),
    "one image a batch": (replace(BASE, network=replace(BASE.network, update_batch_size=1)), SHAPE),
    "BatchNorm": (replace(BASE, objective="gradient", network=BATCH_NORM), SHAPE),
}
OWN_PASSES = replace(BASE, network=replace(BASE.network, width=16))
"""A network whose passes `hmn.nets.convnet_cpu` takes in float32; BASE's is too narrow for them."""
NARROW: dict[str, tuple[CondenseConfig, HmnShape]] = {
    "features": CASES["features"],
    "gradient": CASES["gradient"],
    "features, own passes": (OWN_PASSES, SHAPE),
    "gradient, own passes": (replace(OWN_PASSES, objective="gradient"), SHAPE),
}
"""What is compared in float32."""
RUN_RECIPE = Recipe(name="toy", cost="seconds", ipc=1, condense=BASE)


def toy() -> RealData:
    """Three classes of 8x8 grey images with patterns that differ."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(3).repeat(10)
    pixels = torch.randint(0, 60, (30, 1, 8, 8), generator=generator, dtype=torch.uint8)
    pixels[labels == 0, :, 2:6, 2:6] += 180
    pixels[labels == 1, :, ::2] += 180
    pixels[labels == 2, :, 3:5, 3:5] += 180
    return RealData(pixels, labels, NAMES, Normalisation((0.4,), (0.3,)), "toy")


def new(case: str, real: RealData) -> CondenseState:
    config, shape = (CASES | NARROW)[case]
    generator = torch.Generator().manual_seed(1)
    container = Hmn(shape, class_names=NAMES, normalisation=real.normalisation, generator=generator)
    return CondenseState(container, real, config, seed=2)


def container_gradient(state: CondenseState) -> Tensor:
    """The gradient in the container's parameters, in one vector; of all classes, on the first process."""
    parts = []
    for name, values in state.container.named_parameters():
        assert values.grad is not None
        parts.append(state._all_rows(name, values.grad).flatten())
    return torch.cat(parts).clone()


def network_values(state: CondenseState) -> Tensor:
    assert state.objective.net is not None
    return torch.cat([values.detach().flatten() for values in state.objective.net.parameters()])


@contextmanager
def in_float64() -> Iterator[None]:
    """Networks, containers and real images in float64: there, nothing but a mistake is larger than 1e-9."""
    narrow = RealData.images
    torch.set_default_dtype(torch.float64)
    try:
        with mock.patch.object(RealData, "images_on", lambda self, index, device: narrow(self, index).double()):
            yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def passes_of(case: str) -> Iterator[None]:
    """Inside, networks take hmn's own passes where a case is about them; tests do without otherwise."""
    with mock.patch.dict(os.environ, {native.SWITCH: "1"} if case.endswith("own passes") else {}):
        yield


def trajectory(case: str) -> dict[str, Any]:
    """A condensation on its own, in float64: the container's gradient in every step, and what comes of it."""
    with in_float64():
        real = toy()
        state = new(case, real)
        gradients = []
        step = torch.optim.Adam.step

        def watched(self: torch.optim.Adam, *args: Any, **kwargs: Any) -> Any:
            gradients.append(container_gradient(state))
            return step(self, *args, **kwargs)

        with mock.patch.object(torch.optim.Adam, "step", watched):
            records = list(condensing(state))
        nets = gather(network_values(state))
        return {
            "gradients": gradients,
            "losses": [record.loss for record in records],
            "same_nets": all(torch.equal(net, nets[0]) for net in nets),
            "net": network_values(state),
            "state": state.state_dict(),
        }


def saved_states(case: str, folder: Path) -> list[Tensor]:
    """The states before every sweep of a float32 run of one process, as files; the gradients of those sweeps."""
    real, _config = toy(), NARROW[case][0]
    state = new(case, real)
    gradients: list[Tensor] = []
    sweep = Matching.sweep

    def watched(*args: Any) -> Tensor:
        if not state.sweeps_done:  # a restored state of no sweeps has the optimizer of the reconstruction
            state.sweeps_done = 1
            save_checkpoint(folder / f"{case}-{len(gradients)}", state.state_dict())
            state.sweeps_done = 0
        else:
            save_checkpoint(folder / f"{case}-{len(gradients)}", state.state_dict())
        total = sweep(*args)
        gradients.append(container_gradient(state))
        return total

    with mock.patch.object(Matching, "sweep", watched), passes_of(case):
        list(condensing(state))
    return gradients


def gradients_of_saved(case: str, folder: Path) -> list[Tensor]:
    """The gradients of the sweeps that begin at saved states."""
    real, config = toy(), NARROW[case][0]
    gradients = []
    for number in range(config.num_sweeps):
        state = new(case, real)
        state.load_state_dict(load_checkpoint(folder / f"{case}-{number}"))
        with passes_of(case):
            state.objective.sweep(state)
        gradients.append(container_gradient(state))
    return gradients


def run(out: Path, *, data: RealData | None = None, recipe: Recipe = RUN_RECIPE, **more: Any) -> str:
    """A run in a folder; how it ended."""
    splits = Splits(data or toy(), toy(), "toy", 0)
    given: dict[str, Any] = {"resume": False, "force": False, "checkpoint_seconds": 1e9, **more}
    try:
        condense_run(splits, SHAPE, recipe, out, on_progress=lambda _: None, **given)
    except UserError as error:
        return str(error)
    except Interruption:
        return "interrupted"
    return "done"


@contextmanager
def stopped_on_last_process(after: int) -> Iterator[None]:
    """Inside, the last process gets SIGTERM, and no other does, when that many records are done."""

    def watched(*args: Any) -> Iterator[CondenseRecord]:
        for number, record in enumerate(condensing(*args), start=1):
            if number == after and place().rank == place().size - 1:
                os.kill(os.getpid(), signal.SIGTERM)
            yield record

    with mock.patch.object(hmn.condensation.run, "condensing", watched):
        yield


@contextmanager
def diverged_on_last_process() -> Iterator[None]:
    """Inside, the last process's own memories grow beyond numbers after the last record's loss was taken."""

    def watched(state: CondenseState, *args: Any) -> Iterator[CondenseRecord]:
        yield from condensing(state, *args)
        if place().rank == place().size - 1:
            state.container.get_parameter("class_memory").data.fill_(torch.inf)

    with mock.patch.object(hmn.condensation.run, "condensing", watched):
        yield


def runs(folder: Path) -> dict[str, Any]:
    """Runs in folders: unbroken, broken off and resumed, and refused ones; by process, what each said."""
    told: dict[str, Any] = {}
    written: list[Path] = []
    save = save_checkpoint

    def counted(path: Path, tree: dict[str, Any]) -> None:
        written.append(path)
        save(path, tree)

    def note(name: str, work: Callable[[], str]) -> None:
        written.clear()
        ending = work()
        told[name] = gather((ending, len(written)))

    other = toy()
    if place().rank == 1:
        other.pixels[0, 0, 0, 0] += 1
    with mock.patch.object(hmn.condensation.run, "save_checkpoint", counted):
        note("unbroken", lambda: run(folder / "unbroken", checkpoint_seconds=0.0))
        for after in (1, 3):
            out = folder / f"broken-{after}"
            with stopped_on_last_process(after):
                note(f"broken-{after}", lambda out=out: run(out))  # type: ignore[misc]
            if after == 3:
                note("resumed", lambda out=out: run(out, resume=True))  # type: ignore[misc]
        note("from one", lambda: run(folder / "from-one", resume=True))
        note("in use", lambda: run(folder / "unbroken"))
        note("other data", lambda: run(folder / "other", data=other))
        by_class = replace(RUN_RECIPE, condense=replace(BASE, step_per="class"))
        note("step_per", lambda: run(folder / "other", recipe=by_class))
        with diverged_on_last_process():
            note("diverged", lambda: run(folder / "diverged"))
    return told


def main(folder: Path) -> None:
    """Everything, in the processes that the environment tells of."""
    with joined():
        results = {case: trajectory(case) for case in CASES}
        narrow = {case: gradients_of_saved(case, folder) for case in NARROW}
        told = runs(folder)
        if is_first():
            torch.save({"trajectories": results, "narrow": narrow, "runs": told}, folder / "results.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
