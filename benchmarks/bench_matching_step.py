"""The matching step of one class: the product's against the straightforward double backward.

    python benchmarks/bench_matching_step.py [--repeats 7] [--no-errors] [--data-dir DIR]

64 real images and those generated that a class has at 1 IPC (85) and at 10 IPC (128, the most that a sweep takes),
32 pixels, ConvNet-3 of width 128, and of width 32 at 1 IPC. Double backward is eager, NCHW, with the memory settings
of glibc (set back as far as it allows) and with freed memory kept, as the product has it. Times are medians of
alternated repetitions. Errors are relative, of the whole container's gradient against double backward in float64, in
the first sweeps of a real run on CIFAR-10 (--sweeps), whose masks float64 finds for itself.

The last line is a JSON object. ratio_default_X and ratio_kept_X: the time of double backward over the product's.
error_X: the largest of the sweeps. share_X: operations a second of the product, counted as the direct convolutions
that double backward takes (Winograd's take fewer), over those of a product of two 2048 x 2048 matrices.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.memory_settings import default_memory
from tests.reference.trajectory import free_errors

from hmn.condensation.cost.operations import net_operations
from hmn.condensation.objectives.gradient import Gradient, gradient_match, matched_parameters
from hmn.condensation.objectives.matching import Counts
from hmn.condensation.run import new_state
from hmn.containers.hmn_sizes import preset
from hmn.data.load import load_data
from hmn.data.options import DataOptions
from hmn.data.source import Batch
from hmn.nets import Net, build_net
from hmn.recipes.named import recipe
from hmn.recipes.settings import StartConfig
from hmn.runtime.memory import keep_freed_memory

REAL = 64
CASES = {"w128_1ipc": (128, 1, 85), "w128_10ipc": (128, 10, 128), "w32_1ipc": (32, 1, 85)}
SWEEPS = {128: 3, 32: 10}
"""Of the run whose errors are taken: float64 takes a minute a sweep at width 128."""


def product(net: Net, real: Batch, generated: Batch) -> Tensor:
    """As the condensation loop calls it."""
    return gradient_match(net, real, generated).image_grad


def double_backward(net: Net, real: Batch, generated: Batch) -> Tensor:
    """The straightforward way: differentiate the squared distance through the gradient, in float32."""
    kernels = matched_parameters(net, "squared")
    g_real = torch.autograd.grad(F.cross_entropy(net(real.images), real.labels), kernels)
    images = generated.images.detach().requires_grad_()
    g_generated = torch.autograd.grad(F.cross_entropy(net(images), generated.labels), kernels, create_graph=True)
    loss = torch.stack([(a - b).square().sum() for a, b in zip(g_generated, g_real, strict=True)]).sum()
    return torch.autograd.grad(loss, images)[0]


def matrix_rate() -> float:
    """Operations a second of a large product, the best of ten."""
    a = torch.randn(2048, 2048)
    seconds = []
    for _ in range(10):
        began = time.perf_counter()
        torch.mm(a, a)
        seconds.append(time.perf_counter() - began)
    return 2 * 2048**3 / min(seconds)


def times(width: int, generated: int, repeats: int) -> dict[str, float]:
    """Median seconds of a class by each form."""
    generator = torch.Generator().manual_seed(0)
    net = build_net("convnet3", num_classes=10, image_shape=(3, 32, 32), width=width, generator=generator)
    batches = [
        Batch(torch.randn(count, 3, 32, 32, generator=generator), torch.full((count,), 3))
        for count in (REAL, generated)
    ]
    forms: dict[str, tuple[Callable[..., Tensor], Callable[[], object]]] = {
        "product": (product, keep_freed_memory),
        "kept": (double_backward, keep_freed_memory),
        "default": (double_backward, default_memory),
    }
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    for repeat in range(repeats + 1):  # the first round warms up
        for name, (form, memory) in forms.items():
            memory()
            began = time.perf_counter()
            form(net, *batches)
            if repeat:
                seconds[name].append(time.perf_counter() - began)
    return {name: median(values) for name, values in seconds.items()}


def largest_error(width: int, ipc: int, data_dir: Path) -> float:
    """Of the container's gradient, in the first sweeps of a run by the paper's settings from reconstructed images."""
    keep_freed_memory()
    splits = load_data("cifar10", DataOptions(data_dir=data_dir))
    shape = preset("cifar10", ipc)
    assert shape is not None
    named = recipe("paper", dataset="cifar10", ipc=ipc, image_shape=(3, 32, 32))
    network = replace(named.condense.network, width=width, update_batches=8)
    config = replace(named.condense, network=network, start=StartConfig(kind="real", steps=100))
    state = new_state(splits, shape, replace(named, condense=config))
    return max(free_errors(state, steps=SWEEPS[width]))


def main() -> None:
    """Time the forms in turn, take the errors, print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--no-errors", action="store_true")
    parser.add_argument("--data-dir", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    given = parser.parse_args()
    report: dict[str, float] = {}
    for name, (width, _, generated) in CASES.items():
        found = times(width, generated, given.repeats)
        counts = Counts(classes=1, real_per_class=REAL, generated_per_class=generated)
        net = net_operations("convnet3", width=width, num_classes=10, image_shape=(3, 32, 32))
        share = Gradient().matching_operations(counts, net) / found["product"] / matrix_rate()
        report |= {f"ratio_{form}_{name}": round(found[form] / found["product"], 2) for form in ("default", "kept")}
        report[f"share_{name}"] = round(share, 2)
        print(f"{name}: " + ", ".join(f"{form} {value:.4f} s" for form, value in found.items()), flush=True)
    if not given.no_errors:
        for name, (width, ipc, _) in CASES.items():
            report[f"error_{name}"] = largest_error(width, ipc, given.data_dir)
            print(f"{name}: largest error of {SWEEPS[width]} sweeps {report[f'error_{name}']:.1e}", flush=True)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
