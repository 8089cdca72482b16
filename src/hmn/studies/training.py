"""What networks of studies are trained on, real images chosen for it among it, and the one training of all studies.

Called in worker processes.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from filelock import FileLock

from hmn.containers.artifact.load import info
from hmn.data.real import RealData, Splits
from hmn.data.source import Source
from hmn.errors import UserError
from hmn.measure.against import stored_candidate
from hmn.measure.candidates import Candidate, condensed
from hmn.measure.codec_choice import CodecSettings, codec_candidate
from hmn.measure.coresets import Selection, coreset
from hmn.measure.training import Training
from hmn.pruning.aum import load_profile
from hmn.pruning.survivors import Pruning
from hmn.runtime.files import write_atomically, write_json
from hmn.runtime.memory import keep_freed_memory
from hmn.studies.condensation import Condensation, StudyData, condense_into
from hmn.train.evaluation import Rendered, render

IMAGES, FACTS = "images.safetensors", "facts.json"
"""Files of chosen real images, in the folder of their unit."""
CHOICE_LOCK = ".choice.lock"


@dataclass(frozen=True, kw_only=True)
class ImageChoice:
    """Real images to be chosen: a coreset, or what a codec holds in a number of bytes."""

    data: StudyData
    ipc: int
    method: Selection | None = None
    """Method of a coreset."""
    codec: CodecSettings | None = None
    num_bytes: int = 0
    bytes_of: str | None = None
    """The dtype whose bytes these are, where it is not float32."""
    training: Training | None = None
    """By which a codec's quality and size are chosen."""

    def candidate(self, splits: Splits) -> Candidate:
        """The images, from splits.train. UserError: a class has fewer of them, or the bytes hold too few."""
        if self.method is not None:
            return coreset(splits, self.method, self.ipc)
        assert self.codec is not None and self.training is not None
        how: dict[str, Any] = {"training": self.training, "bytes_of": self.bytes_of}
        return codec_candidate(splits, self.num_bytes, self.codec, **how)


def choose_into(choice: ImageChoice, folder: Path) -> None:
    """Write the chosen images, then what is said of them."""
    keep_freed_memory()
    splits = choice.data.splits()
    wall, processor = time.monotonic(), time.process_time()
    # One at a time: what one has found is kept in the cache, and the next need not train for it again.
    with FileLock(folder.parent / CHOICE_LOCK):
        found = choice.candidate(splits)
    pixels = found.source.pixels if isinstance(found.source, RealData) else render(found.source).pixels
    facts = {
        "detail": found.detail,
        "floats": found.num_floats,
        "bytes": found.num_bytes,
        "images": len(found.source),
        "record": dict(found.record),
        "choosing_seconds": round(time.monotonic() - wall, 1),
        "choosing_processor_seconds": round(time.process_time() - processor, 1),
    }
    tensors = {"pixels": pixels.cpu().contiguous(), "labels": found.source.labels.cpu()}
    write_atomically(folder / IMAGES, safetensors.torch.save(tensors))
    write_json(folder / FACTS, facts)


def choice_facts(folder: Path) -> dict[str, Any]:
    """What `choose_into` wrote of its images."""
    return dict(json.loads((folder / FACTS).read_text(encoding="utf-8")))


def chosen_images(folder: Path, like: RealData) -> Source:
    """The images that `choose_into` wrote."""
    tensors = safetensors.torch.load((folder / IMAGES).read_bytes())
    about = tensors["pixels"], tensors["labels"], like.class_names, like.normalisation
    return RealData(*about, folder.name) if tensors["pixels"].dtype == torch.uint8 else Rendered(*about)


def make(unit: Condensation | ImageChoice, folder: Path) -> dict[str, Any]:
    """Condense or choose images into the folder, as `condense_into`; what is there already is not done again."""
    if isinstance(unit, Condensation):
        condense_into(unit, folder)
    else:
        choose_into(unit, folder)
    return {}


@dataclass(frozen=True, kw_only=True)
class TrainOn:
    """One training of one network: on which images, how they are changed before, and on what it is tested.

    Paths are absolute.
    """

    kind: Literal["whole", "chosen", "condensed"]
    place: str = ""
    """Folder of the images; nothing for the whole training set."""
    sha256: str | None = None
    """Checksum of a container that was condensed before, which must still be that one."""
    stored_as: str | None = None
    """Store a condensed set so, and take it back, before it is trained on."""
    pruning: Pruning | None = None
    """Prune a condensed set before it is trained on."""
    aum: str | None = None
    """File of the profile that it is pruned by."""
    data: StudyData
    training: Training
    seed: int = 0
    """Seed of the network, and of random pruning."""

    def sources(self) -> tuple[Source, RealData, int]:
        """What is trained on, what is tested on, and the bytes of the first.

        Raises:
            UserError: they cannot be read, or are no longer the same.
        """
        place, data = Path(self.place), self.data
        if self.kind != "condensed":
            splits = data.splits()
            if self.kind == "whole":
                return splits.train, splits.test, splits.train.pixels.numel()
            return chosen_images(place, splits.train), splits.test, int(choice_facts(place)["bytes"])
        found, splits = condensed(place, data.name, data.options, data.on)
        assert found.condensed is not None
        if self.sha256 is not None and found.condensed["sha256"] != self.sha256:
            raise UserError(f"{place}: another container than when this was begun: start anew with --force.")
        if self.stored_as is not None:
            found = stored_candidate(place, self.stored_as, found)
        if self.pruning is None:
            return found.source, splits.test, found.num_bytes

        # A pruned set is a part of the rendered images.
        images = render(found.source)
        aum = None if self.aum is None else load_profile(Path(self.aum), sha256=self.sha256).aum
        kept = self.pruning.kept(aum, images.labels, seed=self.seed, copies=info(place).shape.copies)
        pruned = replace(images, pixels=images.pixels[kept], labels=images.labels[kept])
        return pruned, splits.test, found.num_bytes


def train_on(run: TrainOn, folder: Path) -> dict[str, Any]:
    """Train one network and test it; nothing but the outcome is left in `folder`. UserError: as `TrainOn.sources`.

    Returns:
        accuracies (one, in per cent), images and bytes trained on, optimizer steps, test images, seconds of training.
    """
    keep_freed_memory()
    source, test, num_bytes = run.sources()
    result = run.training.evaluate(source, test, [run.seed])
    return {
        "accuracies": [result.mean],
        "images": result.images,
        "bytes": num_bytes,
        "steps": result.train_steps,
        "test_images": len(test),
        "seconds": round(result.seconds, 2),
    }
