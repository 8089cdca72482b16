"""Everything that `hmn evaluate` compares its target with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hmn.errors import UserError
from hmn.measure.candidates import Candidate
from hmn.measure.codec_choice import codec_candidate
from hmn.measure.codec_options import CodecWanted, check_wanted, codec_flags
from hmn.measure.coresets import CORESETS, Chooser, budget_coreset, whole
from hmn.measure.stored import check_stored, stored_candidates, stored_dtypes

if TYPE_CHECKING:
    from hmn.data.real import Splits
    from hmn.measure.training import Training


AGAINST = (*CORESETS, "whole", "codec")


@dataclass(frozen=True, kw_only=True)
class Against:
    """What to compare with."""

    names: tuple[str, ...] = ()
    """Of `AGAINST`."""
    codecs: tuple[CodecWanted, ...] = ()
    stored: tuple[str, ...] = ()
    """Ways to store the target's floats."""


def chosen_against(
    against: str | None, *, codec: str | None, quality: str | None, side: str | None, images: str | None,
    stored: str | None,
) -> Against:  # fmt: skip
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


def check_against(target: str, first: Candidate, splits: Splits, wanted: Against) -> None:
    """Refuse comparisons that make no sense for the target, before any training.

    Raises:
        UserError: so.
    """
    check_stored(target, wanted.stored)
    for name in CORESETS:
        if name in wanted.names and first.condensed is None:
            raise UserError(
                f"--against {name} compares with a container's budget: the target is real data; use --subset."
            )
    for codec in wanted.codecs:
        check_wanted(codec, splits.train)


def comparisons(
    target: str,
    first: Candidate,
    splits: Splits,
    wanted: Against,
    training: Training,
    on: Literal["test", "validation"] = "test",
) -> list[Candidate]:
    """All that the target is compared with, in the order of `AGAINST`, then of its stored forms, each with its codecs.

    Args:
        target: as on the command line.
        first: the target.
        splits: its data.
        wanted: what to compare with.
        training: of the networks; what a codec chooses by is a shorter one.
        on: the split that is tested on.

    Raises:
        UserError: a comparison makes no sense for the target, or has too few bytes.
    """
    check_against(target, first, splits, wanted)
    chooser = Chooser(splits.train)
    found = [budget_coreset(splits, method, first, chooser) for method in CORESETS if method in wanted.names]
    if "whole" in wanted.names:
        found.append(whole(splits, on))
    found += compressed_at(first, splits, wanted.codecs, training, chooser, bytes_of=None)
    for form in stored_candidates(Path(target), wanted.stored, first) if wanted.stored else []:
        found.append(form)
        found += compressed_at(form, splits, wanted.codecs, training, chooser, bytes_of=str(form.record["stored"]))
    return found


def compressed_at(
    form: Candidate,
    splits: Splits,
    codecs: Sequence[CodecWanted],
    training: Training,
    chooser: Chooser,
    *,
    bytes_of: str | None,
) -> list[Candidate]:
    """Real images by every codec in as many bytes as a form of the target takes."""
    return [
        codec_candidate(
            splits, form.num_bytes, codec, training=training, chooser=chooser, ipc=form.ipc, settings=form.settings,
            bytes_of=bytes_of,
        )
        for codec in codecs
    ]  # fmt: skip
