"""What workers of `hmn compare` do: make the images of a cell of the table, and train one network on them."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hmn.cli_codec import codec_candidate
from hmn.cli_codec_flags import CodecWanted
from hmn.cli_console import COMMAND
from hmn.cli_coresets import coreset
from hmn.cli_data import DataFlags
from hmn.cli_measure import Training
from hmn.cli_sources import WHOLE, condensed, read_splits, real_candidate
from hmn.cli_stored import stored_candidate
from hmn.cli_sweep_task import CONDENSED, Condensation, condense
from hmn.errors import UserError
from hmn.runtime import keep_freed_memory, write_atomically

if TYPE_CHECKING:
    from hmn.cli_sources import Candidate
    from hmn.data.real import RealData, Splits
    from hmn.data.source import Source
    from hmn.select import Selection

IMAGES, FACTS = "images.safetensors", "facts.json"
"""Of chosen real images, in the folder of their unit."""
LOCK = ".choice.lock"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Real images to be chosen: a coreset, or what a codec holds in a number of bytes."""

    data: str
    data_flags: DataFlags
    on: Literal["test", "validation"]
    ipc: int
    method: Selection | None = None
    """Of a coreset."""
    codec: CodecWanted | None = None
    num_bytes: int = 0
    bytes_of: str | None = None
    """The dtype whose bytes these are, where it is not float32."""
    training: Training | None = None
    """By which a codec's quality and size are chosen."""


@dataclass(frozen=True, kw_only=True)
class CellTraining:
    """One training; paths are absolute."""

    data: str
    data_flags: DataFlags
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
    from hmn.device import choose_device
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
