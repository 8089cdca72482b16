"""What workers of `hmn compare` do: make the images of a cell of the table, and train one network on them."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hmn.data.formats import DataOptions
from hmn.errors import UserError
from hmn.measure.candidates import WHOLE, condensed, read_splits, real_candidate
from hmn.measure.codec_choice import codec_candidate
from hmn.measure.codec_options import CodecSettings
from hmn.measure.coresets import coreset
from hmn.measure.stored import stored_candidate
from hmn.measure.training import Training
from hmn.recipes.settings import TrainConfig
from hmn.runtime.console import COMMAND
from hmn.runtime.files import write_atomically
from hmn.runtime.memory import keep_freed_memory
from hmn.studies.condensation import CONDENSED, Condensation, condense

if TYPE_CHECKING:
    from torch import Tensor

    from hmn.data.real import RealData, Splits
    from hmn.data.source import Source
    from hmn.measure.candidates import Candidate
    from hmn.measure.coresets import Selection
    from hmn.prune.aum import Profile


IMAGES, FACTS = "images.safetensors", "facts.json"
"""Of chosen real images, in the folder of their unit."""
LOCK = ".choice.lock"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Real images to be chosen: a coreset, or what a codec holds in a number of bytes."""

    data: str
    data_flags: DataOptions
    on: Literal["test", "validation"]
    ipc: int
    method: Selection | None = None
    """Of a coreset."""
    codec: CodecSettings | None = None
    num_bytes: int = 0
    bytes_of: str | None = None
    """The dtype whose bytes these are, where it is not float32."""
    training: Training | None = None
    """By which a codec's quality and size are chosen."""


@dataclass(frozen=True, kw_only=True)
class CellTraining:
    """One training; paths are absolute."""

    data: str
    data_flags: DataOptions
    on: Literal["test", "validation"]
    source: Literal["whole", "chosen", "condensed"]
    place: str
    """Folder of the images; nothing for the whole training set."""
    sha256: str | None
    """Of a container that was condensed before, which must still be that one."""
    dtype: str | None
    """Store a condensed set so, and take it back, before it is trained on."""
    training: Training
    seed: int


def make(wanted: Condensation | Choice, folder: Path) -> dict[str, Any]:
    """Condense or choose into the folder; what is there already is not done again.

    Raises:
        UserError: settings or data do not allow it.
        Stopped: a signal came, and a checkpoint was written.
    """
    if isinstance(wanted, Condensation):
        COMMAND.set(wanted.command)
        condense(wanted, folder / CONDENSED)
    else:
        choose(wanted, folder)
    return {}


def choose(wanted: Choice, folder: Path) -> None:
    """Write the chosen images, then what is said of them."""
    import safetensors.torch
    from filelock import FileLock

    from hmn.data.real import RealData
    from hmn.train import render

    keep_freed_memory()
    splits = read_splits(wanted.data, wanted.data_flags, wanted.on)
    wall, processor = time.monotonic(), time.process_time()
    # One at a time: what one has found is kept in the cache, and the next need not train for it again.
    with FileLock(folder.parent / LOCK):
        found = _chosen(wanted, splits)
    pixels = found.source.pixels if isinstance(found.source, RealData) else render(found.source).pixels
    facts = {
        "detail": found.detail, "floats": found.num_floats, "bytes": found.num_bytes, "images": len(found.source),
        "record": dict(found.record), "choosing_seconds": round(time.monotonic() - wall, 1),
        "choosing_processor_seconds": round(time.process_time() - processor, 1),
    }  # fmt: skip
    tensors = {"pixels": pixels.cpu().contiguous(), "labels": found.source.labels.cpu()}
    write_atomically(folder / IMAGES, safetensors.torch.save(tensors))
    write_atomically(folder / FACTS, (json.dumps(facts, indent=2, ensure_ascii=False) + "\n").encode())


def _chosen(wanted: Choice, splits: Splits) -> Candidate:
    if wanted.method is not None:
        return coreset(splits, wanted.method, wanted.ipc)
    assert wanted.codec is not None and wanted.training is not None
    settings = real_candidate(WHOLE[wanted.on], splits.train, splits, detail="").settings
    return codec_candidate(
        splits, wanted.num_bytes, wanted.codec, training=wanted.training, ipc=wanted.ipc, settings=settings,
        bytes_of=wanted.bytes_of,
    )  # fmt: skip


def train_cell(wanted: CellTraining, folder: Path) -> dict[str, Any]:
    """Train one network on a cell's images and test it; nothing but the outcome is left in `folder`.

    Returns:
        accuracy in per cent, images and bytes trained on, optimizer steps, seconds of training.

    Raises:
        UserError: the images or the data cannot be read, or are no longer the same.
    """
    from hmn.runtime.device import choose_device
    from hmn.train import evaluate

    keep_freed_memory()
    source, test, num_bytes = _source(wanted)
    training = wanted.training
    result = evaluate(
        source, test, net=training.net, width=training.width, config=training.config, seeds=[wanted.seed],
        protocol=training.protocol, device=choose_device(),
    )  # fmt: skip
    return {
        "accuracy": result.mean, "images": result.images, "bytes": num_bytes, "steps": result.train_steps,
        "test_images": len(test), "seconds": round(result.seconds, 2),
    }  # fmt: skip


