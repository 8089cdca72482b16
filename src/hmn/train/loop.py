"""The training loop, and the accuracy of a network.

The gradients are taken by `hmn.train.step`: by hmn's own passes for a ConvNet on the CPU. torch's passes stay
NCHW: in eager mode on two cores (Zen 3, torch 2.14.1) a training step of ConvNet-3 at 32 pixels, batch 64, took
0.262 / 0.083 / 0.023 s at widths 128 / 64 / 32, and 0.286 / 0.100 / 0.029 s in channels_last.
"""

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from hmn.data.real import RealData
from hmn.data.source import Batch, Normalisation, Source
from hmn.errors import UserError
from hmn.nets.convnet_cpu import ConvNetOnCpu, prepared
from hmn.recipes.settings import TrainConfig
from hmn.runtime.device import moved, training_numbers, training_precision
from hmn.train import augment
from hmn.train.step import choose_step

DROPS: dict[str, tuple[tuple[float, ...], float]] = {
    "multistep": ((0.3, 0.6, 0.9), 0.1),
    "halfway": ((0.5,), 0.1),
    "thirds": ((2 / 3, 5 / 6), 0.2),
    "constant": ((), 1.0),
}
"""Schedules in steps: the shares of training after which the rate drops, and the factor by which it does."""
Margin = Literal["softmax", "logit"]


class EpochRecord(NamedTuple):
    """One pass over the source, the last of them perhaps cut short by the number of steps."""

    epoch: int
    """Counted from 1."""
    step: int
    """Optimizer steps up to here."""
    loss: float
    """Mean training loss over the epoch's images, with CutMix's mixed labels."""
    train_accuracy: float
    """Per cent, in training mode, against the images' own labels."""
    margins: Tensor | None = None
    """float64 [n] in the source's order, where they were asked for; NaN for images that a cut-short epoch left out."""


def learning_rate(config: TrainConfig, step: int, total_steps: int) -> float:
    """Learning rate of step `step` (from 0) of `total_steps`; it changes at every step, not epoch by epoch.

    cosine goes from lr to min_lr, which the step after the last would have; multistep is lr times 0.1 for
    each of 30, 60 and 90 % of the steps that are done, the others likewise (DROPS).
    Sources: supplement C.2 and D.3 of arXiv:2310.07506; DC's utils.py: evaluate_synset; IDC's argument.py and train.py.
    """
    if config.schedule != "cosine":
        shares, factor = DROPS[config.schedule]
        return config.lr * factor ** sum(step >= share * total_steps for share in shares)
    wave = (1 + math.cos(math.pi * step / total_steps)) / 2
    return config.min_lr + (config.lr - config.min_lr) * wave


def total_steps(config: TrainConfig, num_images: int) -> int:
    """Optimizer steps of a training on `num_images`: `steps`, or `epochs` times the batches of an epoch."""
    return config.steps or config.epochs * len(_batch_sizes(num_images, config.batch_size))


def train(
    net: nn.Module,
    source: Source,
    config: TrainConfig,
    *,
    generator: torch.Generator,
    device: torch.device | str | None = None,
    margin: Margin | None = None,
) -> Iterator[EpochRecord]:
    """Trains `net` in place on `source`, an epoch per record, with all randomness from `generator` (CPU).

    SGD with momentum and weight decay; images are shuffled, augmented (parameters per image, one choice of crop / scale
    / rotate per batch) and mixed by CutMix. A short last batch is kept; a single left-over image joins the batch before
    it, because BatchNorm cannot train on one.

    With `margin`, a record holds the margin of every image for its own label, of the very forward pass that trained on
    it: before the step, on the augmented image, and in a mixed batch on the mixed one.

    Source: supplement C.2 of arXiv:2310.07506; IDC (arXiv:2205.14959) and its public code. Raises UserError: the source
    is empty, or a setting is out of its range.
    """
    check_training(source, config)
    device = torch.device(device) if device is not None else next(net.parameters()).device
    net.to(device)
    place = getattr(source, "on", None)  # sources that are tensors can lie on the device
    if place is not None:
        source = place(device)
    steps = total_steps(config, len(source))
    lr, momentum, decay = config.lr, config.momentum, config.weight_decay
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=momentum, weight_decay=decay)
    gradients = choose_step(net, source.image_shape)
    precision = training_precision(device.type)
    # IDC: cutout is dropped wherever CutMix is on, in the batches that it does not mix too.
    changes = augment.without_cutout(config.augment) if config.cutmix_probability > 0 else config.augment
    mixing = {"probability": config.cutmix_probability, "alpha": config.cutmix_alpha}
    step = epoch = 0
    while step < steps:
        epoch += 1
        net.train()
        loss_sum, correct = torch.zeros((), device=device), torch.zeros((), device=device)
        seen, indices, found = 0, [], []
        order = torch.randperm(len(source), generator=generator)
        for index in order.split(_batch_sizes(len(source), config.batch_size)):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, step, steps)
            batch = _batch(source, index, device)
            params = augment.draw(changes, len(index), source.image_shape, generator, one_choice=True)
            changed = augment.apply(batch.images, params)
            images, labels, others, share = augment.cutmix(changed, batch.labels, generator=generator, **mixing)
            optimizer.zero_grad(set_to_none=True)
            with training_numbers(precision):
                result = gradients(net, images, labels, others, share)
            optimizer.step()
            # Summed where they are: reading a value every step would stop an accelerator every step.
            loss_sum += result.loss * len(index)
            correct += result.correct
            if margin is not None:
                indices.append(index)
                found.append(margins(result.logits, labels, kind=margin))
            seen += len(index)
            step += 1
            if step == steps:
                break
        in_order = None
        if margin is not None:  # in storage order; NaN where there are none
            in_order = torch.full((len(source),), math.nan, dtype=torch.float64)
            in_order[torch.cat(indices)] = torch.cat(found).cpu().double()
        yield EpochRecord(epoch, step, float(loss_sum) / seen, 100 * float(correct) / seen, in_order)


