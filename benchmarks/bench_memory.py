"""Peak memory of the matching step of one class: the product's against the straightforward double backward.

    python benchmarks/bench_memory.py [--repeats 5]

64 real images and those generated that a class has at 1 IPC (85) and at 10 IPC (128, the most that a sweep takes),
32 pixels, ConvNet-3 of width 128. Each repetition gives freed memory back to the system, takes what is resident then as
the floor, and counts the largest resident size of the step above it; forms alternate, medians are printed. The last
line is a JSON object: ratio_X is the product's peak over double backward's (below 1: the product needs less), mib_X
the product's peak.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import median

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.bench_matching_step import REAL, double_backward, product

from hmn.data.source import Batch
from hmn.nets import build_net
from hmn.runtime.memory import begin_peak, keep_freed_memory, peak_bytes, resident_bytes

CASES = {"1ipc": 85, "10ipc": 128}
FORMS = {"product": product, "double_backward": double_backward}


def main() -> None:
    """Run the forms in turn and print their peaks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    keep_freed_memory()
    if not begin_peak():
        raise SystemExit("this system does not begin a new peak: run it on Linux.")
    report: dict[str, float] = {}
    for case, generated in CASES.items():
        generator = torch.Generator().manual_seed(0)
        net = build_net("convnet3", num_classes=10, image_shape=(3, 32, 32), width=128, generator=generator)
        batches = [
            Batch(torch.randn(count, 3, 32, 32, generator=generator), torch.full((count,), 3))
            for count in (REAL, generated)
        ]
        peaks: dict[str, list[int]] = {name: [] for name in FORMS}
        for repeat in range(repeats + 1):  # the first round warms up
            for name, form in FORMS.items():
                begin_peak()
                floor = resident_bytes()
                form(net, *batches)
                peak = peak_bytes()
                assert floor is not None and peak is not None
                if repeat:
                    peaks[name].append(peak - floor)
        mib = {name: median(values) / 2**20 for name, values in peaks.items()}
        print(f"{case}: " + ", ".join(f"{name} {value:.0f} MiB" for name, value in mib.items()), flush=True)
        report[f"ratio_{case}"] = round(mib["product"] / mib["double_backward"], 3)
        report |= {f"mib_{name}_{case}": round(value) for name, value in mib.items()}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
