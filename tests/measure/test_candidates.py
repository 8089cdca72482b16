"""Which data `hmn evaluate` reads, trains on and tests on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hmn.cli.main import main
from hmn.containers.artifact.place import need_artifact
from hmn.containers.artifact.run_data import read_data
from hmn.containers.artifact.save import save
from hmn.containers.hmn import Hmn
from hmn.containers.hmn_sizes import HmnShape
from hmn.data.load import load_data
from hmn.data.options import DataOptions
from hmn.data.real import RealData
from hmn.data.source import Normalisation
from hmn.errors import UserError
from hmn.measure.against import chosen_against, comparisons
from hmn.measure.candidates import Candidate, target_of
from hmn.measure.training import choose_training
from hmn.recipes.settings import Recipe

Tree = Callable[..., Path]


def container(out: Path, run: dict[str, Any], names: tuple[str, ...] = ("cat", "dog")) -> Path:
    """A folder as `hmn condense` writes it, of an untrained container for 3 x 8 x 8 images."""
    shape = HmnShape(
        image_shape=(3, 8, 8),
        memory_size=1,
        dataset_channels=1,
        class_channels=1,
        instance_channels=20,
        images_per_class=(2,) * len(names),
        extractor=False,
        budget=3_000,
    )
    norm = Normalisation((0.5,) * 3, (0.2,) * 3)
    net = Hmn(shape, class_names=names, normalisation=norm, generator=torch.Generator().manual_seed(0))
    out.mkdir()
    save(net, out, recipe=Recipe(name="tiny", cost="a moment", ipc=1), data_name="beasts", facts={})
    (out / "run.json").write_text(json.dumps(run))
    return out


def choose(target: Path | str, *against: str, flags: DataOptions | None = None, **how: Any) -> list[Candidate]:
    first, splits = target_of(str(target), flags=flags, **how)
    wanted = chosen_against(",".join(against), codec=None, quality=None, side=None, images=None, stored=None)
    training = choose_training(first, {}, 2)
    return [first, *comparisons(str(target), first, splits, wanted, training, how.get("on", "test"))]


def rows(data: RealData) -> set[bytes]:
    return {image.numpy().tobytes() for image in data.pixels}


def real(candidate: Candidate) -> RealData:
    assert isinstance(candidate.source, RealData)
    return candidate.source


def test_the_split_is_chosen_by_flags(make_tree: Tree) -> None:
    tree = str(make_tree({"cat": 10, "dog": 10}))
    plain, other = load_data(tree), load_data(tree, DataOptions(split_seed=3, test_share=0.3))
    assert read_data(tree, DataOptions()).test.pixels.equal(plain.test.pixels)
    chosen = read_data(tree, DataOptions(split_seed=3, test_share=0.3))
    assert chosen.test.pixels.equal(other.test.pixels) and len(chosen.test) == 6
    with pytest.raises(UserError, match="test share 0.0"):
        read_data(tree, DataOptions(test_share=0.0))


def test_a_containers_data_are_read_as_they_were(make_tree: Tree, tmp_path: Path) -> None:
    tree = make_tree({"cat": 10, "dog": 10})
    (tree / "cat" / "bad.png").write_bytes(b"")
    recorded = {"split_seed": 3, "test_share": 0.3, "skip_bad": True, "size": None}
    assert recorded.keys() <= DataOptions().recorded().keys()
    out = container(tmp_path / "out", {"data": str(tree), "data_flags": recorded})
    own = load_data(str(tree), DataOptions(split_seed=3, test_share=0.3, skip_bad=True))
    assert choose(out)[0].test.pixels.equal(own.test.pixels)
    given = choose(out, flags=DataOptions(split_seed=0))[0].test  # what is given stands
    assert given.pixels.equal(
        load_data(str(tree), DataOptions(split_seed=0, test_share=0.3, skip_bad=True)).test.pixels
    )


def test_the_data_folder_is_recorded_and_other_data_do_not_inherit_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def spy(data: str, options: DataOptions) -> None:
        asked.append((data, options.data_dir))
        raise UserError(f"{data}: not found.")

    monkeypatch.setattr("hmn.containers.artifact.run_data.load_data", spy)
    out = container(tmp_path / "out", {"data": "cifar10", "data_flags": {"data_dir": str(tmp_path / "d")}})
    with pytest.raises(UserError, match=r"cifar10: not found; name the container's data with --data$"):
        choose(out)
    with pytest.raises(UserError, match=r"svhn: not found\.$"):
        choose(out, data="svhn")
    with pytest.raises(UserError, match="cifar10: not found; name"):
        choose(out, flags=DataOptions(data_dir=tmp_path / "e"))
    assert asked == [("cifar10", tmp_path / "d"), ("svhn", None), ("cifar10", tmp_path / "e")]


@pytest.mark.parametrize("run", [{}, {"data_flags": None}, {"data_flags": [1]}])
def test_records_of_other_forms(run: dict[str, Any], make_tree: Tree, tmp_path: Path) -> None:
    tree = make_tree({"cat": 5, "dog": 5})
    out = container(tmp_path / "out", run)
    assert len(choose(out, data=str(tree))[0].test) == 2
    with pytest.raises(UserError, match="beasts: no such file.*; name the container's data with --data"):
        choose(out)


def test_an_unfinished_run_is_no_target(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoint.safetensors").write_bytes(b"")
    for use in (
        lambda: choose(tmp_path / "run"),
        lambda: choose(tmp_path / "run", data="digits"),
        lambda: read_data(str(tmp_path / "run"), DataOptions()),
        lambda: need_artifact(tmp_path / "run"),
    ):
        with pytest.raises(UserError, match="run holds an unfinished run: finish it with --resume"):
            use()


def test_validation_images_are_kept_from_training(make_tree: Tree, tmp_path: Path) -> None:
    tree = make_tree({"train/cat": 30, "train/dog": 20, "val/cat": 2, "val/dog": 2})
    whole = load_data(str(tree))
    target = choose(tree, on="validation")[0]
    assert target.test.labels.bincount().tolist() == [3, 2] and len(real(target)) == 45
    assert target.name == "training set less validation"
    assert rows(real(target)) | rows(target.test) == rows(whole.train) and not rows(real(target)) & rows(target.test)
    assert choose(tree, on="validation")[0].test.pixels.equal(target.test.pixels)
    tested = choose(tree)[0]
    assert tested.test.pixels.equal(whole.test.pixels) and len(real(tested)) == 50

    out = container(tmp_path / "out", {"data": str(tree)})
    found = choose(out, "random", "whole", "codec", on="validation")
    assert [candidate.name for candidate in found] == ["hmn", "random real", target.name, "real as webp"]
    assert all(candidate.test.pixels.equal(target.test.pixels) for candidate in found)
    assert not rows(real(found[1])) & rows(target.test) and len(real(found[2])) == 45


def test_images_tested_on_validation(make_tree: Tree) -> None:
    tree = make_tree({"train/cat": 30, "train/dog": 20, "val/cat": 2, "val/dog": 2})
    images = make_tree({"cat": 1, "dog": 1}, root="chosen")
    found = choose(images, data=str(tree), on="validation")[0]
    assert len(found.test) == 5 and len(real(found)) == 2


def test_columns_reach_the_target(make_tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[DataOptions] = []

    def spy(path: str, options: DataOptions, *, like: RealData) -> RealData:
        asked.append(options)
        return like

    monkeypatch.setattr("hmn.measure.candidates.load_images", spy)
    tree = make_tree({"cat": 5, "dog": 5})
    choose(tree, data=str(tree), flags=DataOptions(image_column="a", label_column="b"))
    assert (asked[0].image_column, asked[0].label_column) == ("a", "b")


def test_evaluate_on_validation_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    quick = ["--steps", "2", "--width", "4", "--seeds", "1", "--json"]
    for on, images in (("validation", 144), ("test", None)):
        assert main(["evaluate", "digits", "--on", on, "--subset", "2", *quick]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["tested_on"] == on
        assert images is None or report["test_images"] == pytest.approx(images, abs=3)
    assert main(["evaluate", "digits", "--on", "training"]) == 2
