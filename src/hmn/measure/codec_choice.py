"""Quality and size of the codec line, chosen on a part of the training images that is kept from training."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from hmn.containers.artifact.run_data import VALIDATION_SHARE
from hmn.data.real import RealData, Splits
from hmn.data.source import images_checksum
from hmn.errors import UserError
from hmn.measure.candidates import SUBSET_SEED, Candidate
from hmn.measure.codec import CodecFacts
from hmn.measure.codec_options import CodecSettings, check_codec, compressed
from hmn.measure.coresets import Chooser, feature_words
from hmn.measure.training import Training
from hmn.nets.build import width_of
from hmn.recipes.settings import EvaluateConfig
from hmn.runtime import facts
from hmn.runtime.console import ProgressView
from hmn.runtime.files import remembered

SEARCH_STEPS, SEARCH_WIDTH = 600, 32
"""Steps and width of the trainings that a choice is made by, at most."""
SEARCH_SEEDS, FINALISTS = 3, 4
"""Every point is trained on once; those that come out best, as often as there are seeds, and their mean decides."""
QualityAndSide = tuple[int | None, int | None]
"""Quality and side."""


@dataclass(frozen=True, kw_only=True)
class CodecSearch:
    """What a point of the grid is measured on, and how.

    Results are kept in the cache folder, not in a study's: the choice depends on the training images alone, and
    every comparison and evaluation of the same bytes shares it.
    """

    chooser: Chooser
    """Chooses among the training images less the validation part."""
    validation: RealData
    num_bytes: int
    codec: CodecSettings
    training: Training

    def run(self, trainings: Sequence[tuple[QualityAndSide, int]], what: str = "") -> list[dict[str, Any]]:
        """Each point with each seed, with progress on stderr; what was measured before is not measured again."""
        found: list[dict[str, Any]] = []
        with ProgressView() as view:
            for point, seed in trainings:
                found.append(remembered(self._about(point, seed), lambda: self._measure(point, seed)))  # noqa: B023
                said = found[-1].get("problem") or "quality {quality}, side {side}: {accuracy:.1f} %".format(
                    **found[-1]
                )
                view.show(f"choosing {self.codec.format}{what}", len(found), len(trainings), said)
        return found

    @cached_property
    def validation_key(self) -> str:
        """Checksum of the validation images."""
        return images_checksum(self.validation)

    def _about(self, point: QualityAndSide, seed: int) -> dict[str, Any]:
        """All that one training's accuracy depends on."""
        images = self.codec.images
        return {
            "what": "codec",
            "images": self.chooser.images_key(),
            "validation": self.validation_key,
            "bytes": self.num_bytes,
            "codec": self.codec.format,
            "quality": point[0],
            "side": point[1],
            "images_by": images,
            "images_seed": SUBSET_SEED,
            "features": None if images == "random" else self.chooser.facts,
            "net": self.training.net,
            "width": self.training.width,
            "config": asdict(self.training.config),
            "seed": seed,
            "versions": facts.versions(),
        }

    def _measure(self, point: QualityAndSide, seed: int) -> dict[str, Any]:
        """One training, or the reason why there is none: too few bytes."""
        try:
            train, stored = compressed(self.chooser, self.num_bytes, self.codec, *point)
        except UserError as error:
            return {"problem": str(error)}
        accuracy = round(self.training.evaluate(train, self.validation, [seed]).mean, 4)
        return {"bytes": stored.num_bytes, "accuracy": accuracy} | {name: getattr(stored, name) for name in SHOWN}


SHOWN = ("quality", "side", "images")
"""What the table of a choice says of the images of a point, besides their bytes."""


