"""The rows of a comparison: what was measured, what it cost, and what is published beside it."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hmn.containers.artifact.place import read_run
from hmn.measure.candidates import WHOLE, remarks
from hmn.measure.label_robust import score_rounds
from hmn.recipes.published import Published, published, same_objective
from hmn.recipes.values import given_file
from hmn.studies.compare.cells import FULL, Cell, Cells, Wanted, images_of
from hmn.studies.compare.text import COMPARISON_FORMAT, in_order
from hmn.studies.pool import Outcome
from hmn.studies.training import FACTS

if TYPE_CHECKING:
    from hmn.data.real import Splits


COSTS = ("condense_seconds", "processor_seconds", "peak_memory_bytes")
"""Of condensing; the table says nothing of what a run did not record."""
CHOOSING = ("choosing_seconds", "choosing_processor_seconds")
"""Of choosing real images; next to nothing where the choice was kept from before."""
UNKNOWN = ("container", "objective", "distance", "recipe", "floats", "bytes", "stored_as", "images")
"""Of a row that failed."""
MADE_BY = ("command", "commit", "versions", "hardware")


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What became of a cell."""

    accuracies: tuple[float, ...]
    """In per cent, a seed each; none where it failed."""
    value: Mapping[str, Any]
    """Of its first training."""
    seconds: float | None
    reason: str | None
    """Why it failed."""


def trained(cell: Cell, made: Mapping[str, Outcome], runs: Mapping[str, Outcome], seeds: int) -> Trained:
    """A cell's trainings together."""
    unit = None if cell.unit is None else made[cell.unit]
    if unit is not None and unit.status != "done":
        return Trained(accuracies=(), value={}, seconds=None, reason=unit.reason)
    outcomes = [runs[training_name(cell, seed)] for seed in range(seeds)]
    bad = [outcome for outcome in outcomes if outcome.status != "done"]
    if bad:
        return Trained(accuracies=(), value={}, seconds=None, reason=bad[0].reason)
    values = [outcome.value for outcome in outcomes]
    return Trained(
        accuracies=tuple(float(value["accuracy"]) for value in values), value=values[0],
        seconds=round(statistics.fmean(value["seconds"] for value in values), 2), reason=None,
    )  # fmt: skip


def training_name(cell: Cell, seed: int) -> str:
    """Of a training's folder."""
    return f"{cell.name}-seed-{seed}"


def table_of(
    wanted: Wanted, cells: Cells, splits: Splits, found: Mapping[str, Trained], out: Path, *, sort: str
) -> dict[str, Any]:
    """The table, but for the facts of the command.

    Args:
        wanted: what the command says.
        cells: everything that was to be trained on.
        splits: the data.
        found: what became of each cell, by its name.
        out: the comparison's folder.
        sort: "accuracy" or "method", within a budget.
    """
    from hmn.nets.build import width_of

    training, train = wanted.training, splits.train
    main = [cell for cell in cells.cells if cell.dtype == FULL]
    whole = next(found[cell.name] for cell in main if cell.source == "whole")
    random = {cell.ipc: found[cell.name] for cell in main if cell.method.name == "random"}
    rows = []
    for cell in main:
        others = [other for other in cells.cells if (other.method, other.ipc) == (cell.method, cell.ipc)]
        rows.append({
            **row(cell, found[cell.name], wanted, splits, out),
            "stored": {other.dtype: stored(found[other.name]) for other in others if other.dtype != FULL},
            "label_robust_score": score(found[cell.name], whole, random.get(cell.ipc)),
        })  # fmt: skip
    return {
        "format": COMPARISON_FORMAT, "data": splits.name, "tested_on": wanted.given.on, "test_images": len(splits.test),
        "train_images": len(train), "classes": train.num_classes, "image_shape": list(train.image_shape),
        "protocol": {
            "name": training.protocol, "net": training.net, "width": width_of(training.net, training.width),
            "train_steps": training.steps, "batch_size": training.config.batch_size, "lr": training.config.lr,
            "schedule": training.config.schedule, "seeds": list(range(training.seeds)),
        },
        "sorted_by": sort, "stored": list(wanted.stored), "rows": in_order(rows, sort),
    }  # fmt: skip


