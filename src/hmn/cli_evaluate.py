"""`hmn evaluate`: train networks on condensed or real images, test them on real ones, and report."""

from __future__ import annotations

import json as jsonlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.markup import escape
from rich.table import Table

from hmn.cli_console import ProgressView, command_line, duration, note, print_json, print_table, results
from hmn.cli_data import DataFlags, Switch
from hmn.cli_sources import AGAINST, Candidate, candidates
from hmn.errors import UserError
from hmn.runtime import keep_freed_memory, write_atomically

if TYPE_CHECKING:
    from hmn.settings import TrainConfig
    from hmn.train import EpochRecord, Evaluation


def evaluate(
    target: str,
    /,
    *,
    data: str | None = None,
    net: str | None = None,
    width: int | None = None,
    protocol: Literal["paper", "short", "quick"] | None = None,
    seeds: int | None = None,
    steps: int | None = None,
    subset: int | None = None,
    against: str | None = None,
    codec: Literal["webp", "jpeg"] = "webp",
    codec_quality: int | None = None,
    json: Switch = False,
    out: Path | None = None,
    on: Literal["test", "validation"] = "test",
    data_flags: DataFlags | None = None,
) -> int:
    """Train networks on condensed or real images and test them on real ones.

    A network is tested once, after its last step. What the target is compared with trains as many steps.

    Parameters
    ----------
    target
        What to train on: a folder that `hmn condense` wrote, a data set (name or path), or images (--data).
    data
        Data set to test on (default: the one that the target was made from).
    net
        convnet3, convnet4, resnetap10, resnet18, vgg11, vgg16, densenet121, timm/NAME (default: by recipe).
    width
        Channels of its first layer.
    protocol
        Training protocol: paper (the paper's epochs), short (2,000 steps) or quick (600 steps).
    seeds
        Networks to train, each from another seed.
    steps
        Optimizer steps, in the place of the protocol's.
    subset
        Of real data: train on this many random images per class.
    against
        Also train on: random (as many random real images as the container's budget of floats holds), whole
        (all training images), codec (random real images as WebP or JPEG in as many bytes). Joined by commas.
    codec
        Format of the codec comparison.
    codec_quality
        Its quality, 1 to 100 (default: 20, or more where bytes are left).
    json
        Print JSON.
    out
        Also write the JSON to this file.
    on
        Test on the test split, or on a tenth of the training images, kept from training on real ones; a container
        condensed from the whole training split has seen that tenth.
    """
    wanted = [name for name in (against or "").split(",") if name]
    for name in wanted:
        if name not in AGAINST:
            raise UserError(f"--against {name}: expected {', '.join(AGAINST)}, joined by commas.")
    for flag, value in (("--seeds", seeds), ("--steps", steps), ("--subset", subset), ("--width", width)):
        if value is not None and value < 1:
            raise UserError(f"{flag} {value}: expected at least 1.")
    check_output(out)
    keep_freed_memory()
    sources = candidates(
        target, data=data, subset=subset, against=wanted, codec=codec, codec_quality=codec_quality,
        flags=data_flags or DataFlags(), on=on,
    )  # fmt: skip
    given = {"net": net, "width": width, "protocol": protocol, "seeds": seeds}
    training = choose_training(sources[0], given, steps)
    rows = [row_of(*pair) for pair in zip(sources, train_all(sources, training), strict=True)]
    report = report_of(sources[0], rows, training, on)
    # First the screen: a disk that is full must not cost the result.
    if json:
        print_json(report)
    else:
        print_report(report)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, (jsonlib.dumps(report, indent=2, ensure_ascii=False) + "\n").encode())
        note(f"written: {out}")
    return 0


