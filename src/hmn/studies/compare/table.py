"""The rows of a comparison: what was measured, what it cost, and what is published beside it."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hmn.containers.artifact.load import info
from hmn.containers.artifact.place import RECIPE, read_run
from hmn.data.real import Splits
from hmn.measure.candidates import WHOLE, remarks
from hmn.measure.label_robust import score_rounds
from hmn.measure.training import Training
from hmn.nets.build import width_of
from hmn.recipes.kinds import OBJECTIVES
from hmn.recipes.published import Published, published, same_objective
from hmn.recipes.values import given_file
from hmn.runtime.files import write_atomically
from hmn.studies.compare.cells import FULL, Cell, Cells, ComparisonSettings, folder_of
from hmn.studies.compare.text import COMPARISON_FORMAT, in_order, markdown
from hmn.studies.pool.attempt import Outcome
from hmn.studies.training import choice_facts
from hmn.train.results import spread

COSTS = ("condense_seconds", "processor_seconds", "peak_memory_bytes")
"""What condensing cost; the table says nothing of what a run did not record."""
CHOOSING = ("choosing_seconds", "choosing_processor_seconds")
"""What choosing real images cost; next to nothing where the choice was kept from before."""
UNKNOWN = ("container", "objective", "distance", "recipe", "floats", "bytes", "stored_as", "images")
"""What is not known of a row that failed."""
MADE_BY = ("command", "commit", "versions", "hardware")


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What became of a cell."""

    accuracies: tuple[float, ...]
    """Per cent, a seed each; none where it failed."""
    value: Mapping[str, Any]
    """Outcome of its first training."""
    seconds: float | None = None
    reason: str | None = None
    """Why it failed."""

    @property
    def accuracy(self) -> dict[str, Any] | None:
        """Mean, deviation and values, where it did not fail."""
        return spread(self.accuracies) if self.accuracies else None


def trained(cell: Cell, made: Mapping[str, Outcome], runs: Mapping[str, Outcome], seeds: int) -> Trained:
    """A cell's trainings together."""
    outcomes = [] if cell.unit is None else [made[cell.unit]]
    if all(outcome.status == "done" for outcome in outcomes):
        outcomes = [runs[training_name(cell, seed)] for seed in range(seeds)]
    for outcome in outcomes:
        if outcome.status != "done":
            return Trained(accuracies=(), value={}, reason=outcome.reason)
    values = [outcome.value for outcome in outcomes]
    seconds = round(statistics.fmean(value["seconds"] for value in values), 2)
    return Trained(
        accuracies=tuple(float(value["accuracies"][0]) for value in values), value=values[0], seconds=seconds
    )


def training_name(cell: Cell, seed: int) -> str:
    """Name of a training's folder."""
    return f"{cell.name}-seed-{seed}"


def table_of(
    settings: ComparisonSettings, cells: Cells, splits: Splits, found: Mapping[str, Trained], out: Path, *, sort: str
) -> dict[str, Any]:
    """The table, but for the facts of the command.

    Args:
        settings: what the command says.
        cells: everything that was to be trained on.
        splits: the data.
        found: what became of each cell, by its name.
        out: the comparison's folder.
        sort: "accuracy" or "method", within a budget.
    """
    main = [cell for cell in cells.cells if cell.dtype == FULL]
    whole = next(found[cell.name] for cell in main if cell.source == "whole")
    random = {cell.ipc: found[cell.name] for cell in main if cell.method.name == "random"}
    # The whole training set and random images are what the score of every row is reckoned against.
    rows = []
    for cell in main:
        others = [other for other in cells.cells if (other.method, other.ipc) == (cell.method, cell.ipc)]
        stored = {other.dtype: stored_form(found[other.name]) for other in others if other.dtype != FULL}
        score = robust_score(found[cell.name], whole, random.get(cell.ipc))
        about = method_row(cell, found[cell.name], settings, splits, out)
        rows.append({**about, "stored": stored, "label_robust_score": score})
    train = splits.train
    shape = {"classes": train.num_classes, "image_shape": list(train.image_shape)}
    sizes = {"test_images": len(splits.test), "train_images": len(train), **shape}
    about = {"format": COMPARISON_FORMAT, "data": splits.name, "tested_on": settings.given.data.on, **sizes}
    order = {"sorted_by": sort, "stored": list(settings.stored), "rows": in_order(rows, sort)}
    return {**about, "protocol": protocol_of(settings.training), **order}


