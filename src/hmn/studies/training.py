"""The one training of all studies: a network on images, changed or not, tested on a data set. Called in workers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from hmn.containers.artifact.load import info
from hmn.data.real import RealData
from hmn.data.source import Source
from hmn.errors import UserError
from hmn.measure.candidates import condensed
from hmn.measure.stored import stored_candidate
from hmn.measure.training import Training
from hmn.pruning.aum import load_profile
from hmn.pruning.survivors import Pruning
from hmn.runtime.memory import keep_freed_memory
from hmn.studies.choice import ImageChoice, choice_facts, choose_into, chosen_images
from hmn.studies.condensation import Condensation, StudyData, condense_into
from hmn.train import render


@dataclass(frozen=True, kw_only=True)
class TrainSource:
    """Images to train on: where they are, and how they are changed before. Paths are absolute."""

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

    def load(self, data: StudyData, seed: int) -> tuple[Source, RealData, int]:
        """What is trained on, what is tested on, and the bytes of the first.

        Args:
            data: that it is made from and tested on.
            seed: of random pruning's choice.

        Raises:
            UserError: images or data cannot be read, or are no longer the same.
        """
        place = Path(self.place)
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
        profile = None if self.aum is None else load_profile(Path(self.aum), sha256=self.sha256)
        aum = None if profile is None else profile.aum
        kept = self.pruning.kept(aum, images.labels, seed=seed, copies=info(place).shape.copies)
        pruned = replace(images, pixels=images.pixels[kept], labels=images.labels[kept])
        return pruned, splits.test, found.num_bytes


@dataclass(frozen=True, kw_only=True)
class TrainOn:
    """One training of one network."""

    source: TrainSource
    data: StudyData
    training: Training
    seed: int
    """Seed of the network, and of random pruning."""


def train_on(run: TrainOn, folder: Path) -> dict[str, Any]:
    """Train one network and test it; nothing but the outcome is left in `folder`.

    Returns:
        accuracies (one, in per cent), images and bytes trained on, optimizer steps, test images, seconds of training.

    Raises:
        UserError: the images or the data cannot be read, or are no longer the same.
    """
    keep_freed_memory()
    source, test, num_bytes = run.source.load(run.data, run.seed)
    result = run.training.evaluate(source, test, [run.seed])
    return {
        "accuracies": [result.mean],
        "images": result.images,
        "bytes": num_bytes,
        "steps": result.train_steps,
        "test_images": len(test),
        "seconds": round(result.seconds, 2),
    }


def make(unit: Condensation | ImageChoice, folder: Path) -> dict[str, Any]:
    """Condense or choose images into the folder; what is there already is not done again.

    Raises:
        UserError: settings or data do not allow it.
        Stopped: a signal came, and a checkpoint was written.
    """
    if isinstance(unit, Condensation):
        condense_into(unit, folder)
    else:
        choose_into(unit, folder)
    return {}