def row(cell: Cell, done: Trained, wanted: Wanted, splits: Splits, out: Path) -> dict[str, Any]:
    """A method at a budget."""
    failed = not done.accuracies
    about: dict[str, Any] = {**dict.fromkeys(UNKNOWN), "detail": "", "made": {}}
    if cell.source == "whole":
        images, shape = len(splits.train), splits.train.image_shape
        values = images * shape[0] * shape[1] * shape[2]
        about |= {"floats": values, "bytes": values, "images": images, "detail": WHOLE[wanted.given.on]}
    elif not failed:
        place = images_of(cell, out)
        about |= _condensed(place, wanted) if cell.source == "condensed" else _chosen(place)
    beside = _published(cell, about, splits.name, wanted.training.net)
    return {
        "method": cell.method.name, "kind": cell.method.kind, "ipc": cell.ipc,
        "status": "failed" if failed else "done", "reason": done.reason, **about,
        "accuracy_percent": None if failed else spread(done.accuracies),
        "train_steps": done.value.get("steps"), "test_images": done.value.get("test_images"),
        "published": None if beside is None else beside.facts(),
        "made": {**about["made"], "train_seconds": done.seconds},
    }  # fmt: skip


def _condensed(place: Path, wanted: Wanted) -> dict[str, Any]:
    """What a condensed folder says of itself."""
    from hmn.containers.artifact.load import info

    there, run = info(place), read_run(place)
    recipe = given_file(place / "recipe.toml") if (place / "recipe.toml").exists() else {}
    objective = recipe.get("condense.objective")
    notes = [f"stored as {there.dtype}"] if there.dtype != FULL else []
    return {
        "container": there.shape.kind, "objective": objective,
        "distance": recipe.get("condense.distance") if objective == "gradient" else None,
        "recipe": recipe.get("name"), "floats": there.ledger.num_floats, "bytes": there.value_bytes,
        "stored_as": there.dtype, "images": there.shape.num_images,
        "detail": "; ".join([*notes, *remarks(run, there.ledger, wanted.given.on)]),
        "made": {name: run[name] for name in (*COSTS, *MADE_BY) if name in run} | {"sha256": there.checksum},
    }  # fmt: skip


def _chosen(place: Path) -> dict[str, Any]:
    """What chosen real images say of themselves."""
    facts = json.loads((place / FACTS).read_text(encoding="utf-8"))
    return {
        "floats": facts["floats"], "bytes": facts["bytes"], "images": facts["images"], "detail": facts["detail"],
        **facts["record"], "made": {name: facts[name] for name in CHOOSING},
    }  # fmt: skip


def _published(cell: Cell, about: Mapping[str, Any], data: str, net: str) -> Published | None:
    if cell.method.kind in ("coreset", "codec"):
        return None
    if cell.method.name == about["container"]:  # a label may be the container's name, too
        gradient = about["objective"] == "gradient"
        return same_objective(cell.method.name, data=data, ipc=cell.ipc) if gradient else None
    return published(cell.method.name, data=data, ipc=cell.ipc, net=net)


def stored(done: Trained) -> dict[str, Any]:
    """A set in another number format: its bytes, and what networks trained on it reach."""
    return {
        "bytes": done.value.get("bytes"), "images": done.value.get("images"),
        "accuracy_percent": spread(done.accuracies) if done.accuracies else None, "reason": done.reason,
    }  # fmt: skip


def score(done: Trained, whole: Trained, random: Trained | None) -> dict[str, Any] | None:
    """The label-robust score, where all that it needs was trained."""
    if random is None or not (done.accuracies and whole.accuracies and random.accuracies):
        return None
    return score_rounds(done.accuracies, whole=whole.accuracies, random=random.accuracies)


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean, sample standard deviation (0 for one value) and the values, one a seed."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return {
        "mean": round(statistics.fmean(values), 4),
        "std": round(deviation, 4),
        "values": [round(value, 4) for value in values],
    }
