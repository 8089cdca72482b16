"""A pruned folder is an artifact like any other, its images the survivors to the bit, whatever their dtype."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from hmn.containers.artifact.load import info, load, load_container
from hmn.containers.artifact.save import save
from hmn.containers.hmn import Hmn
from hmn.containers.hmn_sizes import HmnShape, preset
from hmn.data.source import Normalisation
from hmn.errors import UserError
from hmn.pruning.aum import Profile, load_profile
from hmn.pruning.folder import check_out, read_pruning, remove_artifact, write_pruned
from hmn.recipes.named import recipe

COUNTS = (3, 1, 2, 3, 3, 3, 3, 3, 3, 3)
RECIPE = recipe("quick", dataset="cifar10", ipc=1, image_shape=(3, 32, 32))


def shape_of(*, memory_size: int, instance_channels: int) -> HmnShape:
    base = preset("cifar10", 1)
    assert base is not None
    changes = {"images_per_class": COUNTS, "memory_size": memory_size, "instance_channels": instance_channels}
    return HmnShape(**{**vars(base), **changes})


def artifact(folder: Path, dtype: str, *, memory_size: int = 4, instance_channels: int = 2) -> Path:
    """An artifact whose container is of random values, one image louder than all others."""
    shape = shape_of(memory_size=memory_size, instance_channels=instance_channels)
    container = Hmn(
        shape,
        class_names=tuple("abcdefghij"),
        normalisation=Normalisation((0.5,) * 3, (0.25,) * 3),
        generator=torch.Generator().manual_seed(1),
    )
    with torch.no_grad():
        container.instance_memory[1] *= 9  # pruned below: scales taken anew would be another file's
    folder.mkdir(parents=True)
    save(container.finalised(), folder, recipe=RECIPE, data_name="cifar10", dtype=dtype, facts={})  # type: ignore[arg-type]
    facts = {"command": "hmn condense", "ipc": 1, "over_budget": {"asked": "10%"}, "identity": {"shape": repr(shape)}}
    (folder / "run.json").write_text(json.dumps(facts))
    (folder / "history.jsonl").write_text("{}\n")
    return folder


def profile_of(run: Path) -> Profile:
    images = load(run)
    return Profile(
        aum=torch.arange(len(images), dtype=torch.float64),
        labels=images.labels,
        margin="softmax",
        epochs=2,
        net="convnet3",
        width=8,
        seeds=(0,),
        source="x",
        sha256=info(run).checksum,
        class_names=images.class_names,
    )


def kept() -> torch.Tensor:
    rest = torch.arange(12, sum(COUNTS))
    return torch.cat([torch.tensor([0, 2, 3, 5, 7, 9, 11]), rest])


def pruned(run: Path, out: Path, *, profile: Profile | None = None) -> dict[str, object]:
    how = {"method": "double-end", "beta": 0.3, "seed": None, "chosen_by": None}
    return write_pruned(run, out, kept=kept(), recipe=RECIPE, how=how, profile=profile)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "int4"])
@pytest.mark.parametrize(("memory_size", "channels"), [(4, 2), (4, 6)], ids=["one scale", "a scale an image"])
def test_survivors_are_the_same_to_the_bit(tmp_path: Path, dtype: str, memory_size: int, channels: int) -> None:
    run = artifact(tmp_path / "run", dtype, memory_size=memory_size, instance_channels=channels)
    pruned(run, tmp_path / "out")
    before, after = load(run), load(tmp_path / "out")
    assert torch.equal(after.pixels, before.pixels[kept()])
    assert torch.equal(after.labels, before.labels[kept()])
    whole, smaller = info(run), info(tmp_path / "out")
    assert (smaller.dtype, smaller.quantisation_error) == (dtype, whole.quantisation_error)
    assert smaller.value_bytes < whole.value_bytes


@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_scales_taken_anew_would_change_pixels(tmp_path: Path, dtype: Any) -> None:
    # What the test above would not see if the file's scales were not kept.
    run = artifact(tmp_path / "run", dtype)
    (tmp_path / "naive").mkdir()
    save(load_container(run).keep(kept()), tmp_path / "naive", recipe=RECIPE, data_name="x", dtype=dtype, facts={})
    assert not torch.equal(load(tmp_path / "naive").pixels, load(run).pixels[kept()])


def test_the_folder_tells_what_was_done(tmp_path: Path) -> None:
    run, out = artifact(tmp_path / "run", "float32"), tmp_path / "out"
    profile = profile_of(run)
    record = pruned(run, out, profile=profile)
    assert json.loads((out / "pruning.json").read_text()) == read_pruning(out) == record
    assert record["from"] == {"folder": str(run), "sha256": info(run).checksum}
    assert record["kept"] == kept().tolist()
    counts = torch.bincount(load(run).labels[kept()]).tolist()
    assert record["images_per_class"] == {"before": list(COUNTS), "after": counts}
    assert record["floats"]["after"] == info(out).ledger.num_floats  # type: ignore[index]
    assert (record["method"], record["beta"], record["aum"]["epochs"]) == ("double-end", 0.3, 2)  # type: ignore[index]
    assert 'name = "quick-pruned"' in (out / "recipe.toml").read_text()
    assert "pruned" in (out / "README.md").read_text()
    facts = json.loads((out / "run.json").read_text())
    assert facts["recipe"] == "quick-pruned" and facts["over_budget"] is None and facts["command"] == "hmn condense"
    assert facts["pruned"] == {"method": "double-end", "beta": 0.3, "from_sha256": info(run).checksum}
    assert facts["identity"]["shape"] == repr(info(out).shape)
    survivors = load_profile(out, sha256=info(out).checksum)
    assert torch.equal(survivors.aum, profile.aum[kept()])
    assert (out / "history.jsonl").read_text() == "{}\n"


def test_pruning_twice_names_the_recipe_once(tmp_path: Path) -> None:
    run = artifact(tmp_path / "run", "float32")
    pruned(run, tmp_path / "once")
    how = {"method": "random", "beta": None, "seed": 3, "chosen_by": None}
    from dataclasses import replace

    named = replace(RECIPE, name="quick-pruned")
    most = torch.arange(len(load(tmp_path / "once")) - 1)
    write_pruned(tmp_path / "once", tmp_path / "twice", kept=most, recipe=named, how=how, profile=None)
    assert 'name = "quick-pruned"' in (tmp_path / "twice" / "recipe.toml").read_text()
    assert not (tmp_path / "twice" / "aum.npz").exists()
    assert torch.equal(load(tmp_path / "twice").pixels, load(run).pixels[kept()[:-1]])


def checked(out: Path, *, sha256: str | None = None, resume: bool = False, force: bool = False) -> None:
    check_out(out, beside=("trials",), sha256=sha256, resume=resume, force=force)


def test_places_that_may_be_written_into(tmp_path: Path) -> None:
    run, out = artifact(tmp_path / "run", "float32"), tmp_path / "out"
    checked(out)
    out.mkdir()
    checked(out)
    (out / "trials").mkdir()
    with pytest.raises(UserError, match="holds a run: add --resume"):
        checked(out)
    checked(out, resume=True)
    checked(out, force=True)
    pruned(run, out)
    with pytest.raises(UserError, match="holds a run: add --resume"):
        checked(out)
    checked(out, resume=True, sha256=info(run).checksum)
    with pytest.raises(UserError, match="holds another run"):
        checked(out, resume=True, sha256="b" * 64)
    with pytest.raises(UserError, match="holds another run"):  # a condensation's own folder
        checked(run, resume=True, sha256=info(run).checksum)
    checked(out, force=True)


def test_a_folder_of_other_files_is_never_written_into(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    for flags in ({}, {"resume": True}, {"force": True}):
        with pytest.raises(UserError, match="holds other files"):
            checked(tmp_path, **flags)
    with pytest.raises(UserError, match="a file is there"):
        checked(tmp_path / "thesis.tex")


def test_only_own_files_are_removed(tmp_path: Path) -> None:
    run, out = artifact(tmp_path / "run", "float32"), tmp_path / "out"
    pruned(run, out, profile=profile_of(run))
    (out / "notes.txt").write_text("x")
    (out / "trials").mkdir()
    remove_artifact(out)
    assert {path.name for path in out.iterdir()} == {"notes.txt", "trials"}
