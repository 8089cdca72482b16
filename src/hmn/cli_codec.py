"""The codec line: real images, compressed, at a given number of bytes; quality and size given, or chosen."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from hmn.cli_codec_choice import choose_point
from hmn.cli_codec_flags import CodecWanted, check_wanted, compressed
from hmn.cli_coresets import Chooser, feature_words
from hmn.cli_sources import SUBSET_SEED, Candidate

if TYPE_CHECKING:
    from hmn.cli_measure import Training
    from hmn.codec import CodecFacts
    from hmn.data.real import Splits
    from hmn.settings import EvaluateConfig


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
