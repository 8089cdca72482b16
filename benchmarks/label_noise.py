"""How many wrong labels a profile finds: a share of the labels is flipped, and the lowest AUMs are flagged.

    python benchmarks/label_noise.py --data digits --epochs 40
    python benchmarks/label_noise.py --data cifar10 --images 5000 --epochs 40 --width 32

As many images are flagged as were flipped, so precision and recall are one number; chance would find the share that was
flipped. Every flip takes other images and another network. The report is one JSON object, which --out also writes.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hmn.data.load import load_data
from hmn.data.options import DataOptions
from hmn.data.real import RealData, balanced_indices
from hmn.nets import native
from hmn.nets.build import width_of
from hmn.pruning.aum import profile, profiling_config, suspects
from hmn.recipes.protocols import protocol
from hmn.runtime import facts
from hmn.runtime.files import write_atomically
from hmn.runtime.launched import share_cores
from hmn.runtime.memory import keep_freed_memory


def flip_labels(labels: Tensor, num_classes: int, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Labels int64 [n] with round(share * n) of them replaced by another class at random; and which, bool [n]."""
    generator = torch.Generator().manual_seed(seed)
    flipped = torch.zeros(len(labels), dtype=torch.bool)
    flipped[torch.randperm(len(labels), generator=generator)[: round(share * len(labels))]] = True
    shifts = torch.randint(1, num_classes, labels.shape, generator=generator)
    return torch.where(flipped, (labels + shifts) % num_classes, labels), flipped


def found_share(data: RealData, given: argparse.Namespace, seed: int) -> tuple[float, float]:
    """Share of the flagged images whose labels were flipped, and seconds."""
    labels, flipped = flip_labels(data.labels, data.num_classes, given.noise, seed)
    config = protocol("paper", data.name, 1)
    config = replace(config, cutmix_probability=given.cutmix) if given.cutmix else profiling_config(config)
    began = time.monotonic()
    profiled = profile(
        replace(data, labels=labels),
        net=given.net,
        width=given.width,
        config=config,
        epochs=given.epochs,
        seeds=[seed],
        margin=given.margin,
        device="cuda" if torch.cuda.is_available() else "cpu",
    )
    flagged = suspects(profiled, int(flipped.sum()))
    return float(flipped[flagged].double().mean()), time.monotonic() - began


def measure(data: RealData, given: argparse.Namespace) -> dict[str, Any]:
    """Precision and recall over the flips, with everything that they were taken with."""
    found = [found_share(data, given, seed) for seed in range(given.flips)]
    values = [round(share, 4) for share, _ in found]
    share = {
        "mean": round(statistics.fmean(values), 4),
        "std": round(statistics.stdev(values), 4) if len(values) > 1 else 0.0,
        "values": values,
    }
    return {
        "kind": "label-noise",
        "command": "python " + shlex.join(sys.argv),
        "commit": facts.commit(),
        "versions": facts.versions(),
        "hardware": facts.hardware(native.state()),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": data.name,
        "images": len(data),
        "flipped_share": given.noise,
        "flipped": round(given.noise * len(data)),
        "flagged_share": given.noise,
        "precision": share,
        "recall": share,
        "flips": given.flips,
        "margin": given.margin,
        "epochs": given.epochs,
        "cutmix": given.cutmix,
        "net": given.net,
        "width": width_of(given.net, given.width),
        "seconds_each": round(statistics.fmean(seconds for _, seconds in found), 1),
    }


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command's settings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--data-dir", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--images", type=int, help="a random choice of so many training images, the same of each class")
    parser.add_argument("--noise", type=float, default=0.05)
    parser.add_argument("--flips", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--margin", choices=["softmax", "logit"], default="softmax")
    parser.add_argument("--cutmix", type=float, default=0.0)
    parser.add_argument("--net")
    parser.add_argument("--width", type=int)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(arguments)
    given.net = given.net or ("convnet2" if given.data == "digits" else "convnet3")
    return given


def training_images(given: argparse.Namespace) -> RealData:
    """The training split, or a part of it."""
    data = load_data(given.data, DataOptions(data_dir=given.data_dir)).train
    if given.images is None:
        return data
    generator = torch.Generator().manual_seed(0)
    return data.subset(balanced_indices(data.labels, given.images // data.num_classes, generator))


def main() -> None:
    """Measure and print."""
    share_cores()
    keep_freed_memory()
    given = parsed()
    text = json.dumps(measure(training_images(given), given), indent=2)
    print(text)
    if given.out is not None:
        write_atomically(given.out, (text + "\n").encode())


if __name__ == "__main__":
    main()