def choose_point(
    chooser: Chooser, num_bytes: int, codec: CodecSettings, training: Training
) -> tuple[QualityAndSide, dict[str, Any]]:
    """Quality and side (None: the images' own) that train best, and the table that they were chosen from.

    Training images alone are looked at: a tenth of each class is kept from them, and networks trained on compressed
    ones of the rest are tested on it. What was measured is kept in the cache folder, so that a search that was broken
    off goes on.

    Args:
        chooser: of the training images.
        num_bytes: that may be used.
        codec: format, qualities and sides.
        training: net, protocol and steps; steps and width are cut to `SEARCH_STEPS` and `SEARCH_WIDTH`.

    Raises:
        UserError: the bytes are too few at every point.
    """
    rest, validation = chooser.cut()
    width, steps = width_of(training.net, training.width), min(training.steps, SEARCH_STEPS)
    short = replace(training, config=replace(training.config, steps=steps), steps=steps)
    short = replace(short, width=None if width is None else min(width, SEARCH_WIDTH))
    search = CodecSearch(chooser=rest, validation=validation, num_bytes=num_bytes, codec=codec, training=short)

    # Every point once; then the best of them with further seeds, and the mean decides.
    points = codec.points(chooser.data.image_shape)
    first = search.run([(point, 0) for point in points])
    done = {point: [found] for point, found in zip(points, first, strict=True) if "problem" not in found}
    if not done:
        raise UserError(first[0]["problem"])
    finalists = sorted(done, key=lambda point: -mean_accuracy(done[point]))[:FINALISTS]
    more = [(point, seed) for point in finalists for seed in range(1, SEARCH_SEEDS)] if len(done) > 1 else []
    for (point, _), found in zip(more, search.run(more, ", the best again"), strict=True):
        done[point].append(found)
    best = max(finalists, key=lambda point: mean_accuracy(done[point]))

    rows = []
    for point, results in done.items():
        about = {name: results[0][name] for name in (*SHOWN, "bytes")}
        accuracies, mean = [one["accuracy"] for one in results], round(mean_accuracy(results), 4)
        rows.append({**about, "accuracies": accuracies, "mean": mean, "chosen": point == best})
    return best, {
        "on": "validation",
        "validation_share": VALIDATION_SHARE,
        "validation_images": len(validation),
        "net": short.net,
        "width": short.width,
        "train_steps": steps,
        "rows": rows,
        "too_few_bytes_for": [point for point in points if point not in done],
    }


def mean_accuracy(trainings: Sequence[dict[str, Any]]) -> float:
    """Mean of the accuracies of a point's trainings, in per cent."""
    return statistics.fmean(training["accuracy"] for training in trainings)


def codec_candidate(
    splits: Splits,
    num_bytes: int,
    codec: CodecSettings,
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
        codec: format, quality, size. Where it leaves a choice, that is made on a validation tenth of splits.train.
        training: how networks are trained; those of a choice for no more than `SEARCH_STEPS` steps.
        chooser: of splits.train, where the images are not random.
        ipc: images per class of the budget, for the record.
        settings: of the evaluation, for the record.
        bytes_of: what the bytes are of, for the name of the row.

    Raises:
        UserError: the bytes hold fewer images than there are classes, or this Pillow does not write the format.
    """
    check_codec(codec, splits.train)
    points = codec.points(splits.train.image_shape)
    chooser = chooser or Chooser(splits.train)
    (quality, side), table = points[0], None
    if len(points) > 1:
        (quality, side), table = choose_point(chooser, num_bytes, codec, training)
    # Quality and side are settled: the images themselves.
    train, stored = compressed(chooser, num_bytes, codec, quality, side)
    name = f"real as {codec.format}" + (f", {bytes_of} bytes" if bytes_of else "")
    return Candidate(
        name=name,
        detail=codec_words(stored, codec, chooser, searched=table is not None),
        source=train,
        test=splits.test,
        data=splits.name,
        num_floats=math.ceil(stored.num_bytes / 4),
        num_bytes=stored.num_bytes,
        ipc=ipc,
        settings=settings,
        record={"codec": codec_record(stored, codec, num_bytes, bytes_of, chooser, table)},
    )


def codec_words(stored: CodecFacts, codec: CodecSettings, chooser: Chooser, *, searched: bool) -> str:
    """How the images were stored, in words."""
    count, picked = f"{stored.images:,} random real images", ""
    if codec.images != "random":
        count, picked = f"{stored.images:,} real images", f", by {codec.images} on features of {feature_words(chooser)}"
    whole = min(chooser.data.image_shape[1:])
    side = "" if stored.side == whole else f" and side {stored.side}, enlarged to {whole}"
    chosen = " (chosen on a validation tenth of the training images)" if searched else ""
    return f"{count} as {stored.format} at quality {stored.quality}{side}{chosen}{picked}, shared headers not counted"


def codec_record(
    stored: CodecFacts,
    codec: CodecSettings,
    num_bytes: int,
    bytes_of: str | None,
    chooser: Chooser,
    table: dict[str, Any] | None,
) -> dict[str, Any]:
    """The same for the JSON."""
    return {
        "format": stored.format,
        "quality": stored.quality,
        "side": stored.side,
        "images_by": codec.images,
        "seed": SUBSET_SEED,
        "features": None if codec.images == "random" else chooser.facts,
        "bytes_allowed": num_bytes,
        "bytes_of": bytes_of,
        "headers_counted": False,
        "chosen": table,
    }
