"""How the cost of a sweep grows with classes, pixels, images per class and width; what the paper's runs would take.

    python benchmarks/bench_scaling.py [--tables classes,pixels,ipc,width,presets,imagenet] [--clock wall] [--limit 10]

Every row is a fresh process. It predicts the row (hmn.condensation.cost.price), and where the predicted sweep is at
most --limit seconds also takes three whole sweeps, after one to warm up: those rows are measured, the others reckoned.
Images are stand-ins (what they show does not change the cost). With --clock cpu (the default) seconds are processor
time on one thread, which other processes disturb least; what they still disturb is taken out by a fixed reference that
every row times too, before and after: seconds are scaled to the median of all rows' references. Prints tables; the
last line is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from statistics import median
from typing import NamedTuple

from bench_plan import CLOCKS, answer, reference_seconds

GPUS = (1, 8, 64)
PAPER_SWEEPS = 200_000


class Row(NamedTuple):
    """A line of a table: its label, and what is priced."""

    label: str
    data: str = "stand-in"
    ipc: int = 1
    side: int = 32
    classes: int = 10
    images_per_class: int = 500
    recipe: str = "paper"
    net: str | None = "convnet3"
    width: int | None = 32
    preset: bool = False


TABLES: dict[str, list[Row]] = {
    "classes": [Row(f"{count:,}", classes=count) for count in (10, 100, 1000)],
    "pixels": [Row(f"{side} x {side}", side=side) for side in (32, 64, 128, 224)],
    "ipc": [Row(str(ipc), ipc=ipc, images_per_class=5000) for ipc in (1, 10, 50)],
    "width": [Row(str(width), width=width) for width in (16, 32, 64, 128)],
    "presets": [
        Row(f"{data}, {ipc} ipc", data, ipc, side, classes, images, "paper", None, None, True)
        for data, side, classes, images, ipcs in (
            ("cifar10", 32, 10, 5000, (1, 10)),
            ("cifar100", 32, 100, 500, (1, 10)),
            ("tiny-imagenet", 64, 200, 500, (1,)),
            ("imagenet-10", 224, 10, 1300, (1,)),
        )
        for ipc in ipcs
    ],
    "imagenet": [Row("imagenet-1k, 1 ipc", "imagenet-1k", 1, 224, 1000, 1281, "paper", None, None, True)],
}


def main() -> None:
    """Price every row of the tables asked for and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", default=",".join(TABLES))
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="cpu")
    parser.add_argument("--limit", type=float, default=10.0, help="seconds of the longest sweep that is measured")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        print(json.dumps(priced(TABLES[options.tables][options.child], options.clock, options.limit)))
        return
    names = options.tables.split(",")
    priced_rows: dict[Row, dict[str, float]] = {}
    found = {}
    for name, number in [(table, number) for table in names for number in range(len(TABLES[table]))]:
        same = TABLES[name][number]._replace(label="")  # one that stands in several tables is priced once
        if same not in priced_rows:
            flags: dict[str, object] = {"tables": name, "child": number, "limit": options.limit}
            priced_rows[same] = answer(__file__, flags, options.clock)
            print(f"{name}, {TABLES[name][number].label}: {priced_rows[same]}", file=sys.stderr, flush=True)
        found[name, number] = priced_rows[same]
    usual = median(row["reference"] for row in priced_rows.values())
    report: dict[str, float] = {"reference_seconds": round(usual, 4)}
    for name in names:
        print(f"\n| {name} | GFLOP a sweep | seconds a sweep | | MB, reckoned | {PAPER_SWEEPS:,} sweeps |")
        print("|---|---:|---:|---|---:|---:|")
        for number, row in enumerate(TABLES[name]):
            report |= print_row(name, row, found[name, number], usual)
            if name == "imagenet":
                print_gpus(found[name, number])
    print(json.dumps(report))


def print_row(name: str, row: Row, found: dict[str, float], usual: float) -> dict[str, float]:
    """A line of a table, and its figures for the report."""
    measured = "measured" in found
    seconds = found["measured" if measured else "predicted"] * usual / found["reference"]
    kind = "measured" if measured else "reckoned"
    print(
        f"| {row.label} | {found['operations'] / 1e9:,.0f} | {seconds:,.3g} | {kind} | "
        f"{found['memory'] / 1e6:,.0f} | {seconds * PAPER_SWEEPS / 86400:,.3g} days |",
        flush=True,
    )
    figures = {f"seconds_{name}_{row.label}": round(seconds, 4)}
    if measured:
        figures[f"ratio_{name}_{row.label}"] = round(found["predicted"] / found["measured"], 3)
    return figures


def print_gpus(found: dict[str, float]) -> None:
    """The division of the operations by an assumed rate."""
    from hmn.condensation.cost.operations import DEFAULT_TFLOPS, reckon

    print(f"\n| GPUs of {DEFAULT_TFLOPS:g} TFLOP/s (assumed) | seconds a sweep | all sweeps | memory of one |")
    print("|---|---:|---:|---:|")
    for gpus in GPUS:
        there = reckon(int(found["operations"]), int(found["total_operations"]), gpus=gpus, tflops=DEFAULT_TFLOPS)
        print(
            f"| {gpus} | {there.seconds_per_sweep:,.3g} | {there.total_seconds / 86400:,.3g} days | "
            f"{found[f'memory_{gpus}'] / 1e9:,.0f} GB |"
        )


def priced(row: Row, clock: str, limit: float) -> dict[str, float]:
    """A row's prediction, and its sweeps where they are short enough."""
    from hmn.condensation.cost.price import price
    from hmn.condensation.cost.trial import Trial, blank_splits
    from hmn.containers.hmn_sizes import HmnShape, preset
    from hmn.containers.shape import Budget
    from hmn.recipes.named import recipe
    from hmn.runtime.launched import share_cores

    share_cores()
    image_shape, now = (3, row.side, row.side), CLOCKS[clock]
    splits = blank_splits(
        row.data, image_shape=image_shape, num_classes=row.classes, images_per_class=row.images_per_class
    )
    shape = preset(row.data, row.ipc) if row.preset else None
    if shape is None:
        shape = HmnShape.plan(Budget.of_images(row.ipc, row.classes, image_shape, real_per_class=row.images_per_class))
    settings = recipe(row.recipe, dataset=row.data, ipc=row.ipc, image_shape=image_shape)
    if row.net is not None:
        network = replace(settings.condense.network, name=row.net, width=row.width)
        settings = replace(settings, condense=replace(settings.condense, network=network))
    before = reference_seconds(now)
    first, memory = price(splits, shape, settings, clock=now)
    assert memory is not None
    found: dict[str, float] = {
        "predicted": first.seconds_per_sweep,
        "operations": first.operations_per_sweep,
        "total_operations": first.total_operations,
        "memory": memory.peak(),
        **{f"memory_{gpus}": memory.device(gpus) for gpus in GPUS},
    }
    if first.seconds_per_sweep <= limit:
        trial = Trial(splits, shape, settings, clock=now)
        trial.begin_steps()
        sweeps = []
        for _ in range(4):
            began = now()
            trial.step(trial.state.objective.counts(trial.state))
            trial.objective.after_step(trial.state)
            sweeps.append(now() - began)
        found["measured"] = median(sweeps[1:])
    found["reference"] = median([*before, *reference_seconds(now)])
    return found


if __name__ == "__main__":
    main()
