"""Tasks of the workers of studies: condense and evaluate, choose real images, train a network on images there are."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from filelock import FileLock

from hmn.condensation.job import Job
from hmn.containers.artifact.load import info
from hmn.containers.artifact.place import CHECKPOINT, CONTAINER
from hmn.containers.artifact.run_data import Split, read_splits
from hmn.containers.choose import Chosen
from hmn.data.options import DataOptions
from hmn.data.real import RealData, Splits
from hmn.data.source import Source
from hmn.errors import Interruption, UserError
from hmn.measure.against import stored_candidate
from hmn.measure.candidates import condensed, target_of
from hmn.measure.codec_choice import CodecSettings, codec_candidate
from hmn.measure.coresets import Selection, coreset
from hmn.measure.evaluate import evaluation_report
from hmn.measure.training import Training, choose_training
from hmn.pruning.aum import load_profile
from hmn.pruning.survivors import Pruning
from hmn.recipes.settings import Dtype, EvaluateConfig, Recipe
from hmn.runtime.files import json_object, write_atomically, write_json
from hmn.runtime.launched import COMMAND
from hmn.runtime.memory import keep_freed_memory
from hmn.studies.pool.attempt import Stopped
from hmn.train.evaluation import Rendered, render

CONDENSED = "condensed"
"""Folder in a run's folder: what `hmn condense` would have written."""
IMAGES, CHOICE_FACTS = "images.safetensors", "facts.json"
"""Files of chosen real images, in the folder of their unit."""
CHOICE_LOCK = ".choice.lock"


@dataclass(frozen=True, kw_only=True)
class StudyData:
    """A data set, found again by every worker: its name or absolute path, how it is read, and what is tested on."""

    name: str
    options: DataOptions
    on: Split

    def splits(self) -> Splits:
        """The images; with on="validation" those to be tested on are kept from all training, condensing included."""
        return read_splits(self.name, self.options, self.on)


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What the command says of every run."""

    data: StudyData
    settings: Mapping[str, Any]
    """Settings from flags and the environment, by path; `ipc` among them where it is given."""
    checkpoint_seconds: float
    command: tuple[str, ...]
    """Arguments of the study, for the record."""
    recipe: str | None = None
    from_file: Mapping[str, Any] = field(default_factory=dict)
    images: int | None = None
    dtype: Dtype = "float32"
    steps: int | None = None


@dataclass(frozen=True, kw_only=True)
class Condensation:
    """Everything that one run needs; paths are absolute."""

    given: RunSettings
    chosen: Chosen
    recipe: Recipe
    dtype: Dtype
    evaluations: dict[str, EvaluateConfig]
    """By the name of the file that each writes into the run's folder."""


def condense_and_evaluate(run: Condensation, folder: Path) -> dict[str, Any]:
    """Condense into the folder, then train and test, as far as that is not done: mean accuracies in per cent.

    Raises:
        UserError: as `hmn condense` and `hmn evaluate` do.
        Stopped: a signal came, and a checkpoint was written.
    """
    condense_into(run, folder)
    found, on = [], run.given.data.on
    for name, settings in run.evaluations.items():
        if not (folder / name).exists():
            target, _ = target_of(str(folder / CONDENSED), on=on)
            training = choose_training(target, vars(settings), run.given.steps)
            write_json(folder / name, evaluation_report([target], training, on))
        found.append(float(json_object(folder / name)["accuracy_percent"]["mean"]))
    return {"accuracies": found}


def condense_into(run: Condensation, folder: Path) -> None:
    """One condensation into the run's folder, begun or gone on with; raises as `condense_and_evaluate`."""
    COMMAND.set(run.given.command)
    out, data = folder / CONDENSED, run.given.data
    what: dict[str, Any] = {"data": data.name, "options": data.options, "splits": data.splits()}
    held = data.on == "validation"
    job = Job(chosen=run.chosen, recipe=run.recipe, dtype=run.dtype, hold_out=held, **what)
    try:
        job.run(out, resume=is_begun(out), force=False, checkpoint_seconds=run.given.checkpoint_seconds)
    except Interruption:
        raise Stopped from None


def is_begun(out: Path) -> bool:
    """Whether a condensation left anything to go on with: one that was killed very early has not."""
    return any((out / name).exists() for name in (CHECKPOINT, CONTAINER))


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


def choose_into(choice: ImageChoice, folder: Path) -> None:
    """Write the chosen images, then what is said of them."""
    keep_freed_memory()
    splits = choice.data.splits()
    wall, processor = time.monotonic(), time.process_time()
    # One at a time: what one has found is kept in the cache, and the next need not train for it again.
    with FileLock(folder.parent / CHOICE_LOCK):
        if choice.method is not None:
            found = coreset(splits, choice.method, choice.ipc)
        else:
            assert choice.codec is not None and choice.training is not None
            how: dict[str, Any] = {"training": choice.training, "bytes_of": choice.bytes_of}
            found = codec_candidate(splits, choice.num_bytes, choice.codec, **how)
    pixels = found.source.pixels if isinstance(found.source, RealData) else render(found.source).pixels
    facts = {"detail": found.detail, "floats": found.num_floats, "bytes": found.num_bytes, "images": len(found.source)}
    facts |= {"record": dict(found.record), "choosing_seconds": round(time.monotonic() - wall, 1)}
    facts["choosing_processor_seconds"] = round(time.process_time() - processor, 1)
    tensors = {"pixels": pixels.cpu().contiguous(), "labels": found.source.labels.cpu()}
    write_atomically(folder / IMAGES, safetensors.torch.save(tensors))
    write_json(folder / CHOICE_FACTS, facts)


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
        """What is trained on, what is tested on, and the bytes of the first. Raises UserError: they have changed."""
        place, data = Path(self.place), self.data
        if self.kind != "condensed":
            splits = data.splits()
            if self.kind == "whole":
                return splits.train, splits.test, splits.train.pixels.numel()
            return chosen_images(place, splits.train), splits.test, int(json_object(place / CHOICE_FACTS)["bytes"])
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
    """Train one network and test it; nothing but the outcome is left in the folder. Raises UserError: as the sources.

    Returns:
        accuracies (one, in per cent), images and bytes trained on, optimizer steps, test images, seconds of training.
    """
    keep_freed_memory()
    source, test, num_bytes = run.sources()
    result = run.training.evaluate(source, test, [run.seed])
    sizes = {"images": result.images, "bytes": num_bytes, "steps": result.train_steps, "test_images": len(test)}
    return {"accuracies": [result.mean], **sizes, "seconds": round(result.seconds, 2)}
