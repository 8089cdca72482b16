"""One process of two threads against two processes of one thread each, on the same condensation.

    python benchmarks/bench_ranks.py [--repeats 5] [--only features_sweep] [--data-dir DIR]

CIFAR-10 at 1 IPC (random images of its shape where the data are not there): a sweep with its network update, and a
step of the reconstruction, for feature matching and for gradient matching at width 32 with the same network updates.
Both set-ups stay loaded and take turns; one waits while the other is timed. The last line is a JSON
object: ratio_X is the median time of one process over that of two (above 1: two are faster).
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

WORK = {"features_sweep": 2, "gradient_sweep": 1, "start_step": 10}
"""Sweeps, or steps of the reconstruction, that are timed together."""
DATA = Path(__file__).parents[2] / "shared" / "data"


def main() -> None:
    """Start both set-ups, or be one of their processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=list(WORK), help="one piece of work; all of them where it is not given")
    parser.add_argument("--data-dir", type=Path, default=DATA)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        serve(given.data_dir)
    else:
        compare(given.data_dir, given.repeats, [given.only] if given.only else list(WORK))


def compare(data_dir: Path, repeats: int, names: list[str]) -> None:
    """Time the set-ups in turn; print medians and ratios."""
    one, two = start(1, data_dir), start(2, data_dir)
    report: dict[str, float | int] = {"repeats": repeats}
    for name in names:
        times: dict[str, list[float]] = {"1 process x 2 threads": [], "2 processes x 1 thread": []}
        for repeat in range(repeats + 1):  # the first round warms up
            for setup, workers in zip(times, (one, two), strict=True):
                seconds = ask(workers, name) / WORK[name]
                if repeat:
                    times[setup].append(seconds)
        for setup, seconds_each in times.items():
            least, most = min(seconds_each), max(seconds_each)
            print(f"{name}, {setup}: {median(seconds_each):.3f} s ({least:.3f} to {most:.3f})", flush=True)
        alone, together = (median(seconds_each) for seconds_each in times.values())
        report[f"ratio_{name}"] = round(alone / together, 2)
    for worker in [*one, *two]:
        worker.communicate(timeout=60)
    print(json.dumps(report))


def start(size: int, data_dir: Path) -> list[subprocess.Popen[str]]:
    """The processes of one set-up, with the environment that torchrun would give them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, __file__, "--worker", "--data-dir", str(data_dir)]
    workers = []
    for rank in range(size):
        told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_PORT": port, "OMP_NUM_THREADS": 2 // size}
        environment = {**os.environ, **{name: str(value) for name, value in told.items()}}
        environment |= {"MASTER_ADDR": "127.0.0.1", "GOMP_SPINCOUNT": "1000", "CUDA_VISIBLE_DEVICES": ""}
        workers.append(
            subprocess.Popen(command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        )
    return workers


def ask(workers: list[subprocess.Popen[str]], name: str) -> float:
    """Seconds that a piece of work took; of several processes, the slowest one's."""
    for worker in workers:
        assert worker.stdin is not None
        print(name, file=worker.stdin, flush=True)
    answers = []
    for worker in workers:
        assert worker.stdout is not None
        answers.append(float(worker.stdout.readline()))
    return max(answers)


def serve(data_dir: Path) -> None:
    """Do the pieces of work whose names come on stdin, and print the seconds that each took."""
    from hmn.condensation.loop import condensing
    from hmn.condensation.run import new_state
    from hmn.containers.hmn_sizes import preset
    from hmn.recipes.named import recipe
    from hmn.recipes.settings import StartConfig
    from hmn.runtime.processes import joined

    shape = preset("cifar10", 1)
    assert shape is not None
    splits = data(data_dir)
    base = recipe("quick", dataset="cifar10", ipc=1, image_shape=(3, 32, 32))
    no_start = StartConfig(kind="noise")
    configs = {
        "features_sweep": replace(base.condense, start=no_start, real_per_class=128, generated_per_class=60),
        "gradient_sweep": replace(
            base.condense, start=no_start, objective="gradient", real_per_class=64, generated_per_class=128, lr=0.01
        ),
        "start_step": base.condense,
    }

    with joined():
        going: dict[str, Iterator[object]] = {}
        for line in sys.stdin:
            name = line.strip()
            if name not in going:
                state = new_state(splits, shape, replace(base, condense=configs[name]))
                going[name] = condensing(state)
            began = time.perf_counter()
            for _ in range(1 if name == "start_step" else WORK[name]):  # one record is ten steps of reconstruction
                next(going[name])
            print(time.perf_counter() - began, flush=True)


def data(data_dir: Path):  # type: ignore[no-untyped-def]  # Splits: imported where torch is
    """CIFAR-10, or random images of its shape."""
    import torch

    from hmn.data.load import load_data
    from hmn.data.options import DataOptions
    from hmn.data.real import RealData, Splits
    from hmn.data.source import Normalisation
    from hmn.errors import UserError

    try:
        return load_data("cifar10", DataOptions(data_dir=data_dir))
    except UserError:
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (5000, 3, 32, 32), generator=generator, dtype=torch.uint8)
        names = tuple(map(str, range(10)))
        real = RealData(
            pixels, torch.arange(10).repeat(500), names, Normalisation((0.5,) * 3, (0.29,) * 3), "random images"
        )
        return Splits(real, real, "cifar10", 0)


if __name__ == "__main__":
    main()
