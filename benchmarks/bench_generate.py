"""Seconds to generate the training set of a stored CIFAR-10 container, against a plain module.

    python benchmarks/bench_generate.py [--repeats 9] [--out FILE]

The plain module concatenates the memories of every image and runs ConvTranspose2d; both hold the same weights and
give the same pixels. Paper, on a 2080 Ti: 0.036 / 0.11 / 0.52 s at 1 / 10 / 50 images per class (supplement B).
The last line is a JSON object. With --out every measurement is written, for `hmn figure generation-time`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor

from hmn.containers.hmn import Hmn
from hmn.containers.hmn_sizes import preset
from hmn.data.source import Normalisation
from hmn.nets import native
from hmn.runtime.facts import commit, hardware, versions
from hmn.runtime.memory import keep_freed_memory

PAPER_SECONDS = {1: 0.036, 10: 0.11, 50: 0.52}


def plain_images(net: Hmn) -> Tensor:
    """Every image from concatenated memories and transposed convolutions, as the paper draws it."""
    features = net._dataset_features()[net.labels]
    hidden = torch.cat([features, net.class_memory[net.labels], net.instance_memory], dim=1)
    for position, layer in enumerate(net.decoder.children()):
        hidden = F.conv_transpose2d(hidden, layer.weight, layer.bias, stride=2, padding=1)
        if position < 2:
            hidden = F.leaky_relu(hidden, 0.1)
    return torch.sigmoid(hidden)


def seconds(work: Callable[[], Tensor]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Time both forms in turn and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    repeats, rows = given.repeats, []
    keep_freed_memory()
    report: dict[str, float] = {}
    for ipc, paper in PAPER_SECONDS.items():
        shape = preset("cifar10", ipc)
        assert shape is not None
        norm = Normalisation((0.5,) * 3, (0.25,) * 3)
        net = Hmn(shape, class_names=tuple("abcdefghij"), normalisation=norm).finalised()
        with torch.inference_mode():
            error = float((plain_images(net) - net.render_all()).abs().max())
            times = [(seconds(net.render_all), seconds(partial(plain_images, net))) for _ in range(repeats)]
        fast, plain = (median(column) for column in zip(*times, strict=True))
        about = {"label": f"{ipc} IPC", "images": len(net)}
        for form, column in (
            ("hmn", [a for a, _ in times]),
            ("plain module", [b for _, b in times]),
            ("paper, 2080 Ti", [paper]),
        ):
            rows.append({**about, "form": form, "seconds": [round(value, 5) for value in column]})
        print(f"{ipc:2d} ipc, {len(net):6,d} images: {fast:.4f} s, plain {plain:.4f} s, paper's 2080 Ti {paper} s")
        report |= {
            f"seconds_{ipc}ipc": round(fast, 4),
            f"ratio_plain_{ipc}ipc": round(plain / fast, 2),
            f"ratio_paper_{ipc}ipc": round(paper / fast, 2),
            f"error_{ipc}ipc": error,
        }
    if given.out is not None:
        facts = {"commit": commit(), "versions": versions(), "hardware": hardware(native.state())}
        content = {"kind": "generation-time", "data": "cifar10", **facts, "rows": rows}
        given.out.write_text(json.dumps(content, indent=2) + "\n")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
