"""Artifacts of the containers besides HMN: every container, every dtype; what a description may not say."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import hmn
from hmn.containers.artifact.load import info
from hmn.containers.artifact.place import CONTAINER
from hmn.containers.artifact.save import save
from hmn.recipes.settings import Recipe
from tests.containers.artifact.test_read import describe_as, refused
from tests.containers.test_containers import SHAPES, make

RECIPE = Recipe(name="tiny", cost="a moment", ipc=1)
TOLERANCE = {"float32": 0.0, "float16": 0.02, "int8": 0.3, "int4": 0.5}
"""Largest difference of a pixel in [0, 1]; sin(30 x) magnifies what rounding costs."""


def write(out: Path, name: str, dtype: Any = "float32") -> Path:
    out.mkdir(exist_ok=True)
    save(make(name, spread=0.2), out, recipe=RECIPE, data_name="noise", dtype=dtype, facts={})
    return out


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("name", SHAPES)
def test_every_container_comes_back(name: str, dtype: str, tmp_path: Path) -> None:
    container, out = make(name, spread=0.2), write(tmp_path, name, dtype)
    stored, loaded = info(out), hmn.load_container(out)
    assert type(loaded) is type(container) and stored.shape == container.shape == loaded.shape
    assert stored.format_version == (3 if dtype == "int4" else 2) and stored.dtype == dtype
    shown, wanted = hmn.load(out), container.finalised().render_all()
    assert torch.equal(shown.pixels, loaded.render_all()) and torch.equal(shown.labels, container.labels)
    difference = (shown.pixels - wanted).abs()
    if dtype == "float32":
        assert torch.equal(shown.pixels, wanted) and stored.quantisation_error is None
    else:
        assert 0 < float(difference.mean()) < TOLERANCE[dtype]
        error = stored.quantisation_error
        assert error is not None and error["max"] == float(difference.max())


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("name", SHAPES)
def test_the_file_holds_exactly_the_tensors_of_the_ledger(name: str, dtype: str, tmp_path: Path) -> None:
    out = write(tmp_path, name, dtype)
    content = (out / CONTAINER).read_bytes()
    tensors = safetensors.torch.load(content)
    values = {key: tensor for key, tensor in tensors.items() if not key.endswith(".scale")}
    ledger, shape = json.loads((out / "ledger.json").read_text()), SHAPES[name]
    if dtype != "int4":  # else two values a byte: the test of `hmn.containers.quantise`
        assert {key: tuple(tensor.shape) for key, tensor in values.items()} == shape.tensors()
    assert values.keys() == shape.tensors().keys() and shape.ledger().num_floats == ledger["num_floats"]
    assert sum(part["num_floats"] for part in ledger["parts"]) == ledger["stored_floats"] == ledger["num_floats"]
    assert ledger["value_bytes"] == sum(tensor.nbytes for tensor in tensors.values()) == info(out).value_bytes
    assert ledger["container"] == shape.kind and ledger["sha256"] == hashlib.sha256(content).hexdigest()
    if dtype in ("float32", "float16"):
        assert ledger["value_bytes"] == shape.ledger().num_bytes(dtype)


@pytest.mark.parametrize("name", SHAPES)
def test_the_same_bytes_again_and_a_card_of_its_own(name: str, tmp_path: Path) -> None:
    first, second = write(tmp_path / "a", name), write(tmp_path / "b", name)
    assert all(file.read_bytes() == (second / file.name).read_bytes() for file in first.iterdir())
    card = (first / "README.md").read_text()
    assert "hierarchical" not in card and "BatchNorm" not in card and "arxiv.org/abs/" in card


@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_a_class_without_tiles_of_a_factor_is_stored(dtype: Any, tmp_path: Path) -> None:
    """Pruning a bounded mosaic may take all tiles of a factor."""
    container = make("mosaic, bounded")
    groups = container._groups()
    kept = container.keep((groups > 0).nonzero()[:, 0])
    assert kept.shape.tensors()["tiles.0"][0] == 0
    save(kept, tmp_path, recipe=RECIPE, data_name="noise", dtype=dtype, facts={})
    assert hmn.load(tmp_path).labels.tolist() == kept.labels.tolist()


MISTAKES: list[tuple[str, dict[str, Any], str]] = [
    ("pixels", {"version": 4}, "newer than format 3"),
    ("pixels", {"container": "wardrobe"}, "container is not as expected"),
    ("pixels", {"container": ["pixels"]}, "container is not as expected"),
    ("pixels", {"container": ...}, "KeyError"),
    ("pixels", {"version": 1}, "KeyError"),
    ("pixels", {"container": "linear"}, "KeyError"),
    ("linear", {"shape__downsample": 0}, "damaged or foreign"),
    ("linear", {"shape__num_bases": 5}, r"tensor 'bases' has shape"),
    ("linear", {"shape__num_bases": True}, "num_bases is not as expected"),
    ("inr", {"shape__hidden_layers": 10**9}, "limit of 64"),
    ("inr", {"shape__frequency": "fast"}, "frequency is not as expected"),
    ("inr", {"shape__width": 10**6}, "more than the limit"),
    ("frequency", {"shape__coefficients": 241}, "expected 1 to all"),
    ("frequency", {"shape__coefficients": 0}, "expected 1 to all"),
    ("frequency", {"shape__coefficients": 69}, r"tensor 'coefficients' has shape"),
    ("frequency", {"shape__coefficients": 70.0}, "coefficients is not as expected"),
    ("frequency", {"shape__views": 3}, "3 views of an image: expected 1, or 2"),
    ("frequency", {"shape__views": 0}, "0 views of an image: expected 1, or 2"),
    ("frequency", {"shape__views": True}, "views is not as expected"),
    ("frequency", {"shape__views": 2}, "3 images of a class: with 2 views they come in pairs"),
    ("frequency, mirrored", {"shape__images_per_class": [6, 1, 5]}, "1 images of a class: with 2 views"),
    ("frequency, mirrored", {"shape__images_per_class": [6, 2, 6]}, r"tensor 'coefficients' has shape"),
    ("frequency, mirrored", {"shape__views": ...}, r"tensor 'coefficients' has shape"),
    ("mosaic", {"shape__tiles": [3, 1, 2]}, "tiles is not as expected"),
    ("mosaic", {"shape__tiles": [[3, 1, 1]]}, "must add up"),
    ("mosaic", {"shape__factors": [2, 1]}, "must add up"),
    ("factorized", {"shape__num_hallucinators": 10**6}, "not a multiple"),
    ("factorized", {"shape__images_per_class": [10**8, 2, 4]}, "images, more than the limit"),
]


@pytest.mark.parametrize(("name", "changes", "says"), MISTAKES, ids=[f"{n}, {c}" for n, c, _ in MISTAKES])
def test_other_descriptions_are_refused(name: str, changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    refused(describe_as(write(tmp_path, name), **changes), says=says)


def test_a_description_from_before_there_were_views_is_of_one(tmp_path: Path) -> None:
    wanted = hmn.load(write(tmp_path, "frequency"))
    describe_as(tmp_path, shape__views=...)
    assert info(tmp_path).shape == SHAPES["frequency"] and info(tmp_path).shape.copies == 1
    assert torch.equal(hmn.load(tmp_path).pixels, wanted.pixels)


def test_a_network_that_could_not_be_drawn_is_read_all_the_same(tmp_path: Path) -> None:
    """Its first values are divided by the frequency; those in the file need none."""
    describe_as(write(tmp_path, "inr"), shape__frequency=0)
    assert bool(hmn.load(tmp_path).pixels.isfinite().all())


def test_exact_start_and_pruning_are_what_the_shapes_say() -> None:
    for name, shape in SHAPES.items():
        container = make(name)
        before = {key: value.clone() for key, value in container.state_dict().items()}
        took = container.start_from(torch.rand(len(container), *shape.image_shape))
        changed = any(not torch.equal(before[key], value) for key, value in container.state_dict().items())
        assert took == changed == shape.exact_start, name
        assert shape.products_per_image() >= 0 and asdict(shape)
