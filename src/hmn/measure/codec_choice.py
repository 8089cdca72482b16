"""Real images as files of a codec: format, quality and size the flags ask for; the choice where they leave one,
made on a part of the training images that is kept from training.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from typing import Any

from hmn.containers.artifact.run_data import VALIDATION_SHARE
from hmn.data.real import RealData, Splits
from hmn.data.source import images_checksum
from hmn.errors import UserError
from hmn.measure.candidates import SUBSET_SEED, Candidate, real_candidate
from hmn.measure.codec import FORMATS, CodecFacts, Format, check_format, images_in_bytes
from hmn.measure.coresets import CORESETS, Chooser, Selection
from hmn.measure.training import Training
from hmn.runtime import facts
from hmn.runtime.console import ProgressView
from hmn.runtime.files import remembered

SEARCH_STEPS, SEARCH_WIDTH = 600, 32
"""Steps and width of the trainings that a choice is made by, at most."""
SEARCH_SEEDS, FINALISTS = 3, 4
"""Every point is trained on once; those that come out best, as often as there are seeds, and their mean decides."""
QualityAndSide = tuple[int | None, int | None]
SHOWN = ("quality", "side", "images")
"""What the table of a choice says of the images of a point, besides their bytes."""
AUTO_QUALITIES = {"webp": (5, 10, 20, 35, 50), "jpeg": (5, 10, 20, 35, 50), "avif": (15, 25, 35, 45, 60)}
AUTO_SHARES = (1, 15 / 16, 7 / 8, 3 / 4, 5 / 8, 1 / 2)
"""Sides to choose from, in shares of the images' own: 32, 30, 28, 24, 20 and 16 of 32 pixels."""


@dataclass(frozen=True, kw_only=True)
class CodecSettings:
    """How real images are to be compressed."""

    format: Format
    qualities: tuple[int, ...] | None = None
    """None: 20, or more where bytes are left. One: that. Several: chosen on validation. None of them (): the grid."""
    sides: tuple[int, ...] | None = None
    """Shorter side in pixels. None: the images' own. Otherwise as for qualities."""
    images: Selection = "random"

    def points(self, image_shape: tuple[int, int, int]) -> list[QualityAndSide]:
        """Qualities and sides to choose from."""
        shares = [max(1, round(share * min(image_shape[1:]))) for share in AUTO_SHARES]
        qualities = (None,) if self.qualities is None else self.qualities or AUTO_QUALITIES[self.format]
        sides = (None,) if self.sides is None else self.sides or dict.fromkeys(shares)
        return [(quality, side) for side in sides for quality in qualities]


def codec_flags(codec: str | None, quality: str | None, side: str | None, images: str | None) -> list[CodecSettings]:
    """What --codec, --codec-quality, --codec-side and --codec-images ask for, a format each. Raises UserError: a
    format, a number or a way to choose that is none.
    """
    formats = ["webp"] if codec is None else list(dict.fromkeys(name for name in codec.split(",") if name))
    for name in formats or ["''"]:
        if name not in FORMATS:
            raise UserError(f"--codec {name}: expected {', '.join(FORMATS)}, joined by commas.")
    qualities, sides = numbers("--codec-quality", quality, 100), numbers("--codec-side", side, None)
    if qualities == () and sides is None:
        sides = ()
    by = images or "random"
    if by not in CORESETS:
        raise UserError(f"--codec-images {images}: expected {', '.join(CORESETS)}.")
    how: dict[str, Any] = {"qualities": qualities, "sides": sides, "images": by}
    return [CodecSettings(**{"format": name, **how}) for name in formats]


def numbers(flag: str, text: str | None, most: int | None) -> tuple[int, ...] | None:
    """Whole numbers joined by commas, each once; () for auto, None for None. Raises UserError: something else, or a
    number out of range.
    """
    if text is None or text == "auto":
        return None if text is None else ()
    limit = "at least 1" if most is None else f"1 to {most}"
    try:
        found = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        found = (0,)
    if any(value < 1 or (most is not None and value > most) for value in found):
        raise UserError(f"{flag} {text}: expected auto, or whole numbers ({limit}) joined by commas.")
    return found


def check_codec(codec: CodecSettings, data: RealData) -> None:
    """Refuse a format or a side that cannot be, before any training. Raises UserError: this Pillow does not write the
    format, or a side is larger than the images'.
    """
    check_format(codec.format)
    shorter = min(data.image_shape[1:])
    for side in codec.sides or ():
        if side > shorter:
            raise UserError(f"--codec-side {side}: expected 1 to {shorter}, the shorter side of the images in pixels.")


