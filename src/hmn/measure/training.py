"""The trainings behind an accuracy: how networks are trained, and what is reported of them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from hmn.measure.candidates import Candidate
from hmn.runtime.console import ProgressView, command_line, note

if TYPE_CHECKING:
    from hmn.recipes.settings import TrainConfig
    from hmn.train import Curve, EpochRecord, Evaluation


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


MULTISTEP_LR = 0.1
"""Where the multi-step schedule starts. Source: supplement D.3 of arXiv:2310.07506."""
CURVE_SEED = 0
"""Seed of the choice of test images that curves are taken on."""


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
    from hmn.recipes.protocols import protocol
    from hmn.recipes.values import given_environment
    from hmn.train import total_steps

    environment = {path.partition(".")[2]: value for path, value in given_environment().items()
                   if path.startswith("evaluate.")}  # fmt: skip
    own = {**environment, **{name: value for name, value in given.items() if value is not None}}
    if "net" in own and "width" not in own:
        own["width"] = None  # a width belongs to its network: another network has its own
    settings = replace(target.settings, **own)
    config = protocol(settings.protocol, target.data, target.ipc)
    name = settings.protocol if steps is None else f"{settings.protocol} at {steps} steps"
    if schedule is not None and schedule != config.schedule:
        config = replace(config, schedule=schedule, lr=MULTISTEP_LR if schedule == "multistep" else config.lr)
        name = f"{name}, {schedule}"
    steps_of_target = steps or total_steps(config, len(target.source))
    return Training(
        net=settings.net,
        width=settings.width,
        seeds=settings.seeds,
        protocol=name,
        config=replace(config, steps=steps_of_target),
        steps=steps_of_target,
        curve_points=curve,
        curve_images=curve_images,
    )


def train_all(sources: list[Candidate], training: Training) -> list[Evaluation]:
    """Evaluate every source, with progress on stderr."""
    from hmn.runtime.device import choose_device
    from hmn.train import evaluate as evaluate_source

    done = []
    total = training.seeds * training.steps
    with ProgressView() as view:
        for candidate in sources:
            detail = f" ({candidate.detail})" if candidate.detail else ""
            note(f"{candidate.name}: {len(candidate.source):,} images{detail}")

            def show(seed: int, record: EpochRecord, name: str = candidate.name) -> None:
                behind = seed * training.steps + record.step
                view.show(name, behind, total, f"seed {seed}, {record.train_accuracy:.0f} % in training")

            done.append(
                evaluate_source(
                    candidate.source,
                    candidate.test,
                    net=training.net,
                    width=training.width,
                    config=training.config,
                    seeds=range(training.seeds),
                    protocol=training.protocol,
                    device=choose_device(),
                    on_epoch=show,
                    curve=curve_of(candidate, training),
                )
            )
    return done


def curve_of(candidate: Candidate, training: Training) -> Curve | None:
    """Where and on what the accuracies of a training's points are taken; None without points."""
    import torch

    from hmn.train import Curve

    if not training.curve_points:
        return None
    order = torch.randperm(len(candidate.test), generator=torch.Generator().manual_seed(CURVE_SEED))
    return Curve(points=training.curve_points, test=candidate.test.subset(order[: training.curve_images]))


def row_of(candidate: Candidate, result: Evaluation) -> dict[str, Any]:
    """What is reported about one source."""
    return {
        "method": candidate.name,
        "detail": candidate.detail,
        "floats": candidate.num_floats,
        "bytes": candidate.num_bytes,
        "images": result.images,
        "train_steps": result.train_steps,
        "train_seconds": round(result.seconds, 2),
        "accuracy_percent": _spread(result.values),
        **candidate.record,
        **_curve(result),
    }


def _curve(result: Evaluation) -> dict[str, Any]:
    """The accuracies on the way, where there are some."""
    points = [{"step": point.step, **_spread(point.values)} for point in result.curve]
    return {"curve": points} if points else {}


def _spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean, sample standard deviation (0 for one value) and the values, one per seed."""
    return {
        "mean": round(statistics.fmean(values), 4),
        "std": round(statistics.stdev(values) if len(values) > 1 else 0.0, 4),
        "values": [round(value, 4) for value in values],
    }


def report_of(target: Candidate, rows: list[dict[str, Any]], training: Training, on: str) -> dict[str, Any]:
    """The result as `--json` prints it and `results/` keeps it."""
    from datetime import UTC, datetime

    from hmn.nets import native
    from hmn.nets.build import width_of
    from hmn.runtime import facts

    first = rows[0]
    return {
        "command": command_line(),
        "commit": facts.commit(),
        "versions": facts.versions(),
        "hardware": facts.hardware(native.state()),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": target.data,
        "tested_on": on,
        "test_images": len(target.test),
        "method": first["method"],
        "recipe": target.recipe,
        "ipc": target.ipc,
        "floats": first["floats"],
        "bytes": first["bytes"],
        "images": first["images"],
        "condense_seconds": target.condense_seconds,
        "processor_seconds": target.processor_seconds,
        "condensed": target.condensed,
        "net": training.net,
        "width": width_of(training.net, training.width),
        "protocol": training.protocol,
        "schedule": training.config.schedule,
        "lr": training.config.lr,
        "seeds": list(range(training.seeds)),
        "train_steps": first["train_steps"],
        "train_seconds": first["train_seconds"],
        "accuracy_percent": first["accuracy_percent"],
        "detail": first["detail"],
        **target.record,
        **(
            {"curve": first["curve"], "curve_images": min(training.curve_images, len(target.test))}
            if "curve" in first
            else {}
        ),
        "against": rows[1:],
    }
