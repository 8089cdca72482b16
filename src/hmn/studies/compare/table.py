"""The work of `hmn compare`: first everything that is trained on, then the trainings, then the rows of the table: what
was measured, what it cost, and what is published beside it.
"""

import math
import shlex
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hmn.containers.artifact.load import info
from hmn.containers.artifact.place import RECIPE, read_run
from hmn.containers.artifact.run_data import Split
from hmn.data.real import Splits
from hmn.measure.candidates import RECORDED, WHOLE, remarks
from hmn.recipes.kinds import OBJECTIVES
from hmn.recipes.published import Published, published, same_objective
from hmn.recipes.values import given_file, recipe_to_toml
from hmn.runtime.files import json_object
from hmn.studies.compare.cells import FULL, Cell, ComparisonSettings
from hmn.studies.compare.text import COMPARISON_FORMAT, in_order
from hmn.studies.folder import Study, fingerprints, plan_of
from hmn.studies.pool.attempt import Outcome, SweepRun
from hmn.studies.tasks import CHOICE_FACTS, Condensation, ImageChoice, TrainOn, make, train_on
from hmn.studies.where import Where
from hmn.train.results import provenance, spread

COSTS = ("condense_seconds", "processor_seconds", "peak_memory_bytes")
"""What condensing cost; the table says nothing of what a run did not record."""
CHOOSING = ("choosing_seconds", "choosing_processor_seconds")
"""What choosing real images cost; next to nothing where the choice was kept from before."""
UNKNOWN = ("container", "objective", "distance", "recipe", "floats", "bytes", "stored_as", "images")
"""What is not known of a row that failed."""
LRS_WEIGHT = 0.5
"""Weight of the improvement over random against hard label recovery: DD-Ranking's default."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What became of a cell."""

    accuracies: tuple[float, ...] = ()
    """Per cent, a seed each; none where it failed."""
    value: Mapping[str, Any] = field(default_factory=dict)
    """Outcome of its first training."""
    seconds: float | None = None
    reason: str | None = None
    """Why it failed."""

    @property
    def accuracy(self) -> dict[str, Any] | None:
        """Mean, deviation and values, where it did not fail."""
        return spread(self.accuracies) if self.accuracies else None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A comparison with everything settled."""

    out: Path
    settings: ComparisonSettings
    cells: Sequence[Cell]
    splits: Splits
    where: Where
    sort: str
    """accuracy or method: the order within a budget."""

    @property
    def units(self) -> list[SweepRun]:
        """What makes images."""
        units = {cell.unit: cell.making for cell in self.cells if cell.unit is not None}
        return [SweepRun(name=name, payload=payload) for name, payload in units.items()]

    def trainings(self, made: Mapping[str, Outcome] | None = None) -> list[SweepRun]:
        """A training for each seed of each cell; with `made`, of those whose images are there."""
        return [
            SweepRun(name=training_name(cell, seed), payload=self._training(cell, seed))
            for cell in self.cells
            if made is None or cell.unit is None or made[cell.unit].status == "done"
            for seed in range(self.settings.training.seeds)
        ]

    def _training(self, cell: Cell, seed: int) -> TrainOn:
        place = "" if cell.source == "whole" else str(cell.place(self.out))
        rounded = cell.dtype if cell.source == "condensed" and cell.dtype != FULL else None
        how: dict[str, Any] = {"data": self.settings.given.data, "training": self.settings.training, "seed": seed}
        return TrainOn(kind=cell.source, place=place, sha256=cell.sha256, stored_as=rounded, **how)

    def plan(self) -> dict[str, Any]:
        """What sweep.json holds. Its identity is what all rows share; rows may be added."""
        training = self.settings.training
        protocol = {"net": training.net, "width": training.width, "config": asdict(training.config)}
        identity = {"data": fingerprints(self.splits), "tested_on": self.settings.given.data.on, "runs": protocol}
        points = [{"run": run.name} for run in (*self.units, *self.trainings())]
        # Every unit and cell in plain values, to know them again.
        rows: dict[str, Any] = {unit.name: _unit_settings(unit.payload) for unit in self.units}
        for cell in self.cells:
            about = {"source": cell.source, "unit": cell.unit, "dtype": cell.dtype, "sha256": cell.sha256}
            rows[f"{cell.name} trained"] = about
        return plan_of(identity, points, rows)

    def run(self, *, resume: bool, force: bool) -> dict[str, Any]:
        """Do what is not done, as `Study.open` and `Study.run`, and return the table."""
        study = Study(self.out, self.where, self.plan())
        study.open(resume=resume, force=force)
        made = study.run("sets of images", self.units, make)
        runs = study.run("trainings", self.trainings(made), train_on)
        table = self._table({cell.name: self._trained(cell, made, runs) for cell in self.cells})
        # The command is the one that began it.
        facts = {**provenance(), "command": shlex.join(["hmn", *study.plan["command"]])}
        table["facts"] = {**facts, "backend": self.where.backend, "threads_per_run": study.threads}
        return table

    def _trained(self, cell: Cell, made: Mapping[str, Outcome], runs: Mapping[str, Outcome]) -> Trained:
        """A cell's trainings together."""
        outcomes = [] if cell.unit is None else [made[cell.unit]]
        if all(outcome.status == "done" for outcome in outcomes):
            outcomes = [runs[training_name(cell, seed)] for seed in range(self.settings.training.seeds)]
        for outcome in outcomes:
            if outcome.status != "done":
                return Trained(reason=outcome.reason)
        values = [outcome.value for outcome in outcomes]
        seconds = round(statistics.fmean(value["seconds"] for value in values), 2)
        accuracies = tuple(float(value["accuracies"][0]) for value in values)
        return Trained(accuracies=accuracies, value=values[0], seconds=seconds)

    def _table(self, found: Mapping[str, Trained]) -> dict[str, Any]:
        """The table, but for the facts of the command, from what became of each cell by its name."""
        main = [cell for cell in self.cells if cell.dtype == FULL]
        whole = next(found[cell.name].accuracies for cell in main if cell.source == "whole")
        random = {cell.ipc: found[cell.name].accuracies for cell in main if cell.method.name == "random"}
        # The whole training set and random images are what the score of every row is reckoned against.
        rows = []
        for cell in main:
            others = [other for other in self.cells if (other.method, other.ipc) == (cell.method, cell.ipc)]
            stored = {other.dtype: _stored_form(found[other.name]) for other in others if other.dtype != FULL}
            score = score_rounds(found[cell.name].accuracies, whole=whole, random=random.get(cell.ipc, ()))
            rows.append({**self._row(cell, found[cell.name]), "stored": stored, "label_robust_score": score})
        train, training = self.splits.train, self.settings.training
        shape = {"classes": train.num_classes, "image_shape": list(train.image_shape)}
        sizes = {"test_images": len(self.splits.test), "train_images": len(train), **shape}
        about = {"format": COMPARISON_FORMAT, "data": self.splits.name, "tested_on": self.settings.given.data.on}
        # How every network was trained.
        net = {**training.network, "train_steps": training.steps}
        config = {name: getattr(training.config, name) for name in ("batch_size", "lr", "schedule")}
        protocol = {"name": training.protocol, **net, **config, "seeds": list(range(training.seeds))}
        order = {"sorted_by": self.sort, "stored": list(self.settings.stored), "rows": in_order(rows, self.sort)}
        return {**about, **sizes, "protocol": protocol, **order}

    def _row(self, cell: Cell, done: Trained) -> dict[str, Any]:
        """A method at a budget."""
        on, train = self.settings.given.data.on, self.splits.train
        about: dict[str, Any] = {**dict.fromkeys(UNKNOWN), "detail": "", "made": {}}
        if cell.source == "whole":
            values = train.pixels.numel()
            about |= {"floats": values, "bytes": values, "images": len(train), "detail": WHOLE[on]}
        elif done.accuracies:
            place = cell.place(self.out)
            about |= _condensed(place, on) if cell.source == "condensed" else _chosen(place)
        # What is measured and what is published stand side by side.
        beside = _published(cell, about, self.splits.name, self.settings.training.net)
        row: dict[str, Any] = {"method": cell.method.name, "kind": cell.method.kind, "ipc": cell.ipc}
        row |= {"status": "done" if done.accuracies else "failed", "reason": done.reason, **about}
        row |= {"accuracy_percent": done.accuracy, "train_steps": done.value.get("steps")}
        row |= {"test_images": done.value.get("test_images"), "published": None if beside is None else asdict(beside)}
        return {**row, "made": {**about["made"], "train_seconds": done.seconds}}


