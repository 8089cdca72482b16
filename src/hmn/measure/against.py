"""Everything that `hmn evaluate` compares its target with."""

from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, get_args

from hmn.containers.artifact.load import CondensedImages, info, load_container
from hmn.containers.artifact.place import is_artifact
from hmn.containers.artifact.run_data import Split
from hmn.containers.artifact.save import as_stored
from hmn.data.real import Splits
from hmn.errors import UserError
from hmn.measure.candidates import Candidate
from hmn.measure.codec_choice import CodecSettings, check_codec, codec_candidate, codec_flags
from hmn.measure.coresets import CORESETS, Chooser, coreset, whole
from hmn.measure.training import Training
from hmn.recipes.settings import Dtype
from hmn.runtime.console import note

DTYPES = get_args(Dtype)
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
    """The flags of `hmn evaluate`. Raises UserError: a name that is none, or a flag that would do nothing."""
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
    """Refuse comparisons that make no sense for the target, before any training. Raises UserError: so."""
    check_stored(target, against.stored)
    for name in CORESETS:
        if name in against.names and first.condensed is None:
            raise UserError(
                f"--against {name} compares with a container's budget: the target is real data; use --subset."
            )
    for codec in against.codecs:
        check_codec(codec, splits.train)


def stored_dtypes(text: str | None) -> tuple[str, ...]:
    """The ways to store floats that --stored names, each once, in the order of `DTYPES`. Raises UserError: another
    name, or none.
    """
    names = [name for name in (text or "").split(",") if name]
    for name in names if names or text is None else [repr(text)]:
        if name not in DTYPES:
            raise UserError(f"--stored {name}: expected {', '.join(DTYPES)}, joined by commas.")
    return tuple(name for name in DTYPES if name in names)


def check_stored(target: Any, dtypes: tuple[str, ...]) -> None:
    """Refuse what cannot be measured, before any training. Raises UserError: the target is no condensed folder, or was
    rounded already.
    """
    if not dtypes:
        return
    if not (isinstance(target, str | PathLike) and is_artifact(Path(target))):
        raise UserError(f"--stored {','.join(dtypes)}: {target} is real data; expected a folder of `hmn condense`.")
    present = info(target).dtype
    if present != "float32" and set(dtypes) != {present}:
        other = next(name for name in dtypes if name != present)
        raise UserError(
            f"--stored {other}: {target} is stored as {present}, and what that rounded away is gone: condense with "
            "--dtype float32, or leave --stored out."
        )


def stored_candidate(path: Path, dtype: str, target: Candidate) -> Candidate:
    """The images that come back where the target is stored as `dtype`, at the bytes of its values, scales included.
    Raises UserError: values too large for the dtype.
    """
    exact = load_container(path)
    container, num_bytes = as_stored(exact, dtype)
    source = CondensedImages(container)
    difference = (source.pixels - exact.render_all()).abs()
    error = {"mean": float(difference.double().mean()), "max": float(difference.max())}
    record: dict[str, Any] = {"stored": dtype, "quantisation_error": error}
    words = f"pixels of [0, 1] differ by {error['mean']:.2g} on average, {error['max']:.2g} at most"
    name, detail = f"{target.name} as {dtype}", f"stored as {dtype}: {words}"
    return replace(target, name=name, source=source, num_bytes=num_bytes, record=record, detail=detail)


def comparisons(
    target: Any, first: Candidate, splits: Splits, against: Against, training: Training, on: Split = "test"
) -> list[Candidate]:
    """All that the target is compared with, in the order of `AGAINST`, then of its stored forms, each with its codecs.

    Args:
        target: as on the command line; `check_against` has nothing against the comparisons.
        first: the target.
        splits: its data.
        against: what to compare with.
        training: of the networks; what a codec chooses by is a shorter one.
        on: the split that is tested on.

    Raises:
        UserError: a comparison has too few bytes.
    """
    chooser, found = Chooser(splits.train), []
    for method in CORESETS:
        if method in against.names:
            chosen = coreset(splits, method, first.ipc, chooser=chooser)
            found.append(replace(chosen, detail=f"{chosen.detail}: the budget in floats"))
    if "whole" in against.names:
        found.append(whole(splits, on))

    # The target and each stored form of it, which is a row too, have real images in as many bytes, by every codec.
    present = first.record.get("stored")
    if present in against.stored:
        note(f"--stored {present}: that is the target itself")
    forms = [stored_candidate(Path(target), dtype, first) for dtype in against.stored if dtype != present]
    for form in (first, *forms):
        found += [] if form is first else [form]
        how: dict[str, Any] = {"training": training, "chooser": chooser}
        how["bytes_of"] = None if form is first else str(form.record["stored"])
        found += [codec_candidate(splits, form.num_bytes, codec, **how) for codec in against.codecs]
    return found
