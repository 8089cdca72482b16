"""The trainings behind an accuracy: how networks are trained, and what is reported of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from hmn.data.source import Source
from hmn.measure.candidates import Candidate, Split
from hmn.nets.build import width_of
from hmn.recipes.protocols import protocol
from hmn.recipes.settings import TrainConfig
from hmn.recipes.values import given_environment
from hmn.runtime.console import ProgressView, note
from hmn.runtime.device import choose_device
from hmn.train import Curve, EpochRecord, Evaluation, total_steps, train_and_test
from hmn.train.results import provenance, spread

MULTISTEP_LR = 0.1
"""Where the multi-step schedule starts. Source: supplement D.3 of arXiv:2310.07506."""
CURVE_SEED = 0
"""Seed of the choice of test images that curves are taken on."""
REPORTED = ("data", "recipe", "ipc", "condense_seconds", "processor_seconds", "condensed")
"""What a report repeats of its target."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """How every network is trained: the same for the target and for what it is compared with."""

    net: str
    width: int | None
    seeds: int
    protocol: str
    """As reported."""
    config: TrainConfig
    steps: int
    curve_points: int = 0
    """Points of training at which the accuracy is taken as well."""
    curve_images: int = 0
    """Test images that they are taken on, at most."""

    def evaluate(
        self,
        source: Source,
        test: Source,
        seeds: Sequence[int],
        *,
        on_epoch: Callable[[int, EpochRecord], None] | None = None,
        curve: Curve | None = None,
    ) -> Evaluation:
        """Train a network a seed on `source` and test it, on the device of this run; see `hmn.train.train_and_test`."""
        how: dict[str, Any] = {"net": self.net, "width": self.width, "config": self.config, "protocol": self.protocol}
        return train_and_test(source, test, seeds=seeds, device=choose_device(), on_epoch=on_epoch, curve=curve, **how)

    def curve_on(self, test: Any) -> Curve | None:
        """Where and on what the accuracies on the way are taken; None without points."""
        if not self.curve_points:
            return None
        order = torch.randperm(len(test), generator=torch.Generator().manual_seed(CURVE_SEED))
        return Curve(points=self.curve_points, test=test.subset(order[: self.curve_images]))


def choose_training(
    target: Candidate,
    given: Mapping[str, Any],
    steps: int | None,
    *,
    schedule: Literal["cosine", "multistep"] | None = None,
    curve: int = 0,
    curve_images: int = 0,
) -> Training:
    """Flags, else environment variables, else the target's recipe, else the default recipe of such data.

    The steps are fixed to what the target needs, so that all sources train equally long.

    Args:
        target: what is evaluated.
        given: settings given as flags; None where not.
        steps: in the place of the protocol's.
        schedule: of the learning rate; None is the protocol's.
        curve: points of training at which accuracies are taken as well.
        curve_images: test images for them, at most.
    """
    from_environment = {path: value for path, value in given_environment().items() if path.startswith("evaluate.")}
    changed = {path.partition(".")[2]: value for path, value in from_environment.items()}
    changed |= {name: value for name, value in given.items() if value is not None}
    if "net" in changed and "width" not in changed:
        changed["width"] = None  # a width belongs to its network: another network has its own
    settings = replace(target.settings, **changed)
    config = protocol(settings.protocol, target.data, target.ipc)
    name = settings.protocol if steps is None else f"{settings.protocol} at {steps} steps"
    if schedule is not None and schedule != config.schedule:
        config = replace(config, schedule=schedule, lr=MULTISTEP_LR if schedule == "multistep" else config.lr)
        name = f"{name}, {schedule}"
    # From here on in steps: sources of other sizes train as long as the target.
    steps = steps or total_steps(config, len(target.source))
    return Training(
        net=settings.net,
        width=settings.width,
        seeds=settings.seeds,
        protocol=name,
        config=replace(config, steps=steps),
        steps=steps,
        curve_points=curve,
        curve_images=curve_images,
    )


def evaluation_report(candidates: Sequence[Candidate], training: Training, on: Split) -> dict[str, Any]:
    """Train on every candidate and report, as `--json` prints it and `results/` keeps it.

    Args:
        candidates: the target, then all that it is compared with.
        training: of all networks.
        on: the split that they are tested on, for the record.
    """
    target = candidates[0]
    with ProgressView() as view:
        first, *others = [_row(candidate, training, view) for candidate in candidates]
    return {
        **provenance(),
        **{name: getattr(target, name) for name in REPORTED},
        "tested_on": on,
        "test_images": len(target.test),
        "net": training.net,
        "width": width_of(training.net, training.width),
        "protocol": training.protocol,
        "schedule": training.config.schedule,
        "lr": training.config.lr,
        "seeds": list(range(training.seeds)),
        **first,
        **({"curve_images": min(training.curve_images, len(target.test))} if "curve" in first else {}),
        "against": others,
    }


def _row(candidate: Candidate, training: Training, view: ProgressView) -> dict[str, Any]:
    """Train on one candidate, with progress; what is reported of it."""
    detail = f" ({candidate.detail})" if candidate.detail else ""
    note(f"{candidate.name}: {len(candidate.source):,} images{detail}")

    def show(seed: int, record: EpochRecord) -> None:
        words = f"seed {seed}, {record.train_accuracy:.0f} % in training"
        view.show(candidate.name, seed * training.steps + record.step, training.seeds * training.steps, words)

    seeds, curve = range(training.seeds), training.curve_on(candidate.test)
    result = training.evaluate(candidate.source, candidate.test, seeds, on_epoch=show, curve=curve)
    points = [{"step": point.step, **spread(point.values)} for point in result.curve]
    return {
        "method": candidate.name,
        "detail": candidate.detail,
        "floats": candidate.num_floats,
        "bytes": candidate.num_bytes,
        "images": result.images,
        "train_steps": result.train_steps,
        "train_seconds": round(result.seconds, 2),
        "accuracy_percent": spread(result.values),
        **candidate.record,
        **({"curve": points} if points else {}),
    }