def protocol_of(training: Training) -> dict[str, Any]:
    """How every network was trained."""
    config = {name: getattr(training.config, name) for name in ("batch_size", "lr", "schedule")}
    net = {"net": training.net, "width": width_of(training.net, training.width)}
    seeds = list(range(training.seeds))
    return {"name": training.protocol, **net, "train_steps": training.steps, **config, "seeds": seeds}


def method_row(cell: Cell, done: Trained, settings: ComparisonSettings, splits: Splits, out: Path) -> dict[str, Any]:
    """A method at a budget."""
    about: dict[str, Any] = {**dict.fromkeys(UNKNOWN), "detail": "", "made": {}}
    if cell.source == "whole":
        values, detail = splits.train.pixels.numel(), WHOLE[settings.given.data.on]
        about |= {"floats": values, "bytes": values, "images": len(splits.train), "detail": detail}
    elif done.accuracies:
        place = folder_of(cell, out)
        about |= _condensed(place, settings) if cell.source == "condensed" else _chosen(place)
    # What is measured and what is published stand side by side.
    beside = _published(cell, about, splits.name, settings.training.net)
    return {
        "method": cell.method.name,
        "kind": cell.method.kind,
        "ipc": cell.ipc,
        "status": "done" if done.accuracies else "failed",
        "reason": done.reason,
        **about,
        "accuracy_percent": done.accuracy,
        "train_steps": done.value.get("steps"),
        "test_images": done.value.get("test_images"),
        "published": None if beside is None else beside.facts(),
        "made": {**about["made"], "train_seconds": done.seconds},
    }


def _condensed(place: Path, settings: ComparisonSettings) -> dict[str, Any]:
    """What a condensed folder says of itself."""
    there, run = info(place), read_run(place)
    recipe = given_file(place / RECIPE) if (place / RECIPE).exists() else {}
    objective = recipe.get("condense.objective")
    # Numbers of another format than float32, and seen images, are told beside the row.
    notes = [f"stored as {there.dtype}"] if there.dtype != FULL else []
    return {
        "container": there.shape.kind,
        "objective": objective,
        "distance": recipe.get("condense.distance") if _reads_distance(objective) else None,
        "recipe": recipe.get("name"),
        "floats": there.ledger.num_floats,
        "bytes": there.value_bytes,
        "stored_as": there.dtype,
        "images": there.shape.num_images,
        "detail": "; ".join([*notes, *remarks(run, there.ledger, settings.given.data.on)]),
        "made": {name: run[name] for name in (*COSTS, *MADE_BY) if name in run} | {"sha256": there.checksum},
    }


def _reads_distance(objective: str | None) -> bool:
    return objective is not None and "condense.distance" in OBJECTIVES.load(objective).reads


def _chosen(place: Path) -> dict[str, Any]:
    """What chosen real images say of themselves."""
    facts = choice_facts(place)
    about = {name: facts[name] for name in ("floats", "bytes", "images", "detail")}
    return {**about, **facts["record"], "made": {name: facts[name] for name in CHOOSING}}


def _published(cell: Cell, about: Mapping[str, Any], data: str, net: str) -> Published | None:
    if cell.method.kind in ("coreset", "codec"):
        return None
    if cell.method.name == about["container"]:  # a label may be the container's name, too
        gradient = about["objective"] == "gradient"
        return same_objective(cell.method.name, data=data, ipc=cell.ipc) if gradient else None
    return published(cell.method.name, data=data, ipc=cell.ipc, net=net)


def stored_form(done: Trained) -> dict[str, Any]:
    """A set in another number format: its bytes, and what networks trained on it reach."""
    sizes = {name: done.value.get(name) for name in ("bytes", "images")}
    return {**sizes, "accuracy_percent": done.accuracy, "reason": done.reason}


def robust_score(done: Trained, whole: Trained, random: Trained | None) -> dict[str, Any] | None:
    """The label-robust score, where all that it needs was trained."""
    if random is None or not (done.accuracies and whole.accuracies and random.accuracies):
        return None
    return score_rounds(done.accuracies, whole=whole.accuracies, random=random.accuracies)


def write_table(out: Path, table: Mapping[str, Any]) -> None:
    """table.json and table.md."""
    text = json.dumps(table, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(out / "table.json", text.encode())
    write_atomically(out / "table.md", markdown(table).encode())
