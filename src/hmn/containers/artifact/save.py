"""Storing a condensed data set as a folder that anybody can load, check and read.

    container.safetensors   the container, finalised; all that loading needs
    recipe.toml             every setting it was made with
    ledger.json             floats and bytes, part by part, with the checksum of the container
    preview.png             a class a row
    README.md               a card for people, and for the Hub

The same container and settings give the same bytes.
"""

import copy
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from torch import Tensor

from hmn.containers.artifact.card import card
from hmn.containers.artifact.format import FORMAT_NAME, describe, version_of
from hmn.containers.artifact.picture import grid, png_bytes
from hmn.containers.artifact.place import CARD, CONTAINER, LEDGER, PREVIEW, RECIPE
from hmn.containers.container import Container
from hmn.containers.quantise import SCALE_SUFFIX, STORED_AS, decode, encode
from hmn.errors import UserError
from hmn.recipes.settings import Dtype, Recipe
from hmn.recipes.values import recipe_to_toml
from hmn.runtime.files import write_atomically


class Rounded(NamedTuple):
    """How an artifact's values were rounded, to store a part of them once more without a second rounding."""

    scales: Mapping[str, Tensor]
    """As in the file; none but for int8 and int4."""
    error: dict[str, float] | None
    """What it cost in pixels when it was measured."""


def save(
    container: Container,
    out: Path,
    *,
    recipe: Recipe,
    data_name: str,
    dtype: Dtype = "float32",
    facts: Mapping[str, Any],
    rounded: Rounded | None = None,
) -> None:
    """Write an artifact's files, each whole or not at all, into an existing folder.

    Args:
        container: as condensed, or finalised already.
        out: an existing folder; files of these names are replaced.
        recipe: what it was made with.
        data_name: the real data's name, for people.
        dtype: how values are stored. What all but float32 cost in pixels is measured and written down.
        facts: further lines of the card, such as commit and versions. Times in here change the card's bytes.
        rounded: how the values were rounded already, where they come out of an artifact of the same dtype.

    Raises:
        UserError: no such folder, an unknown dtype, or values that are not finite or too large for the dtype.
    """
    if not out.is_dir():
        raise UserError(f"{out}: no such folder: create it before an artifact is saved there.")
    if dtype not in STORED_AS:
        raise UserError(f"dtype={dtype!r}: expected one of {', '.join(STORED_AS)}.")
    # The values as the file holds them, and what that costs in pixels.
    final, state = _finalised(container)
    assert {name: tuple(value.shape) for name, value in state.items()} == final.shape.tensors()
    _check_finite(state, "condensing diverged: choose a smaller learning rate")
    stored = _encoded(state, dtype, None if rounded is None else rounded.scales)
    pixels = exact = final.render_all()
    error = None
    if dtype != "float32":
        final.load_state_dict(decode(stored, final.shape.tensors()))
        pixels = final.render_all()
        difference = (pixels - exact).abs()
        error = {"mean": float(difference.double().mean()), "max": float(difference.max())}
    error = error if rounded is None else rounded.error
    about: dict[str, Any] = {"data_name": data_name, "dtype": dtype, "quantisation_error": error}
    content = safetensors.torch.save(stored, describe(final, **about))
    ledger = _ledger(final, stored, content, **about)
    preview = png_bytes(grid(pixels, final.labels, final.class_names))
    # The ledger goes first and comes last: a save that is cut short leaves no checksum that contradicts it.
    (out / LEDGER).unlink(missing_ok=True)
    write_atomically(out / CONTAINER, content)
    write_atomically(out / RECIPE, recipe_to_toml(recipe).encode())
    write_atomically(out / PREVIEW, preview)
    write_atomically(out / CARD, card(final, ledger, recipe, facts).encode())
    write_atomically(out / LEDGER, (json.dumps(ledger, indent=2, sort_keys=True) + "\n").encode())


def as_stored(container: Container, dtype: str) -> tuple[Container, int]:
    """The container that a file of `dtype` gives back, finalised and on the CPU, and the bytes of the values in it.
    Raises UserError: values that are not finite or too large for the dtype.
    """
    final, state = _finalised(container)
    stored = _encoded(state, dtype)
    final.load_state_dict(decode(stored, final.shape.tensors()))
    return final, sum(value.nbytes for value in stored.values())


def _finalised(container: Container) -> tuple[Container, dict[str, Tensor]]:
    """A copy in the form that is stored, on the CPU, and its values."""
    final = copy.deepcopy(container.finalised()).cpu()
    return final, {name: value.detach() for name, value in final.state_dict().items()}


def _encoded(state: Mapping[str, Tensor], dtype: str, scales: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    stored = encode(state, dtype, scales=scales)
    _check_finite(stored, f"too large for {dtype}: store as float32")
    return stored


def _check_finite(tensors: Mapping[str, Tensor], remedy: str) -> None:
    for name, value in sorted(tensors.items()):
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise UserError(f"the container's {name} holds values that are not finite: {remedy}.")


def _ledger(
    final: Container, stored: Mapping[str, Tensor], content: bytes, *, data_name: str, dtype: str, **about: Any
) -> dict[str, Any]:
    """Contents of ledger.json."""
    ledger, shape = final.ledger(), final.shape
    scales = sum(value.nbytes for name, value in stored.items() if name.endswith(SCALE_SUFFIX))
    # Sizes are counted twice: in floats, as the field does, and in bytes as they lie in the file.
    return {
        "format": FORMAT_NAME,
        "format_version": version_of(shape, dtype),
        "container": shape.kind,
        "data": data_name,
        "dtype": dtype,
        "class_names": final.class_names,
        "image_shape": shape.image_shape,
        "images": shape.num_images,
        "images_per_class": shape.images_per_class,
        "parts": [part._asdict() for part in ledger.parts],
        "num_floats": ledger.num_floats,
        "budget": ledger.budget,
        "stored_floats": ledger.stored_floats,
        "scale_bytes": scales,
        "value_bytes": sum(value.nbytes for value in stored.values()),
        "file_bytes": len(content),
        **about,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
