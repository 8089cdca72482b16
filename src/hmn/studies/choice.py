"""Real images chosen for a comparison: a coreset, or what a codec holds in a number of bytes. Called in workers."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from filelock import FileLock

from hmn.data.real import RealData, Splits
from hmn.data.source import Source
from hmn.measure.candidates import Candidate, default_settings
from hmn.measure.codec_choice import codec_candidate
from hmn.measure.codec_options import CodecSettings
from hmn.measure.coresets import Selection, coreset
from hmn.measure.training import Training
from hmn.runtime.files import write_atomically
from hmn.runtime.memory import keep_freed_memory
from hmn.studies.condensation import StudyData
from hmn.train import Rendered, render

IMAGES, FACTS = "images.safetensors", "facts.json"
"""Files of chosen real images, in the folder of their unit."""
CHOICE_LOCK = ".choice.lock"


@dataclass(frozen=True, kw_only=True)
class ImageChoice:
    """Real images to be chosen."""

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
        """The images, chosen from splits.train.

        Raises:
            UserError: a class has fewer images, or the bytes hold too few.
        """
        if self.method is not None:
            return coreset(splits, self.method, self.ipc)
        assert self.codec is not None and self.training is not None
        how: dict[str, Any] = {"training": self.training, "ipc": self.ipc, "settings": default_settings(splits)}
        return codec_candidate(splits, self.num_bytes, self.codec, bytes_of=self.bytes_of, **how)


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
    write_atomically(folder / FACTS, (json.dumps(facts, indent=2, ensure_ascii=False) + "\n").encode())


def choice_facts(folder: Path) -> dict[str, Any]:
    """What `choose_into` wrote of its images."""
    return dict(json.loads((folder / FACTS).read_text(encoding="utf-8")))


def chosen_images(folder: Path, like: RealData) -> Source:
    """The images that `choose_into` wrote."""
    tensors = safetensors.torch.load((folder / IMAGES).read_bytes())
    about = tensors["pixels"], tensors["labels"], like.class_names, like.normalisation
    return RealData(*about, folder.name) if tensors["pixels"].dtype == torch.uint8 else Rendered(*about)
