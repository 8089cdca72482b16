"""What `hmn plan` predicts against what then happens: seconds a sweep and peak memory, on configurations of many kinds.

    python benchmarks/bench_plan.py [--clock cpu] [--only NAME,NAME] [--sweeps 8]

For each configuration a fresh process predicts (hmn.condensation.cost.price, which times at most half of the
classes), another runs
`condense_run` for some sweeps, of which the median counts, and reports its largest resident size, and a third predicts
again; the mean of the two predictions is compared. The machine's speed changes from minute to minute where it is
shared: so each process also times a fixed reference, before and after, and the ratio is corrected by it. With
--clock cpu (the default) all is processor time on one thread, which does not see other processes but for what they do
to caches and shared cores. The last line is a JSON object: ratio_X is predicted over measured. Data: $HMN_TEST_DATA,
else ../shared/data beside the checkout; what is absent is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

SHARED = Path(os.environ.get("HMN_TEST_DATA") or Path(__file__).parents[1].parent / "shared" / "data")
CLOCKS = {"cpu": time.process_time, "wall": time.perf_counter}


class Job(NamedTuple):
    """A configuration: data, images per class, the recipe that it changes, and how."""

    data: str
    ipc: int
    recipe: str = "quick"
    changes: dict[str, Any] = {}  # noqa: RUF012 - never changed
    folder: str = ""
    """Where the data are below the shared folder; empty for the embedded digits."""


GRADIENT = {"condense.objective": "gradient", "condense.real_per_class": 64, "condense.generated_per_class": 128}
TINY = "samples/tiny-imagenet-200"
JOBS = {
    "cifar10_1_features_w32": Job("cifar10", 1, folder="cifar10"),
    "cifar10_10_features_w16": Job("cifar10", 10, "quick", {"condense.network.width": 16}, "cifar10"),
    "cifar10_1_gradient_w32": Job("cifar10", 1, "quick", {**GRADIENT}, "cifar10"),
    "cifar10_1_gradient_w64": Job("cifar10", 1, "quick", {**GRADIENT, "condense.network.width": 64}, "cifar10"),
    "cifar10_1_paper": Job("cifar10", 1, "paper", {}, "cifar10"),
    "cifar100_1_features": Job("cifar100", 1, folder="samples/cifar100"),
    "digits_10_gradient": Job("digits", 10, "quick", {"condense.objective": "gradient"}),
    "tiny_1_features": Job(str(SHARED / TINY), 1, folder=TINY),
}


def main() -> None:
    """Predict and run each configuration, print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="cpu")
    parser.add_argument("--only", default=",".join(JOBS))
    parser.add_argument("--sweeps", type=int, default=8)
    parser.add_argument("--child", choices=("predict", "run"))
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(options.child, options.only, options.clock, options.sweeps)))
        return
    report: dict[str, float] = {}

    def ask(which: str, name: str) -> dict[str, float]:
        return answer(__file__, {"child": which, "only": name, "sweeps": options.sweeps}, options.clock)

    print(
        f"{'configuration':26}{'s/sweep predicted':>18}{'run':>8}{'ratio':>7}{'MB predicted':>14}{'run':>7}{'ratio':>7}"
    )
    for name in options.only.split(","):
        if JOBS[name].folder and not (SHARED / JOBS[name].folder).is_dir():
            print(f"{name:26} left out: no {SHARED / JOBS[name].folder}")
            continue
        first, done, second = (ask(which, name) for which in ("predict", "run", "predict"))
        predictions = [said["seconds"] * done["reference"] / said["reference"] for said in (first, second)]
        seconds, took = sum(predictions) / 2, max(first["took"], second["took"])
        memory = (first["memory"] + second["memory"]) / 2
        print(
            f"{name:26}{seconds:18.3f}{done['seconds']:8.3f}{seconds / done['seconds']:7.2f}"
            f"{memory / 1e6:14.0f}{done['memory'] / 1e6:7.0f}{memory / done['memory']:7.2f}"
            f"   timing {took:.0f} s; ratios "
            + ", ".join(f"{said['seconds'] / done['seconds']:.2f} uncorrected" for said in (first, second)),
            flush=True,
        )
        report[f"ratio_time_{name}"] = round(seconds / done["seconds"], 3)
        report[f"ratio_memory_{name}"] = round(memory / done["memory"], 3)
        report[f"timing_seconds_{name}"] = round(took, 1)
    print(json.dumps(report))