def training_name(cell: Cell, seed: int) -> str:
    """Name of a training's folder."""
    return f"{cell.name}-seed-{seed}"


def _unit_settings(unit: Condensation | ImageChoice) -> dict[str, Any]:
    if isinstance(unit, Condensation):
        return {"recipe": recipe_to_toml(unit.recipe), "shape": repr(unit.chosen.shape)}
    codec = None if unit.codec is None else repr(unit.codec)
    return {"ipc": unit.ipc, "method": unit.method, "codec": codec, "num_bytes": unit.num_bytes}


def _condensed(place: Path, on: Split) -> dict[str, Any]:
    """What a condensed folder says of itself."""
    there, run = info(place), read_run(place)
    recipe = given_file(place / RECIPE) if (place / RECIPE).exists() else {}
    objective = recipe.get("condense.objective")
    has_distance = objective is not None and "condense.distance" in OBJECTIVES.load(objective).reads
    # Numbers of another format than float32, and seen images, are told beside the row.
    notes = [f"stored as {there.dtype}"] if there.dtype != FULL else []
    distance = recipe.get("condense.distance") if has_distance else None
    how = {"container": there.shape.kind, "objective": objective, "distance": distance, "recipe": recipe.get("name")}
    floats, num_bytes, images = there.ledger.num_floats, there.value_bytes, there.shape.num_images
    sizes = {"floats": floats, "bytes": num_bytes, "stored_as": there.dtype, "images": images}
    made = {name: run[name] for name in (*COSTS, *RECORDED) if name in run} | {"sha256": there.checksum}
    return {**how, **sizes, "detail": "; ".join([*notes, *remarks(run, there.ledger, on)]), "made": made}


