"""Everything that `hmn evaluate` compares its target with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hmn.containers.artifact.run_data import Split
from hmn.data.real import Splits
from hmn.errors import UserError
from hmn.measure.candidates import Candidate
from hmn.measure.codec_choice import codec_candidate
from hmn.measure.codec_options import CodecSettings, check_codec, codec_flags
from hmn.measure.coresets import CORESETS, Chooser, budget_coreset, whole
from hmn.measure.stored import check_stored, stored_candidates, stored_dtypes
from hmn.measure.training import Training

AGAINST = (*CORESETS, "whole", "codec")


@dataclass(frozen=True, kw_only=True)
class Against:
    """What to compare with."""

    names: tuple[str, ...] = ()
    """Some of `AGAINST`."""
    codecs: tuple[CodecSettings, ...] = ()
    stored: tuple[str, ...] = ()
    """Ways to store the target's floats."""


def chosen_against(
    against: str | None,
    *,
    codec: str | None,
    quality: str | None,
    side: str | None,
    images: str | None,
    stored: str | None,
) -> Against:
    """The flags of `hmn evaluate`.

    Raises:
        UserError: a name that is none, or a flag that would do nothing.
    """
    names = [name for name in (against or "").split(",") if name]
    for name in names:
        if name not in AGAINST:
            raise UserError(f"--against {name}: expected {', '.join(AGAINST)}, joined by commas.")
    given = {"--codec": codec, "--codec-quality": quality, "--codec-side": side, "--codec-images": images}
    for flag, value in given.items():
        if value is not None and "codec" not in names:
            raise UserError(f"{flag} {value}: nothing is compressed without --against codec.")
    codecs = codec_flags(codec, quality, side, images) if "codec" in names else []
    return Against(names=tuple(names), codecs=tuple(codecs), stored=stored_dtypes(stored))


def check_against(target: Any, first: Candidate, splits: Splits, against: Against) -> None:
    """Refuse comparisons that make no sense for the target, before any training.

    Raises:
        UserError: so.
    """
    check_stored(target, against.stored)
    for name in CORESETS:
        if name in against.names and first.condensed is None:
            raise UserError(
                f"--against {name} compares with a container's budget: the target is real data; use --subset."
            )
    for codec in against.codecs:
        check_codec(codec, splits.train)


def comparisons(
    target: Any, first: Candidate, splits: Splits, against: Against, training: Training, on: Split = "test"
) -> list[Candidate]:
    """All that the target is compared with, in the order of `AGAINST`, then of its stored forms, each with its codecs.

    Args:
        target: as on the command line.
        first: the target.
        splits: its data.
        against: what to compare with.
        training: of the networks; what a codec chooses by is a shorter one.
        on: the split that is tested on.

    Raises:
        UserError: a comparison makes no sense for the target, or has too few bytes.
    """
    check_against(target, first, splits, against)
    chooser = Chooser(splits.train)
    found = [budget_coreset(splits, method, first, chooser) for method in CORESETS if method in against.names]
    if "whole" in against.names:
        found.append(whole(splits, on))

    # The target and each stored form of it, which is a row too, have real images in as many bytes, by every codec.
    stored = stored_candidates(Path(target), against.stored, first) if against.stored else []
    for form in (first, *stored):
        found += [] if form is first else [form]
        bytes_of = None if form is first else str(form.record["stored"])
        how: dict[str, Any] = {"training": training, "chooser": chooser, "ipc": form.ipc, "settings": form.settings}
        found += [codec_candidate(splits, form.num_bytes, codec, bytes_of=bytes_of, **how) for codec in against.codecs]
    return found