def check_output(out: Path | None) -> None:
    """Refuse an output that cannot be a file, before any training.

    Raises:
        UserError: it is a folder, or its folder is a file or cannot be written.
    """
    if out is None:
        return
    if out.is_dir():
        raise UserError(f"--out {out}: is a folder; expected the name of a .json file.")
    parent = next(folder for folder in out.resolve().parents if folder.exists())
    if not parent.is_dir():
        raise UserError(f"--out {out}: {parent} is a file, not a folder.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UserError(f"--out {out}: {parent} cannot be written: choose another folder.")


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


def choose_training(target: Candidate, given: Mapping[str, Any], steps: int | None) -> Training:
    """Flags, else environment variables, else the target's recipe, else the default recipe of such data.

    The steps are fixed to what the target needs, so that all sources train equally long.

    Args:
        target: what is evaluated.
        given: settings given as flags; None where not.
        steps: in the place of the protocol's.
    """
    from hmn.cli_settings import given_environment
    from hmn.protocols import protocol
    from hmn.train import total_steps

    environment = {path.partition(".")[2]: value for path, value in given_environment().items()
                   if path.startswith("evaluate.")}  # fmt: skip
    own = {**environment, **{name: value for name, value in given.items() if value is not None}}
    if "net" in own and "width" not in own:
        own["width"] = None  # a width belongs to its network: another network has its own
    settings = replace(target.settings, **own)
    config = protocol(settings.protocol, target.data, target.ipc)
    steps_of_target = steps or total_steps(config, len(target.source))
    return Training(
        net=settings.net,
        width=settings.width,
        seeds=settings.seeds,
        protocol=settings.protocol if steps is None else f"{settings.protocol} at {steps} steps",
        config=replace(config, steps=steps_of_target),
        steps=steps_of_target,
    )


def train_all(sources: list[Candidate], training: Training) -> list[Evaluation]:
    """Evaluate every source, with progress on stderr."""
    from hmn.device import choose_device
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
                )
            )
    return done


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
        "accuracy_percent": {
            "mean": round(result.mean, 4),
            "std": round(result.std, 4),
            "values": [round(value, 4) for value in result.values],
        },
    }


def report_of(target: Candidate, rows: list[dict[str, Any]], training: Training, on: str) -> dict[str, Any]:
    """The result as `--json` prints it and `results/` keeps it."""
    from datetime import UTC, datetime

    from hmn import facts
    from hmn.nets.build import width_of

    first = rows[0]
    return {
        "command": command_line(),
        "commit": facts.commit(),
        "versions": facts.versions(),
        "hardware": facts.hardware(),
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
        "condensed": target.condensed,
        "net": training.net,
        "width": width_of(training.net, training.width),
        "protocol": training.protocol,
        "seeds": list(range(training.seeds)),
        "train_steps": first["train_steps"],
        "train_seconds": first["train_seconds"],
        "accuracy_percent": first["accuracy_percent"],
        "detail": first["detail"],
        "against": rows[1:],
    }


def print_report(report: dict[str, Any]) -> None:
    """The accuracies as a table on stdout."""
    width = "" if report["width"] is None else f", width {report['width']}"
    steps = f", {report['train_steps']:,} steps" if " steps" not in report["protocol"] else ""
    title = f"{report['data']}: {report['tested_on']} accuracy of {report['net']}{width}; "
    title += f"protocol {report['protocol']}{steps}"
    table = Table(header_style="cyan")
    table.add_column("trained on")
    for column in ("images", "floats", "bytes", "accuracy %", "std", "seeds", "time each"):
        table.add_column(column, justify="right")
    for row in (report, *report["against"]):
        accuracy = row["accuracy_percent"]
        count = len(accuracy["values"])
        table.add_row(
            escape(row["method"]),
            f"{row['images']:,}",
            "" if row["floats"] is None else f"{row['floats']:,}",
            "" if row["bytes"] is None else f"{row['bytes']:,}",
            f"{accuracy['mean']:.1f}",
            f"{accuracy['std']:.1f}" if count > 1 else "-",
            str(count),
            duration(row["train_seconds"]),
        )
    print_table(title, table)
    for row in (report, *report["against"]):
        if row["detail"]:
            results().print(f"{row['method']}: {row['detail']}", markup=False, soft_wrap=True)