def _chosen(place: Path) -> dict[str, Any]:
    """What chosen real images say of themselves."""
    facts = json_object(place / CHOICE_FACTS)
    about = {name: facts[name] for name in ("floats", "bytes", "images", "detail")}
    return {**about, **facts["record"], "made": {name: facts[name] for name in CHOOSING}}


def _published(cell: Cell, about: Mapping[str, Any], data: str, net: str) -> Published | None:
    if cell.method.kind in ("coreset", "codec"):
        return None
    if cell.method.name == about["container"]:  # a label may be the container's name, too
        gradient = about["objective"] == "gradient"
        return same_objective(cell.method.name, data=data, ipc=cell.ipc) if gradient else None
    return published(cell.method.name, data=data, ipc=cell.ipc, net=net)


def _stored_form(done: Trained) -> dict[str, Any]:
    """A set in another number format: its bytes, and what networks trained on it reach."""
    sizes = {name: done.value.get(name) for name in ("bytes", "images")}
    return {**sizes, "accuracy_percent": done.accuracy, "reason": done.reason}


def label_robust_score(small: float, *, whole: float, random: float) -> float:
    """DD-Ranking's label-robust score: what a small set keeps of the whole set's accuracy, and how far it leads chance.

    LRS = (e^a - e^-1) / (e - e^-1) with a = w IOR - (1 - w) HLR; from 0 to 1, higher is better.

    HLR, hard label recovery, is accuracy(whole) - accuracy(small); IOR, improvement over random, is accuracy(small) -
    accuracy(random). Labels here are hard everywhere, so one accuracy of the small set serves for both.
    Source: https://github.com/NUS-HPC-AI-Lab/DD-Ranking (README.md; ddranking/metrics/hard_label.py), arXiv:2505.13300.

    Args:
        small: accuracy in [0, 1] of networks trained on the small set.
        whole: on all training images.
        random: on random real images of the same budget.
    """
    recovery, improvement = whole - small, small - random
    alpha = LRS_WEIGHT * improvement - (1 - LRS_WEIGHT) * recovery
    return (math.exp(alpha) - math.exp(-1)) / (math.e - math.exp(-1))


def score_rounds(small: Sequence[float], *, whole: Sequence[float], random: Sequence[float]) -> dict[str, Any] | None:
    """Mean and sample standard deviation over rounds, as in DD-Ranking, of per cents, one a seed; None without them."""
    if not (small and whole and random):
        return None
    triples = zip(small, whole, random, strict=True)
    return spread([label_robust_score(a / 100, whole=b / 100, random=c / 100) for a, b, c in triples])