def compressed(
    chooser: Chooser, num_bytes: int, codec: CodecSettings, quality: int | None, side: int | None
) -> tuple[RealData, CodecFacts]:
    """The images as they come back from the files; those that a method chooses, as many as the bytes hold."""
    data = chooser.data
    how: dict[str, Any] = {"format": codec.format, "quality": quality, "side": side, "seed": SUBSET_SEED}
    train, facts = images_in_bytes(data, num_bytes, **how)
    if codec.images == "random":
        return train, facts
    most = data.fewest
    per_class = -(-facts.images // data.num_classes)
    while True:  # chosen images may take fewer bytes than random ones
        per_class = min(most, per_class + max(2, per_class // 4))
        order = chooser.in_turns(codec.images, per_class)
        train, facts = images_in_bytes(data, num_bytes, **how, order=order)
        if facts.images < len(order) or per_class == most:
            return train, facts


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
                one = remembered(self._about(point, seed), partial(self._measure, point, seed))
                found.append(one)
                said = one.get("problem") or f"quality {one['quality']}, side {one['side']}: {one['accuracy']:.1f} %"
                view.show(f"choosing {self.codec.format}{what}", len(found), len(trainings), said)
        return found

    @cached_property
    def validation_key(self) -> str:
        """Checksum of the validation images."""
        return images_checksum(self.validation)

    def _about(self, point: QualityAndSide, seed: int) -> dict[str, Any]:
        """All that one training's accuracy depends on."""
        by, train = self.codec.images, self.training
        features = None if by == "random" else self.chooser.facts
        chosen = {"images": self.chooser.images_key, "images_by": by, "images_seed": SUBSET_SEED, "features": features}
        stored = {"codec": self.codec.format, "quality": point[0], "side": point[1], "bytes": self.num_bytes}
        trained = {"net": train.net, "width": train.width, "config": asdict(train.config), "seed": seed}
        tested = {"validation": self.validation_key, "versions": facts.versions()}
        return {"what": "codec", **chosen, **stored, **trained, **tested}

    def _measure(self, point: QualityAndSide, seed: int) -> dict[str, Any]:
        """One training, or the reason why there is none: too few bytes."""
        try:
            train, stored = compressed(self.chooser, self.num_bytes, self.codec, *point)
        except UserError as error:
            return {"problem": str(error)}
        accuracy = round(self.training.evaluate(train, self.validation, [seed]).mean, 4)
        return {"bytes": stored.num_bytes, "accuracy": accuracy} | {name: getattr(stored, name) for name in SHOWN}


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
    rest, validation = chooser.cut
    width, steps = training.network["width"], min(training.steps, SEARCH_STEPS)
    width = None if width is None else min(width, SEARCH_WIDTH)
    short = replace(training, width=width, config=replace(training.config, steps=steps), steps=steps)
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
        **short.network,
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
    bytes_of: str | None = None,
) -> Candidate:
    """As many real images as files of a codec hold in so many bytes, chosen from splits.train.

    Args:
        splits: the data; test images are not looked at.
        num_bytes: that may be used.
        codec: format, quality, size. Where it leaves a choice, that is made on a validation tenth of splits.train.
        training: how networks are trained; those of a choice for no more than `SEARCH_STEPS` steps.
        chooser: of splits.train, where other images come from the same.
        bytes_of: what the bytes are of, for the name of the row.

    Raises:
        UserError: the bytes hold fewer images than there are classes, or this Pillow does not write the format.
    """
    chooser = chooser or Chooser(splits.train)
    points, table = codec.points(splits.train.image_shape), None
    point = points[0]
    if len(points) > 1:
        point, table = choose_point(chooser, num_bytes, codec, training)
    # Quality and side are settled: the images themselves, how they are stored in words, and the same for the JSON.
    train, stored = compressed(chooser, num_bytes, codec, *point)
    count, picked = f"{stored.images:,} random real images", ""
    if codec.images != "random":
        count, picked = f"{stored.images:,} real images", f", by {codec.images} on features of {chooser.words}"
    whole = min(splits.train.image_shape[1:])
    side = "" if stored.side == whole else f" and side {stored.side}, enlarged to {whole}"
    chosen = "" if table is None else " (chosen on a validation tenth of the training images)"
    detail = f"{count} as {stored.format} at quality {stored.quality}{side}{chosen}{picked}, shared headers not counted"
    record = {
        **{"format": stored.format, "quality": stored.quality, "side": stored.side, "images_by": codec.images},
        **{"seed": SUBSET_SEED, "features": None if codec.images == "random" else chooser.facts},
        **{"bytes_allowed": num_bytes, "bytes_of": bytes_of, "headers_counted": False, "chosen": table},
    }
    name = f"real as {codec.format}" + (f", {bytes_of} bytes" if bytes_of else "")
    found = real_candidate(name, train, splits, detail=detail, record={"codec": record})
    return replace(found, num_floats=math.ceil(stored.num_bytes / 4), num_bytes=stored.num_bytes)
