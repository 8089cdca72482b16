"""Images a second of the product's training loop, against a plain eager loop, and the accuracies that both give.

    python benchmarks/bench_training.py [--repeats 5] [--seeds 5] [--widths 128 32] [--data-dir DIR]

Both train ConvNet-3 on 850 CIFAR-10 images, batch 64, with the same augmentation and CutMix. The plain loop is NCHW,
eager, with nn.InstanceNorm2d, once with glibc's memory settings (set back as far as it allows: the mmap threshold where
the dynamic one ends up) and once with freed memory kept, as the product has it. A repetition is one epoch (14 steps);
repetitions alternate in this process, after one of each that warms up. Accuracies: width 32, 300 steps,
on 1,000 images of a validation split; the first N of the training split's rest, balanced, are trained on. The last line
is a JSON object: ratio_default_wW and ratio_kept_wW are the product's images/s over the plain loop's; ratio_cpu_...
are the same of processor seconds, which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.memory_settings import default_memory

from hmn.data.load import load_data
from hmn.data.options import DataOptions
from hmn.data.real import RealData, balanced_indices, split_validation
from hmn.nets import Net, build_net
from hmn.recipes.settings import TrainConfig
from hmn.runtime.memory import keep_freed_memory
from hmn.train import augment
from hmn.train.loop import accuracy, learning_rate, train

IMAGES, BATCH, CLASSES = 850, 64, 10
ACCURACY_WIDTH, ACCURACY_STEPS, VALIDATION_IMAGES = 32, 300, 1000


class PlainNet(nn.Module):
    """ConvNet-3 as the field's code writes it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels in (3, width, width):
            layers += [
                nn.Conv2d(channels, width, 3, padding=1),
                nn.InstanceNorm2d(width, affine=True),
                nn.ReLU(),
                nn.AvgPool2d(2),
            ]
        self.features, self.classifier = nn.Sequential(*layers), nn.Linear(width * 16, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.features(images).flatten(1))

    def copy_from(self, net: Net) -> PlainNet:
        """The same weights, in the order in which both define them."""
        with torch.no_grad():
            for mine, other in zip(self.parameters(), net.parameters(), strict=True):
                mine.copy_(other)
        return self


def plain_training(net: nn.Module, data: RealData, config: TrainConfig, generator: torch.Generator) -> None:
    """The product's settings, written out."""
    assert config.steps is not None
    optimizer = torch.optim.SGD(net.parameters(), lr=config.lr, momentum=0.9, weight_decay=config.weight_decay)
    changes = augment.without_cutout(config.augment)
    step = 0
    while step < config.steps:
        for index in torch.randperm(len(data), generator=generator).split(BATCH):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, step, config.steps)
            params = augment.draw(changes, len(index), data.image_shape, generator, one_choice=True)
            images = augment.apply(data.normalisation.apply(data.images(index)), params)
            images, labels, others, share = augment.cutmix(
                images, data.labels[index], probability=0.5, alpha=1.0, generator=generator
            )
            logits = net(images)
            loss = share * F.cross_entropy(logits, labels) + (1 - share) * F.cross_entropy(logits, others)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if step == config.steps:
                break


def network(width: int, seed: int) -> Net:
    """The product's network."""
    generator = torch.Generator().manual_seed(seed)
    return build_net("convnet3", num_classes=CLASSES, image_shape=(3, 32, 32), width=width, generator=generator)


def speeds(data: RealData, width: int, repeats: int) -> dict[str, float]:
    """Images a second and their ratios at one width."""
    ours = network(width, 0)
    plain = PlainNet(width).copy_from(ours)
    config = TrainConfig(steps=-(-IMAGES // BATCH), batch_size=BATCH)
    seconds: dict[str, list[float]] = {"product": [], "kept": [], "default": []}
    processor: dict[str, list[float]] = {name: [] for name in seconds}
    for repeat in range(repeats + 1):
        for name, times in seconds.items():
            default_memory() if name == "default" else keep_freed_memory()
            generator = torch.Generator().manual_seed(repeat)
            start, processor_start = time.perf_counter(), time.process_time()
            if name == "product":
                list(train(ours, data, config, generator=generator))
            else:
                plain_training(plain, data, config, generator)
            if repeat:  # the first warms up
                times.append(time.perf_counter() - start)
                processor[name].append(time.process_time() - processor_start)
    rates = {name: IMAGES / statistics.median(times) for name, times in seconds.items()}
    of_cpu = {name: IMAGES / statistics.median(times) for name, times in processor.items()}
    print(f"width {width}: " + ", ".join(f"{name} {rate:.0f} images/s" for name, rate in rates.items()), flush=True)
    return {
        f"ratio_default_w{width}": round(rates["product"] / rates["default"], 2),
        f"ratio_kept_w{width}": round(rates["product"] / rates["kept"], 2),
        f"ratio_cpu_default_w{width}": round(of_cpu["product"] / of_cpu["default"], 2),
        f"ratio_cpu_kept_w{width}": round(of_cpu["product"] / of_cpu["kept"], 2),
        **{f"images_per_second_{name}_w{width}": round(rate, 1) for name, rate in rates.items()},
    }


def accuracies(data: RealData, validation: RealData, seeds: int) -> dict[str, float]:
    """Means and standard deviations of validation accuracy in per cent, of both loops from the same starts."""
    keep_freed_memory()
    config = TrainConfig(steps=ACCURACY_STEPS, batch_size=BATCH)
    values: dict[str, list[float]] = {"product": [], "plain": []}
    for seed in range(seeds):
        ours = network(ACCURACY_WIDTH, seed)
        plain = PlainNet(ACCURACY_WIDTH).copy_from(ours)
        list(train(ours, data, config, generator=torch.Generator().manual_seed(seed)))
        plain_training(plain, data, config, torch.Generator().manual_seed(seed))
        for name, net in (("product", ours), ("plain", plain)):
            values[name].append(accuracy(net, validation, normalisation=data.normalisation))
        print(f"seed {seed}: product {values['product'][-1]:.1f} %, plain {values['plain'][-1]:.1f} %", flush=True)
    found: dict[str, float] = {"accuracy_seeds": seeds}
    for name, rows in values.items():
        found[f"accuracy_mean_{name}"] = round(statistics.fmean(rows), 2)
        found[f"accuracy_std_{name}"] = round(statistics.stdev(rows), 2) if seeds > 1 else 0.0
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=5, help="0: no accuracies")
    parser.add_argument("--widths", type=int, nargs="*", default=[128, 32])
    parser.add_argument("--data-dir", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    given = parser.parse_args()
    rest, validation = split_validation(
        load_data("cifar10", DataOptions(data_dir=given.data_dir)).train, share=0.1, seed=0
    )
    data = rest.subset(balanced_indices(rest.labels, IMAGES // CLASSES, torch.Generator().manual_seed(0)))
    report: dict[str, float] = {"threads": torch.get_num_threads(), "repeats": given.repeats}
    for width in given.widths:
        report |= speeds(data, width, given.repeats)
    if given.seeds:
        report |= accuracies(data, validation.subset(torch.arange(0, len(validation), 5)), given.seeds)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
