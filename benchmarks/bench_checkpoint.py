"""What checkpoints cost a run: their share of its time at the default interval of 30 s.

    python benchmarks/bench_checkpoint.py [--repeats 5] [--folder DIR]

For containers from the smallest to the largest published one: seconds of one checkpoint (the container, Adam's moments,
a network with its optimizer; written, flushed to the disk, renamed) against the interval. Then a run of a minute on the
embedded digits, in which every checkpoint is timed. A run pauses for the interval, or CHECKPOINT_REST times as long as
a checkpoint took where that is more. The last line is a JSON object: share_percent_X is 100 * checkpoint / (pause +
checkpoint).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch

import hmn.condensation.run
from hmn.condensation.cost.trial import blank_splits
from hmn.condensation.run import CHECKPOINT_REST, CHECKPOINT_SECONDS, condense_run, is_finite, new_state
from hmn.condensation.state import CondenseRecord
from hmn.containers.hmn_sizes import HmnShape, preset
from hmn.containers.shape import Budget
from hmn.data.load import load_data
from hmn.recipes.named import recipe
from hmn.runtime.tensor_files import save_checkpoint

CONTAINERS = (("cifar10", 1), ("cifar10", 50), ("cifar100", 10), ("cifar100", 50), ("tiny-imagenet", 10))


def checkpoint_seconds(data: str, ipc: int, folder: Path, repeats: int) -> tuple[float, int]:
    """Median time of a checkpoint of a paper's run, and the file's bytes."""
    shape = preset(data, ipc)
    assert shape is not None
    splits = blank_splits(data, image_shape=shape.image_shape, num_classes=shape.num_classes, images_per_class=20)
    settings = recipe("paper", dataset=data, ipc=ipc, image_shape=shape.image_shape)
    state = new_state(splits, shape, settings)
    state.begin_matching()
    state.objective.begin_network(state)
    for values in state.container.parameters():
        values.grad = torch.randn_like(values)
    state.optimizer.step()  # from here on there are moments
    assert state.objective.net is not None and state.objective.net_optimizer is not None
    for values in state.objective.net.parameters():
        values.grad = torch.randn_like(values)
    state.objective.net_optimizer.step()
    path, times = folder / "checkpoint.safetensors", []
    for _ in range(repeats):
        began = time.perf_counter()
        assert is_finite(state)
        save_checkpoint(path, {"identity": {}, "state": state.state_dict(), "seconds": 0.0, "lines": 0})
        times.append(time.perf_counter() - began)
    return median(times), path.stat().st_size


def share_of_a_run(folder: Path) -> tuple[float, int]:
    """Percent of a run's time that its checkpoints take, timed one by one, and how many there were."""
    times: list[float] = []

    def timed(path: Path, tree: dict[str, object]) -> None:
        began = time.perf_counter()
        save_checkpoint(path, tree)
        times.append(time.perf_counter() - began)

    splits = load_data("digits")
    train = splits.train
    shape = HmnShape.plan(Budget.of_images(10, 10, train.image_shape, real_per_class=100))
    settings = recipe("quick", dataset="digits", ipc=10, image_shape=train.image_shape)
    # Long enough for two intervals; the loop is stopped by the clock below.
    settings = replace(settings, condense=replace(settings.condense, epochs=10**5))
    began = time.perf_counter()

    class Enough(Exception):
        pass

    def stop(progress: CondenseRecord) -> None:
        if time.perf_counter() - began > 2.2 * CHECKPOINT_SECONDS:
            raise Enough

    hmn.condensation.run.save_checkpoint = timed  # type: ignore[attr-defined]
    try:
        condense_run(splits, shape, settings, folder / "run", resume=False, force=False, on_progress=stop)
    except Enough:
        pass
    finally:
        hmn.condensation.run.save_checkpoint = save_checkpoint  # type: ignore[attr-defined]
    return 100 * sum(times) / (time.perf_counter() - began), len(times)


def main() -> None:
    """Time checkpoints of several sizes, and those of a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where checkpoints are written (default: the system's)")
    options = parser.parse_args()
    report: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        for data, ipc in CONTAINERS:
            seconds, size = checkpoint_seconds(data, ipc, Path(name), options.repeats)
            share = 100 * seconds / (max(CHECKPOINT_SECONDS, CHECKPOINT_REST * seconds) + seconds)
            print(f"{data}, {ipc} ipc: {seconds:.3f} s for {size / 1e6:.1f} MB, {share:.2f} % of a run", flush=True)
            report[f"share_percent_{data}_{ipc}"] = round(share, 3)
        share, count = share_of_a_run(Path(name))
    print(f"digits, a run of {2.2 * CHECKPOINT_SECONDS:.0f} s: {share:.2f} % of it in {count} checkpoints")
    print(json.dumps({**report, "share_percent_run": round(share, 3)}))


if __name__ == "__main__":
    main()
