"""An iteration of trajectory matching: differentiated step by step against exactly, through all of them.

    python benchmarks/bench_trajectory.py [--repeats 3] [--widths 32] [--threads N] [--clock wall|cpu] [--data-dir DIR]

The recipe `fast` on CIFAR-10 at 1 IPC (random images of its shape where the data are not there): 160 images, a student
of 20 steps of 64. `exact` goes back through every step with torch's double backward, `direct by torch` leaves out what
steps do to later ones, and `direct` is the same by hmn's own passes. The three take turns. The last line is a JSON
object: ratio_X is the median time of X over that of `direct`; cosine_exact tells how far the two gradients agree.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from unittest import mock

import torch
from torch import Tensor

import hmn.condensation.objectives.direct
from hmn.condensation.objectives.direct import differentiate_directly
from hmn.condensation.objectives.student import (
    StudentStep,
    TrainingGradient,
    Weights,
    as_seen,
    differentiate_training,
)
from hmn.condensation.objectives.trajectory import trajectory_loss
from hmn.containers.frequency import Frequency, FrequencyShape
from hmn.containers.shape import Budget
from hmn.data.load import load_data
from hmn.data.options import DataOptions
from hmn.data.source import NORMALISATIONS
from hmn.errors import UserError
from hmn.nets import build_net
from hmn.recipes.named import recipe
from hmn.recipes.values import objective_settings
from hmn.runtime.memory import keep_freed_memory
from hmn.train.augment import draw

DATA = Path(__file__).parents[2] / "shared" / "data"
SHAPE = (3, 32, 32)


def main() -> None:
    """Measure every width, one after another."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--widths", default="32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--data-dir", type=Path, default=DATA)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    keep_freed_memory()
    clock = time.perf_counter if given.clock == "wall" else time.process_time
    for width in map(int, given.widths.split(",")):
        measure(width, given.repeats, clock, generated(given.data_dir))


def generated(data_dir: Path) -> Tensor:
    """What the container shows before anything is learned: 16 real images a class at its frequencies."""
    norm = NORMALISATIONS["cifar10"]
    made = recipe("fast", dataset="cifar10", ipc=1, image_shape=SHAPE)
    shape = FrequencyShape.plan(
        Budget(num_classes=10, image_shape=SHAPE, floats=30_720), coefficients=made.sizes["coefficients"]
    )
    container = Frequency(shape, class_names=tuple("0123456789"), normalisation=norm)
    try:
        real = load_data("cifar10", DataOptions(data_dir=data_dir)).train
        images = torch.cat([real.images((real.labels == label).nonzero()[:16, 0]) for label in range(10)])
    except UserError:
        images = torch.rand(160, *SHAPE, generator=torch.Generator().manual_seed(0))
    container.start_from(images)
    return container.images(torch.arange(160)).detach()


def measure(width: int, repeats: int, clock: Callable[[], float], images: Tensor) -> None:
    """Time the three forms in turn; print medians and ratios."""
    made = recipe("fast", dataset="cifar10", ipc=1, image_shape=SHAPE)
    settings, norm = objective_settings(made), NORMALISATIONS["cifar10"]
    net, towards = (
        build_net(
            "convnet3", num_classes=10, image_shape=SHAPE, width=width, generator=torch.Generator().manual_seed(seed)
        )
        for seed in (0, 1)
    )
    start: Weights = {name: value.detach() for name, value in net.named_parameters()}
    target: Weights = {name: value.detach() for name, value in towards.named_parameters()}
    labels = torch.arange(10).repeat_interleave(16)
    generator = torch.Generator().manual_seed(0)
    steps: list[StudentStep] = []
    while len(steps) < settings.student_steps:
        for index in torch.randperm(len(labels), generator=generator).split(settings.student_batch):
            params = draw(made.condense.augment, len(index), SHAPE, generator, one_choice=True)
            steps.append(StudentStep(index, labels[index], partial(as_seen, norm, params)))
    del steps[settings.student_steps :]

    def loss_after(weights: Weights) -> Tensor:
        return trajectory_loss({name: value for name, value in weights.items() if value.dim() > 1}, start, target)

    def direct() -> TrainingGradient:
        return differentiate_directly(net, images, steps, start, lr=0.1, loss_after=loss_after)

    def by_torch() -> TrainingGradient:
        with mock.patch.object(hmn.condensation.objectives.direct, "prepared", lambda *_: None):
            return direct()

    def exact() -> TrainingGradient:
        return differentiate_training(net, images, steps, start, lr=0.1, momentum=0.0, loss_after=loss_after)

    forms = {"direct": direct, "direct_by_torch": by_torch, "exact": exact}
    times: dict[str, list[float]] = {name: [] for name in forms}
    grads: dict[str, Tensor] = {}
    for repeat in range(repeats + 1):  # the first round warms up
        for name, form in forms.items():
            began = clock()
            grads[name] = form().image_grad
            if repeat:
                times[name].append(clock() - began)
    for name, seconds in times.items():
        print(f"width {width}, {name}: {median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})", flush=True)
    others = ("direct_by_torch", "exact")
    cosines = {
        f"cosine_{name}": round(float(torch.cosine_similarity(grads[name].flatten(), grads["direct"].flatten(), 0)), 4)
        for name in others
    }
    ratios = {f"ratio_{name}": round(median(times[name]) / median(times["direct"]), 2) for name in others}
    print(json.dumps({"width": width, "repeats": repeats, "threads": torch.get_num_threads(), **ratios, **cosines}))


if __name__ == "__main__":
    main()
