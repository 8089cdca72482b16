"""What a set of images is worth: the test accuracy of fresh networks trained on it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, cast, final

import torch
from torch import Tensor, nn

from hmn.data.source import HeldImages, Normalisation, Source
from hmn.errors import UserError
from hmn.nets import build_net
from hmn.recipes.settings import TrainConfig
from hmn.runtime.device import resident
from hmn.train.loop import EpochRecord, accuracy, check_training, total_steps, train

_RENDER_BATCH = 500


@final
@dataclass(frozen=True, eq=False)
class Rendered(HeldImages):
    """A source whose images are all in memory as float32 pixels [n, c, h, w] in [0, 1]."""

    pixels: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    normalisation: Normalisation

    def on(self, device: torch.device) -> Rendered:
        """With pixels and labels on a CUDA device where they fit (`hmn.runtime.device.fits`), else as it is."""
        pixels = resident(self.pixels, device)
        return self if pixels is self.pixels else replace(self, pixels=pixels, labels=self.labels.to(device))


class CurvePoint(NamedTuple):
    """Accuracies in per cent of all seeds' networks after so many optimizer steps."""

    step: int
    values: list[float]


class Curve(NamedTuple):
    """Accuracies to take on the way, which leave the trainings as they are."""

    points: int
    """Evenly spaced over the steps, the last step among them; each is taken at the end of the pass that it falls in, so
    that large sets may have fewer."""
    test: Source
    """Images to take them on."""


@final
@dataclass(frozen=True, kw_only=True)
class Accuracies:
    """Test accuracies in per cent of networks trained on one source, at the last epoch."""

    values: list[float]
    """One per seed."""
    train_steps: int
    """Optimizer steps of each training."""
    seconds: float
    """Mean duration of a training, the test not counted."""
    images: int
    curve: tuple[CurvePoint, ...] = ()
    """Accuracies on the way, where they were asked for."""

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)


@torch.no_grad()
def render(source: Source) -> Rendered:
    """All images of a source, decoded once: a container is asked for all at once where it can do that."""
    render_all = getattr(source, "render_all", None)
    if render_all is not None:
        pixels = render_all()
    else:
        pixels = torch.cat([source.images(index) for index in torch.arange(len(source)).split(_RENDER_BATCH)])
    if pixels.is_inference():  # such a tensor may not enter a training later
        pixels = pixels.clone()
    labels = source.labels.cpu()
    return Rendered(pixels.float().cpu(), labels, source.class_names, source.normalisation)


def train_and_test(
    source: Source,
    test: Source,
    *,
    net: str,
    width: int | None,
    config: TrainConfig,
    seeds: Sequence[int],
    device: torch.device | str | None = None,
    on_epoch: Callable[[int, EpochRecord], None] | None = None,
    curve: Curve | None = None,
) -> Accuracies:
    """Trains a fresh network per seed on `source` and takes its accuracy on `test` after the last epoch.

    A container is rendered once. Test images are normalised with the training source's constants. `on_epoch` gets
    (seed, record). `curve` asks for accuracies on the way, in no one's time. Raises UserError: source and test differ
    in classes or image shape, no seed is given, or a setting is wrong.
    """
    if not seeds:
        raise UserError("evaluate needs at least one seed.")
    _check_pair(source, test)
    check_training(source, config)
    if isinstance(source, nn.Module):
        source = cast(Source, render(source))
    # One training per seed; its clock stands still while accuracies are taken.
    values: list[float] = []
    seconds = 0.0
    steps, classes = total_steps(config, len(source)), len(source.class_names)
    points: dict[int, list[float]] = {}
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        fresh = build_net(net, num_classes=classes, image_shape=source.image_shape, width=width, generator=generator)
        tested_after = 0
        began = time.perf_counter()
        for record in train(fresh, source, config, generator=generator, device=device):
            if on_epoch is not None:
                on_epoch(seed, record)
            if curve is not None and record.step * curve.points // steps > tested_after * curve.points // steps:
                before = time.perf_counter()
                value = accuracy(fresh, curve.test, normalisation=source.normalisation)
                points.setdefault(record.step, []).append(value)
                tested_after = record.step
                began += time.perf_counter() - before
        seconds += time.perf_counter() - began
        values.append(accuracy(fresh, test, normalisation=source.normalisation))
    curved = tuple(CurvePoint(step, accuracies) for step, accuracies in points.items())
    mean_seconds = seconds / len(values)
    return Accuracies(values=values, train_steps=steps, seconds=mean_seconds, images=len(source), curve=curved)


def _check_pair(source: Source, test: Source) -> None:
    classes, test_classes = len(source.class_names), len(test.class_names)
    if classes != test_classes:
        what = f"the training images have {classes} classes and the test images {test_classes}"
        raise UserError(f"{what}: evaluate on the data set that the images were made from.")
    if source.image_shape != test.image_shape:
        got, expected = ("x".join(map(str, shape)) for shape in (source.image_shape, test.image_shape))
        what = f"the training images are {got} (channels, height, width) and the test images {expected}"
        raise UserError(f"{what}: load the test set with --size and --channels to match.")