def answer(script: str, flags: dict[str, object], clock: str) -> dict[str, float]:
    """What a fresh process of a benchmark finds: its last line. Processor time is that of one thread."""
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    environment = {**os.environ, **({"OMP_NUM_THREADS": "1"} if clock == "cpu" else {})}
    command = [sys.executable, script, *words, "--clock", clock]
    found = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if found.returncode:
        sys.exit(f"{' '.join(words)}: {found.stderr[-2000:]}")
    return dict(json.loads(found.stdout.splitlines()[-1]))


def child(which: str, name: str, clock: str, sweeps: int) -> dict[str, float]:
    """Predict one configuration, or run it."""
    from hmn.containers.artifact.run_data import read_data
    from hmn.containers.choose import choose_shape
    from hmn.data.options import DataOptions
    from hmn.recipes.named import recipe
    from hmn.recipes.values import changed
    from hmn.runtime.launched import share_cores

    share_cores()
    job, now = JOBS[name], CLOCKS[clock]
    folder = SHARED / "samples" if job.folder.startswith("samples") else SHARED
    splits = read_data(job.data, DataOptions(data_dir=folder))
    train = splits.train
    of_data = {"image_shape": train.image_shape, "num_classes": train.num_classes, "real_per_class": train.fewest}
    shape = choose_shape(splits.name, job.ipc, **of_data).shape
    base = recipe(job.recipe, dataset=splits.name, ipc=job.ipc, image_shape=train.image_shape)
    settings = changed(base, job.changes)
    before = reference_seconds(now)
    if which == "predict":
        from hmn.condensation.cost.price import price

        began = time.perf_counter()
        found = price(splits, shape, settings, clock=now).estimate
        took = time.perf_counter() - began
        assert found.peak_memory_bytes is not None
        return {
            "seconds": found.seconds_per_sweep,
            "memory": found.peak_memory_bytes,
            "took": took,
            "reference": median([*before, *reference_seconds(now)]),
        }
    start = replace(settings.condense.start, steps=min(30, settings.condense.start.steps))
    few = replace(settings, condense=replace(settings.condense, epochs=1, inner_steps=sweeps, start=start))
    from hmn.condensation.run import condense_run
    from hmn.runtime.memory import peak_memory_bytes

    moments: list[float] = []
    with tempfile.TemporaryDirectory() as out:
        condense_run(
            splits,
            shape,
            few,
            Path(out) / "run",
            resume=False,
            force=False,
            on_progress=lambda progress: moments.append(now()) if progress.phase == "condense" else None,
        )
    each = [after - before for before, after in zip(moments, moments[1:], strict=False)]
    memory = peak_memory_bytes()
    assert memory is not None
    return {"seconds": median(each), "memory": memory, "reference": median([*before, *reference_seconds(now)])}


def reference_seconds(now: Callable[[], float]) -> list[float]:
    """Times of a fixed forward and backward pass, in and out of caches: how fast the machine is just now."""
    import torch

    from hmn.nets import build_net

    generator = torch.Generator().manual_seed(0)
    net = build_net("convnet3", num_classes=10, image_shape=(3, 32, 32), width=32, generator=generator)
    images = torch.randn(256, 3, 32, 32, generator=generator)
    times = []
    for _ in range(7):
        began = now()
        net(images).sum().backward()
        times.append(now() - began)
    return times[1:]


if __name__ == "__main__":
    main()
