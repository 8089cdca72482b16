"""Quality and size of the codec line, chosen on a part of the training images that is kept from training."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from hmn.errors import UserError
from hmn.measure.candidates import SUBSET_SEED, VALIDATION_SHARE, Candidate
from hmn.measure.codec_options import CodecWanted, check_wanted, compressed
from hmn.measure.coresets import Chooser, feature_words
from hmn.runtime.console import ProgressView

if TYPE_CHECKING:
    from hmn.data.real import RealData, Splits
    from hmn.measure.codec import CodecFacts
    from hmn.measure.training import Training
    from hmn.recipes.settings import EvaluateConfig, TrainConfig


SEARCH_STEPS, SEARCH_WIDTH = 600, 32
"""Of the trainings that a choice is made by, at most."""
SEARCH_SEEDS, FINALISTS = 3, 4
"""Every point is trained on once; those that come out best, as often as there are seeds, and their mean decides."""
Point = tuple[int | None, int | None]
"""Quality and side."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """What a point of the grid is measured on, and how."""

    chooser: Chooser
    """Of the training images less the validation part."""
    validation: RealData
    validation_key: str
    num_bytes: int
    wanted: CodecWanted
    net: str
    width: int | None
    config: TrainConfig

    def about(self, point: Point, seed: int) -> dict[str, Any]:
        """All that one training's accuracy depends on."""
        from hmn.runtime import facts

        images = self.wanted.images
        return {
            "what": "codec", "images": self.chooser.images_key(), "validation": self.validation_key,
            "bytes": self.num_bytes, "codec": self.wanted.format, "quality": point[0], "side": point[1],
            "images_by": images, "images_seed": SUBSET_SEED,
            "features": None if images == "random" else self.chooser.facts, "net": self.net, "width": self.width,
            "config": asdict(self.config), "seed": seed, "versions": facts.versions(),
        }  # fmt: skip

    def measure(self, point: Point, seed: int) -> dict[str, Any]:
        """One training, or the reason why there is none: too few bytes."""
        from hmn.runtime.device import choose_device
        from hmn.train import evaluate

        try:
            train, stored = compressed(self.chooser, self.num_bytes, self.wanted, *point)
        except UserError as error:
            return {"problem": str(error)}
        found = evaluate(
            train, self.validation, net=self.net, width=self.width, config=self.config, seeds=[seed],
            device=choose_device(),
        )  # fmt: skip
        return {
            "quality": stored.quality, "side": stored.side, "images": stored.images, "bytes": stored.num_bytes,
            "accuracy": round(found.mean, 4),
        }  # fmt: skip


def choose_point(
    chooser: Chooser, num_bytes: int, wanted: CodecWanted, training: Training
) -> tuple[Point, dict[str, Any]]:
    """Quality and side (None: the images' own) that train best, and the table that they were chosen from.

    Training images alone are looked at: a tenth of each class is kept from them, and networks trained on compressed
    ones of the rest are tested on it. What was measured is kept in the cache folder, so that a search that was broken
    off goes on.

    Args:
        chooser: of the training images.
        num_bytes: that may be used.
        wanted: format, qualities and sides.
        training: net, protocol and steps; steps and width are cut to `SEARCH_STEPS` and `SEARCH_WIDTH`.

    Raises:
        UserError: the bytes are too few at every point.
    """
    search = begin(chooser, num_bytes, wanted, training)
    points = wanted.points(chooser.data.image_shape)
    first = measured(search, [(point, 0) for point in points], "")
    done = {point: [found] for point, found in zip(points, first, strict=True) if "problem" not in found}
    if not done:
        raise UserError(first[0]["problem"])
    finalists = sorted(done, key=lambda point: -mean(done[point]))[:FINALISTS]
    more = [(point, seed) for point in finalists for seed in range(1, SEARCH_SEEDS)] if len(done) > 1 else []
    for (point, _), found in zip(more, measured(search, more, ", the best again"), strict=True):
        done[point].append(found)
    best = max(finalists, key=lambda point: mean(done[point]))
    rows = [
        {**{name: found[0][name] for name in ("quality", "side", "images", "bytes")},
         "accuracies": [one["accuracy"] for one in found], "mean": round(mean(found), 4), "chosen": point == best}
        for point, found in done.items()
    ]  # fmt: skip
    table = {
        "on": "validation", "validation_share": VALIDATION_SHARE, "validation_images": len(search.validation),
        "net": search.net, "width": search.width, "train_steps": search.config.steps, "rows": rows,
        "too_few_bytes_for": [point for point, found in zip(points, first, strict=True) if "problem" in found],
    }  # fmt: skip
    return best, table