def margins(logits: Tensor, labels: Tensor, *, kind: Margin) -> Tensor:
    """By how much each image's own label leads the best of the others [b]; negative where another leads.

    Of logits [b, k], k at least 2, or of their softmax, then in [-1, 1]. Source: Eq. 1 of arXiv:2001.10528 (logits);
    section 3 of arXiv:2310.07506 (softmax).
    """
    values = logits.float().softmax(dim=1) if kind == "softmax" else logits.float()
    own = labels[:, None]
    others = values.scatter(1, own, -math.inf)
    return values.gather(1, own)[:, 0] - others.amax(dim=1)


@torch.no_grad()
def accuracy(
    net: nn.Module, source: Source, *, batch_size: int | None = None, normalisation: Normalisation | None = None
) -> float:
    """Share of the source's images that `net` classifies rightly, in per cent, in evaluation mode.

    Without a `batch_size`, 500 small images at a time and fewer large ones. `normalisation` is the one that the
    network was trained with: the source's own where none is given.
    """
    if len(source) == 0:
        raise UserError("there are no images to take an accuracy on.")
    device = next(net.parameters()).device
    batch_size = batch_size or min(500, max(16, 2**21 // math.prod(source.image_shape)))
    # Left in the mode that it came in, as accuracies are taken between epochs too.
    was_training = net.training
    net.eval()
    correct = torch.zeros((), dtype=torch.int64, device=device)
    passes: ConvNetOnCpu | None = None
    for index in torch.arange(len(source)).split(batch_size):
        batch = _batch(source, index, device, normalisation)
        if passes is None:
            passes = prepared(net, batch.images)
        logits = net(batch.images) if passes is None else passes.logits(batch.images)
        correct += (logits.argmax(dim=1) == batch.labels).sum()
    net.train(was_training)
    return 100 * int(correct) / len(source)


def _batch(source: Source, index: Tensor, device: torch.device, normalisation: Normalisation | None = None) -> Batch:
    """Normalised images and labels at `index` on `device`."""
    with torch.no_grad():
        chosen = source.images_on(index, device) if isinstance(source, RealData) else source.images(index)
        labels = source.labels[index.to(source.labels.device)]
        images = (normalisation or source.normalisation).apply(moved(chosen, device))
        return Batch(images, moved(labels, device))


def _batch_sizes(n: int, batch_size: int) -> list[int]:
    whole, rest = divmod(n, batch_size)
    sizes = [batch_size] * whole
    if rest == 1 and whole and batch_size > 1:
        sizes[-1] += 1
    elif rest:
        sizes.append(rest)
    return sizes


def check_training(source: Source, config: TrainConfig) -> None:
    """Refuses what `train` cannot run (UserError), before anything is built."""
    if len(source) == 0:
        raise UserError("there are no images to train on.")
    for name, value in (("steps", config.steps), ("epochs", config.epochs), ("batch_size", config.batch_size)):
        if value is not None and value < 1:
            raise UserError(f"{name}={value}: expected at least 1.")
    # Rates may be 0, which trains nothing, but not negative or infinite.
    for name, rate in (("lr", config.lr), ("min_lr", config.min_lr), ("weight_decay", config.weight_decay)):
        if not 0 <= rate < math.inf:
            raise UserError(f"{name}={rate}: expected a finite number, 0 or more.")
    if config.schedule != "cosine" and config.schedule not in DROPS:
        raise UserError(f"schedule={config.schedule!r}: expected one of cosine, {', '.join(DROPS)}.")
    if not 0 <= config.cutmix_probability <= 1:
        raise UserError(f"cutmix_probability={config.cutmix_probability}: expected a fraction in [0, 1].")
    if config.cutmix_alpha <= 0:
        raise UserError(f"cutmix_alpha={config.cutmix_alpha}: expected more than 0.")
    augment.operations(config.augment.strategy)
