"""Damaged, foreign and absurd artifacts: each is refused with one line, and damage raises nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from torch import Tensor

import hmn
from hmn.containers.artifact.load import CondensedImages
from hmn.containers.artifact.place import CONTAINER
from tests.containers.artifact.test_save import write


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("artifact"))


@pytest.fixture
def copy(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "copy"))


def refused(path: Path, *, says: str, names: str = CONTAINER) -> None:
    """Every way of loading refuses with one line that names the file."""
    for loader in (hmn.load, hmn.load_container):
        with pytest.raises(hmn.UserError, match=says) as caught:
            loader(path)
        assert "\n" not in str(caught.value) and names in str(caught.value)


def rewrite(folder: Path, change: Callable[[dict[str, Tensor], dict[str, str]], None]) -> Path:
    """Change tensors and metadata of a copy; the checksum goes, so that the later checks are reached."""
    file = folder / CONTAINER
    with safetensors.safe_open(file, "pt") as opened:
        tensors, metadata = {n: opened.get_tensor(n) for n in opened.keys()}, opened.metadata()  # noqa: SIM118
    change(tensors, metadata)
    file.write_bytes(safetensors.torch.save(tensors, metadata))
    (folder / "ledger.json").unlink(missing_ok=True)
    return folder


def describe_as(folder: Path, **changes: Any) -> Path:
    """Change the description in the header; a dotted key goes one level down, ... deletes."""

    def change(_: dict[str, Tensor], metadata: dict[str, str]) -> None:
        description = json.loads(metadata["hmn"])
        for key, value in changes.items():
            place, _, inner = key.partition("__")
            target, name = (description[place], inner) if inner else (description, place)
            if value is ...:
                del target[name]
            else:
                target[name] = value
        metadata["hmn"] = json.dumps(description)

    return rewrite(folder, change)


def test_nothing_there_and_not_an_artifact(tmp_path: Path) -> None:
    refused(tmp_path / "none", says="nothing there", names="none")
    refused(tmp_path, says="not an artifact", names=tmp_path.name)
    refused(Path("a\0b"), says="cannot be read|nothing there", names="b")
    refused(Path("a" * 5000), says="cannot be read|nothing there", names="a")
    (tmp_path / CONTAINER).mkdir()
    refused(tmp_path, says="not an artifact", names=tmp_path.name)


@pytest.mark.parametrize("content", [b"", b"abc", b"\x80\x04K\x01.", b"\xff" * 100, b"PK\x03\x04" * 30])
def test_not_safetensors(content: bytes, tmp_path: Path) -> None:
    (tmp_path / CONTAINER).write_bytes(content)
    refused(tmp_path, says="not a safetensors file, or cut short")


@pytest.mark.parametrize("text", ["nonsense", "[1]", '{"a": 1}', "[" * 9000, '{"__metadata__": 5}', "1" * 9999])
def test_header_that_is_no_header(text: str, tmp_path: Path) -> None:
    (tmp_path / CONTAINER).write_bytes(len(text).to_bytes(8, "little") + text.encode())
    refused(tmp_path, says="header cannot be read")


def test_foreign_safetensors(tmp_path: Path) -> None:
    for metadata in (None, {"format": "pt"}):
        safetensors.torch.save_file({"w": torch.zeros(3)}, tmp_path / CONTAINER, metadata)
        refused(tmp_path, says="a safetensors file, but not a container")


def test_newer_version(copy: Path) -> None:
    refused(describe_as(copy, version=4), says="format 4, newer than format 3 .* upgrade")


@pytest.mark.parametrize("version", [None, "1", 0, True, 1.5, ...])
def test_unreadable_version(version: Any, copy: Path) -> None:
    refused(describe_as(copy, version=version), says="description in its header cannot be read")


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": ...},
        {"shape": [1]},
        {"shape__hidden": ...},
        {"shape__hidden": [10]},
        {"shape__extractor": 1},
        {"shape__memory_size": "2"},
        {"shape__memory_size": -2},
        {"shape__memory_size": 2.0},
        {"shape__images_per_class": []},
        {"shape__images_per_class": [3, 1, 0]},
        {"shape__images_per_class": 8},
        {"shape__image_shape": [2, 16, 16]},
        {"class_names": ["a", "b"]},
        {"class_names": "abc"},
        {"class_names": [1, 2, 3]},
        {"normalisation": {"mean": [0, 0, 0]}},
        {"normalisation__mean": [0.5]},
        {"normalisation__std": [1, 1, 0]},
        {"normalisation__std": [1, 1, float("nan")]},
        {"dtype": "int2"},
        {"dtype": ["float32"]},
        {"data_name": None},
        {"quantisation_error": {"mean": 1}},
        {"quantisation_error": "x"},
        {"quantisation_error": {"mean": 1, "max": float("inf")}},
        {"normalisation__mean": [10**400] * 3},
    ],
)
def test_damaged_description(changes: dict[str, Any], copy: Path) -> None:
    refused(describe_as(copy, **changes), says="damaged or foreign")


@pytest.mark.parametrize(
    "changes",
    [
        {"shape__memory_size": 10**12},
        {"shape__images_per_class": [10**9] * 3},
        {"shape__hidden": [10**6, 10**6]},
        {"shape__image_shape": [3, 10**9, 10**9]},
        {"shape__dataset_channels": 10**400},
    ],
)
def test_absurd_sizes_are_refused_before_anything_is_allocated(changes: dict[str, Any], copy: Path) -> None:
    refused(describe_as(copy, **changes), says="damaged or foreign.*limit")


def test_absurd_file_header_and_rendering(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("hmn.containers.artifact.load.MAX_FILE_BYTES", 1000)
        refused(copy, says="more than the limit of 1,000")
    with monkeypatch.context() as patch:
        patch.setattr("hmn.containers.artifact.load.MAX_HEADER_BYTES", 50)
        refused(copy, says="not a safetensors file")
    huge = describe_as(copy, shape__image_shape=[3, 8192, 8192])
    assert hmn.load_container(huge).image_shape == (3, 8192, 8192)
    monkeypatch.setattr("hmn.containers.artifact.load.MAX_FLOATS", 10**9)
    with pytest.raises(hmn.UserError, match="rendering all images takes 1,610,612,736 values"):
        hmn.load(huge)


def test_sparse_file_over_the_limit_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / CONTAINER).open("wb") as file:
        file.truncate(3 * 2**30)
    refused(tmp_path, says="more than the limit")


def test_missing_extra_and_misshapen_tensors(copy: Path, good: Path) -> None:
    def again(change: Callable[[dict[str, Tensor]], object]) -> Path:
        shutil.copy(good / CONTAINER, copy)
        return rewrite(copy, lambda tensors, _: (change(tensors), None)[1])

    refused(again(lambda t: t.pop("class_memory")), says="misses tensor 'class_memory'")
    refused(again(lambda t: t.update(more=torch.zeros(1))), says="holds unknown tensor 'more'")
    refused(again(lambda t: t.update(class_memory=t["class_memory"][:2].clone())), says="'class_memory' has shape")
    refused(again(lambda t: t.update(class_memory=t["class_memory"].double())), says="has dtype 'F64', expected F32")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite(value: float, copy: Path) -> None:
    rewrite(copy, lambda tensors, _: (tensors["decoder.1.weight"][0, 0, 0].fill_(value), None)[1])
    refused(copy, says="'decoder.1.weight' holds values that are not finite")


def test_finite_values_that_render_nothing_finite(copy: Path) -> None:
    rewrite(copy, lambda tensors, _: (tensors["decoder.0.weight"].uniform_(-1e38, 1e38), None)[1])
    with pytest.raises(hmn.UserError, match="render pixels that are not finite"):
        hmn.load(copy)


@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_scales_that_overflow(dtype: str, tmp_path: Path) -> None:
    write(tmp_path, dtype=dtype)
    rewrite(tmp_path, lambda tensors, _: (tensors["instance_memory.scale"].fill_(3e38), None)[1])
    refused(tmp_path, says="'instance_memory' holds values that are not finite")


def test_from_format_2_on_a_description_names_its_container(tmp_path: Path) -> None:
    write(tmp_path, dtype="int4")
    for container in (..., "pixels", "wardrobe", 3):
        shutil.copytree(tmp_path, tmp_path / "copy", ignore=shutil.ignore_patterns("copy"))
        refused(describe_as(tmp_path / "copy", container=container), says="damaged")
        shutil.rmtree(tmp_path / "copy")
    assert hmn.load_container(describe_as(tmp_path, container="hmn")).shape.kind == "hmn"


def test_halves_of_a_byte_that_are_not_as_many_as_the_values(tmp_path: Path) -> None:
    write(tmp_path, dtype="int4")
    whole = (tmp_path / CONTAINER).read_bytes()
    for change, says in (
        (lambda packed: packed[:, 1:].clone(), r"'instance_memory' has shape \[8, 39\], expected \[8, 40\]"),
        (lambda packed: packed.flatten(), r"'instance_memory' has shape \[320\]"),
        (lambda packed: packed.char(), "'instance_memory' has dtype 'I8', expected U8"),
    ):
        (tmp_path / CONTAINER).write_bytes(whole)
        rewrite(tmp_path, lambda t, _, change=change: t.update(instance_memory=change(t["instance_memory"])))
        refused(tmp_path, says=says)
    (tmp_path / CONTAINER).write_bytes(whole)
    rewrite(tmp_path, lambda tensors, _: (tensors["instance_memory"].zero_(), None)[1])  # a level that is never written
    assert bool(hmn.load(tmp_path).pixels.isfinite().all())


def test_cut_short_or_longer(copy: Path) -> None:
    content = (copy / CONTAINER).read_bytes()
    for changed in (content[:-1], content + b"x"):
        (copy / CONTAINER).write_bytes(changed)
        refused(copy, says="damaged or cut short")


def test_checksum(copy: Path, good: Path) -> None:
    content = bytearray((copy / CONTAINER).read_bytes())
    content[-1] ^= 1
    (copy / CONTAINER).write_bytes(content)
    refused(copy, says="SHA-256")
    refused(copy / CONTAINER, says="SHA-256")
    shutil.copy(good / CONTAINER, copy)
    for ledger in ("", "[]", '{"sha256": 5}', "\udcff"):
        (copy / "ledger.json").write_bytes(ledger.encode(errors="surrogateescape"))
        refused(copy, says="no sha256", names="ledger.json")
    (copy / "ledger.json").unlink()
    assert len(hmn.load(copy)) == 8


def test_offsets_that_lie(copy: Path) -> None:
    content = (copy / CONTAINER).read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    a, b = header["class_memory"], header["decoder.0.bias"]
    a["data_offsets"], b["data_offsets"] = b["data_offsets"], a["data_offsets"]
    text = json.dumps(header).encode()
    (copy / CONTAINER).write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    (copy / "ledger.json").unlink()
    refused(copy, says="the file is damaged")


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_never_raises_anything_else(data: st.DataObject, good: Path, tmp_path: Path) -> None:
    """Bytes are flipped, cut out or cut off; without a checksum the worst outcome is other values."""
    content = bytearray((good / CONTAINER).read_bytes())
    header_end = 8 + int.from_bytes(content[:8], "little")
    for _ in range(data.draw(st.integers(1, 4))):
        # Half of the damage is to the header, which is where the structure is.
        end = data.draw(st.sampled_from([header_end, len(content)]))
        place = data.draw(st.integers(0, max(0, min(end, len(content)) - 1)))
        content = content or bytearray(1)
        match data.draw(st.sampled_from(["flip", "set", "insert", "cut", "truncate"])):
            case "flip":
                content[place] ^= 1 << data.draw(st.integers(0, 7))
            case "set":
                content[place] = data.draw(st.integers(0, 255))
            case "insert":
                content[place:place] = data.draw(st.binary(min_size=1, max_size=4))
            case "cut":
                del content[place : place + data.draw(st.integers(1, 8))]
            case "truncate":
                del content[max(place, 1) :]
    (tmp_path / CONTAINER).write_bytes(content)
    try:
        loaded = hmn.load(tmp_path)
        assert isinstance(loaded, CondensedImages)
    except hmn.UserError as error:
        assert "\n" not in str(error) and CONTAINER in str(error)
    if content != (good / CONTAINER).read_bytes():
        shutil.copy(good / "ledger.json", tmp_path)
        with pytest.raises(hmn.UserError):
            hmn.load(tmp_path)
        (tmp_path / "ledger.json").unlink()