def begin(chooser: Chooser, num_bytes: int, wanted: CodecWanted, training: Training) -> Search:
    """The training images cut in two, and the short training."""
    from hmn.data.source import images_checksum
    from hmn.nets.build import width_of

    rest, validation = chooser.cut()
    own = width_of(training.net, training.width)
    return Search(
        chooser=rest, validation=validation, validation_key=images_checksum(validation), num_bytes=num_bytes,
        wanted=wanted, net=training.net, width=None if own is None else min(own, SEARCH_WIDTH),
        config=replace(training.config, steps=min(training.steps, SEARCH_STEPS)),
    )  # fmt: skip


def measured(search: Search, trainings: Sequence[tuple[Point, int]], what: str) -> list[dict[str, Any]]:
    """Each point with each seed, with progress on stderr."""
    from hmn.runtime.cache import kept

    found = []
    with ProgressView() as view:
        for number, (point, seed) in enumerate(trainings, 1):
            found.append(kept(search.about(point, seed), lambda point=point, seed=seed: search.measure(point, seed)))  # type: ignore[misc]
            last = found[-1]
            said = last.get("problem") or f"quality {last['quality']}, side {last['side']}: {last['accuracy']:.1f} %"
            view.show(f"choosing {search.wanted.format}{what}", number, len(trainings), said)
    return found


def mean(found: Sequence[dict[str, Any]]) -> float:
    """Of the accuracies."""
    return statistics.fmean(one["accuracy"] for one in found)


def codec_candidate(
    splits: Splits,
    num_bytes: int,
    wanted: CodecWanted,
    *,
    training: Training,
    chooser: Chooser | None = None,
    ipc: int,
    settings: EvaluateConfig,
    bytes_of: str | None = None,
) -> Candidate:
    """As many real images as files of a codec hold in so many bytes, chosen from splits.train.

    Args:
        splits: the data; test images are not looked at.
        num_bytes: that may be used.
        wanted: format, quality, size. Where it leaves a choice, that is made on a validation tenth of splits.train.
        training: how networks are trained; those of a choice for no more than `SEARCH_STEPS` steps.
        chooser: of splits.train, where the images are not random.
        ipc: images per class of the budget, for the record.
        settings: of the evaluation, for the record.
        bytes_of: what the bytes are of, for the name of the row.

    Raises:
        UserError: the bytes hold fewer images than there are classes, or this Pillow does not write the format.
    """
    check_wanted(wanted, splits.train)
    points = wanted.points(splits.train.image_shape)
    chooser = chooser or Chooser(splits.train)
    (quality, side), table = points[0], None
    if len(points) > 1:
        (quality, side), table = choose_point(chooser, num_bytes, wanted, training)
    train, facts = compressed(chooser, num_bytes, wanted, quality, side)
    name = f"real as {wanted.format}" + (f", {bytes_of} bytes" if bytes_of else "")
    return Candidate(
        name=name,
        detail=codec_words(facts, wanted, chooser, searched=table is not None),
        source=train,
        test=splits.test,
        data=splits.name,
        num_floats=math.ceil(facts.num_bytes / 4),
        num_bytes=facts.num_bytes,
        ipc=ipc,
        settings=settings,
        record={"codec": codec_record(facts, wanted, num_bytes, bytes_of, chooser, table)},
    )


def codec_words(facts: CodecFacts, wanted: CodecWanted, chooser: Chooser, *, searched: bool) -> str:
    """How the images were stored, in words."""
    count, picked = f"{facts.images:,} random real images", ""
    if wanted.images != "random":
        count, picked = f"{facts.images:,} real images", f", by {wanted.images} on features of {feature_words(chooser)}"
    own = min(chooser.data.image_shape[1:])
    side = "" if facts.side == own else f" and side {facts.side}, enlarged to {own}"
    chosen = " (chosen on a validation tenth of the training images)" if searched else ""
    return f"{count} as {facts.format} at quality {facts.quality}{side}{chosen}{picked}, shared headers not counted"


def codec_record(
    facts: CodecFacts,
    wanted: CodecWanted,
    num_bytes: int,
    bytes_of: str | None,
    chooser: Chooser,
    table: dict[str, Any] | None,
) -> dict[str, Any]:
    """The same for the JSON."""
    return {
        "format": facts.format, "quality": facts.quality, "side": facts.side, "images_by": wanted.images,
        "seed": SUBSET_SEED, "features": None if wanted.images == "random" else chooser.facts,
        "bytes_allowed": num_bytes, "bytes_of": bytes_of, "headers_counted": False, "chosen": table,
    }  # fmt: skip
