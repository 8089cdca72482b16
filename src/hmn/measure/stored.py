"""The target after a round trip through each way to store its floats."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, get_args

from hmn.containers.artifact.load import CondensedImages, info, load_container
from hmn.containers.artifact.place import is_artifact
from hmn.containers.artifact.save import as_stored
from hmn.errors import UserError
from hmn.measure.candidates import Candidate
from hmn.recipes.settings import Dtype
from hmn.runtime.console import note

DTYPES = get_args(Dtype)


def stored_dtypes(text: str | None) -> tuple[str, ...]:
    """The ways to store floats that --stored names, each once, in the order of `DTYPES`.

    Raises:
        UserError: another name, or none.
    """
    names = [name for name in (text or "").split(",") if name]
    for name in names:
        if name not in DTYPES:
            raise UserError(f"--stored {name}: expected {', '.join(DTYPES)}, joined by commas.")
    if text is not None and not names:
        raise UserError(f"--stored {text!r}: expected {', '.join(DTYPES)}, joined by commas.")
    return tuple(name for name in DTYPES if name in names)


def check_stored(target: Any, dtypes: tuple[str, ...]) -> None:
    """Refuse what cannot be measured, before any training.

    Raises:
        UserError: the target is no condensed folder, or was rounded already.
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

    Raises:
        UserError: values too large for the dtype.
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


def stored_candidates(path: Path, dtypes: tuple[str, ...], target: Candidate) -> list[Candidate]:
    """The target in each of these ways but the one that it is stored in, which its own row tells of."""
    present = target.record["stored"]
    if present in dtypes:
        note(f"--stored {present}: that is the target itself")
    return [stored_candidate(path, dtype, target) for dtype in dtypes if dtype != present]
