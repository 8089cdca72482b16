"""Networks trained on condensed or real images, tested on real ones, and what is reported of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

from hmn.containers.artifact.run_data import Split
from hmn.data.options import DataOptions
from hmn.errors import check_at_least
from hmn.measure.against import check_against, chosen_against, comparisons
from hmn.measure.candidates import Candidate, target_of
from hmn.measure.training import Training, choose_training
from hmn.runtime.console import OnProgress, ProgressView, note, reported_to
from hmn.runtime.memory import keep_freed_memory
from hmn.train.loop import EpochRecord
from hmn.train.results import provenance, spread

REPORTED = ("data", "recipe", "ipc", "condense_seconds", "processor_seconds", "condensed")
"""What a report repeats of its target."""


@final
@dataclass(frozen=True)
class Evaluation:
    """Accuracies of networks that were trained on one source, in per cent."""

    record: Mapping[str, Any]
    """Everything about it as `hmn evaluate --json` prints it: sizes, training, machine, versions."""

    @property
    def method(self) -> str:
        """What the networks were trained on."""
        return str(self.record["method"])

    @property
    def mean(self) -> float:
        return float(self.record["accuracy_percent"]["mean"])

    @property
    def std(self) -> float:
        """Sample standard deviation over seeds; 0 for one."""
        return float(self.record["accuracy_percent"]["std"])

    @property
    def values(self) -> list[float]:
        """One a seed."""
        return list(self.record["accuracy_percent"]["values"])

    @property
    def against(self) -> list[Evaluation]:
        """What it was compared with, under the same training."""
        return [Evaluation(row) for row in self.record.get("against", ())]


def evaluate(
    target: Any,
    *,
    data: Any = None,
    options: DataOptions | None = None,
    on: Split = "test",
    net: str | None = None,
    width: int | None = None,
    protocol: str | None = None,
    seeds: int | None = None,
    steps: int | None = None,
    schedule: Literal["cosine", "multistep"] | None = None,
    curve: int = 0,
    curve_images: int = 2000,
    subset: int | None = None,
    against: str | Sequence[str] | None = None,
    codec: str | None = None,
    codec_quality: str | None = None,
    codec_side: str | None = None,
    codec_images: str | None = None,
    stored: str | Sequence[str] | None = None,
    on_progress: OnProgress | None = None,
) -> Evaluation:
    """Train networks on a condensed folder or on real images, and test each after its last step.

    Args:
        target: a folder that was condensed (a path, or what `hmn.condense` returned), or data as `hmn.load_data`
            takes them.
        data: what to test on; None for the data that the target was made from.
        options: how to read the data.
        on: "test", or "validation": a tenth of the training images, kept from training on real ones.
        net: a network by name, such as "convnet3" or "timm/NAME"; None as the target's recipe says, as below.
        width: channels of its first layer.
        protocol: name of a training protocol (`hmn list`).
        seeds: networks to train, each from another seed.
        steps: optimizer steps, in the place of the protocol's.
        schedule: of the learning rate, in the place of the protocol's.
        curve: points of training at which the test accuracy is taken too, evenly spaced.
        curve_images: random test images that these are taken on.
        subset: of real data, train on so many random images a class.
        against: also train on these, as many steps: "random", "herding", "k-center" (as many real images as the
            container's budget of floats holds), "whole" (all training images), "codec" (compressed, in as many bytes).
        codec: formats of "codec": webp, jpeg, avif, joined by commas.
        codec_quality: its quality from 1 to 100; of several, joined by commas, the best on validation; or "auto".
        codec_side: shrink to this shorter side in pixels first; of several, or "auto", likewise.
        codec_images: "random", "herding" or "k-center".
        stored: also train on what comes back from storing as "float32", "float16", "int8" or "int4".
        on_progress: called with an `hmn.Progress` now and then, in the place of progress on stderr.

    Raises:
        UserError: the target or its data cannot be read or do not fit each other, or a setting makes no sense.
    """
    # Everything is checked before anything is read, and read before anything is trained.
    codecs = {"codec": codec, "quality": codec_quality, "side": codec_side, "images": codec_images}
    others = chosen_against(_joined(against), stored=_joined(stored), **codecs)
    check_at_least(1, seeds=seeds, steps=steps, subset=subset, width=width)
    check_at_least(0, curve=curve)
    check_at_least(1, curve_images=curve_images)
    keep_freed_memory()
    with reported_to(on_progress):
        first, splits = target_of(target, data=data, subset=subset, flags=options, on=on)
        check_against(target, first, splits, others)
        given = {"net": net, "width": width, "protocol": protocol, "seeds": seeds}
        training = choose_training(first, given, steps, schedule=schedule, curve=curve, curve_images=curve_images)
        candidates = [first, *comparisons(target, first, splits, others, training, on)]
        return Evaluation(evaluation_report(candidates, training, on))


def _joined(names: str | Sequence[str] | None) -> str | None:
    return names if names is None or isinstance(names, str) else ",".join(names)


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
    # How it was made and measured, then the target, then what it is compared with.
    return {
        **provenance(),
        **{name: getattr(target, name) for name in REPORTED},
        "tested_on": on,
        "test_images": len(target.test),
        **training.network,
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

    # All seeds one after the other, with one line of progress.
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