def _source(wanted: CellTraining) -> tuple[Source, RealData, int]:
    """What is trained on, what is tested on, and the bytes of the first."""
    place = Path(wanted.place)
    if wanted.source == "condensed":
        found, splits = condensed(place, wanted.data, wanted.data_flags, wanted.on)
        assert found.condensed is not None
        if wanted.sha256 is not None and found.condensed["sha256"] != wanted.sha256:
            raise UserError(f"{place}: another container than when this was begun: start anew with --force.")
        if wanted.dtype is not None:
            found = stored_candidate(place, wanted.dtype, found)
        return found.source, splits.test, found.num_bytes
    splits = read_splits(wanted.data, wanted.data_flags, wanted.on)
    if wanted.source == "whole":
        found = real_candidate(WHOLE[wanted.on], splits.train, splits, detail="")
        return found.source, splits.test, found.num_bytes
    return chosen_images(place, splits.train), splits.test, json.loads((place / FACTS).read_text())["bytes"]


def chosen_images(place: Path, like: RealData) -> Source:
    """The images that `choose` wrote."""
    import safetensors.torch
    import torch

    from hmn.data.real import RealData
    from hmn.train import Rendered

    tensors = safetensors.torch.load((place / IMAGES).read_bytes())
    kind = RealData if tensors["pixels"].dtype == torch.uint8 else Rendered
    if kind is RealData:
        return RealData(tensors["pixels"], tensors["labels"], like.class_names, like.normalisation, place.name)
    return Rendered(tensors["pixels"], tensors["labels"], like.class_names, like.normalisation)


Pruning = Literal["unpruned", "double-end", "random", "hard", "easy"]


@dataclass(frozen=True, kw_only=True)
class PrunedTraining:
    """Everything that one training needs; paths are absolute."""

    run: str
    """Folder of the container."""
    sha256: str
    """Of the container, which must still be that one."""
    aum: str | None
    """File of its profile."""
    data: str
    data_flags: DataOptions
    on: Literal["test", "validation"]
    method: Pruning
    counts: tuple[int, ...]
    """Survivors of each class."""
    beta: float | None
    """For double-end pruning."""
    seed: int
    """Of the network, and of random pruning's choice."""
    net: str
    width: int | None
    config: TrainConfig


def train_pruned(wanted: PrunedTraining, folder: Path) -> dict[str, Any]:
    """Prune, train one network and test it; nothing but the outcome is left in `folder`.

    Returns:
        accuracy in per cent, images trained on, optimizer steps, seconds of training.

    Raises:
        UserError: the container or its profile has changed, or the data cannot be read.
    """
    from hmn.containers.artifact.load import info, load
    from hmn.prune.aum import load_profile
    from hmn.runtime.device import choose_device
    from hmn.train import Rendered, evaluate

    stored = info(wanted.run)
    if stored.checksum != wanted.sha256:
        raise UserError(f"{wanted.run}: another container than when this was begun: start anew with --force.")
    images = load(wanted.run)
    profile = None if wanted.aum is None else load_profile(Path(wanted.aum), sha256=wanted.sha256)
    kept = survivors(
        profile, images.labels, method=wanted.method, counts=wanted.counts, beta=wanted.beta, seed=wanted.seed,
        copies=stored.shape.copies,
    )  # fmt: skip
    source = Rendered(images.pixels[kept], images.labels[kept], images.class_names, images.normalisation)
    splits = read_splits(wanted.data, wanted.data_flags, wanted.on)
    result = evaluate(
        source, splits.test, net=wanted.net, width=wanted.width, config=wanted.config, seeds=[wanted.seed],
        device=choose_device(),
    )  # fmt: skip
    return {
        "accuracy": round(result.mean, 4), "images": result.images, "steps": result.train_steps,
        "seconds": round(result.seconds, 2),
    }  # fmt: skip


def survivors(
    profile: Profile | None, labels: Tensor, *, method: Pruning, counts: tuple[int, ...], beta: float | None, seed: int,
    copies: int,
) -> Tensor:  # fmt: skip
    """Indices of the images that stay, in storage order; the same for the same seed."""
    import torch

    from hmn.prune.survivors import keep_indices

    if method == "unpruned":
        return torch.arange(len(labels))
    return keep_indices(
        None if profile is None else profile.aum, labels, counts=counts, method=method, hard_share=beta or 0.0,
        generator=torch.Generator().manual_seed(seed), copies=copies,
    )  # fmt: skip
