"""hmn from Python: the functions that the verbs call, on names, folders and images in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import hmn
from hmn.cli.main import main

SETTINGS = {"condense.epochs": 1, "condense.inner_steps": 2, "condense.start.steps": 4, "condense.network.width": 4}
TINY: dict[str, Any] = {"ipc": 4, "recipe": "quick", "settings": SETTINGS}
NETWORKS: dict[str, Any] = {"steps": 3, "seeds": 1, "width": 4}


def drawn(count: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    """Three classes of noise around a grey level of their own: uint8 [n, 8, 8] and labels [n]."""
    labels = torch.arange(count) % 3
    noise = torch.randint(0, 40, (count, 8, 8), generator=torch.Generator().manual_seed(0))
    return (noise + 80 * labels[:, None, None]).to(torch.uint8), labels


def test_condensed_evaluated_and_pruned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    heard: list[hmn.Progress] = []
    run = hmn.condense("digits", out=tmp_path / "run", on_progress=heard.append, **TINY)
    assert {progress.phase for progress in heard} == {"fitting", "matching"}
    assert [(p.done, p.total) for p in heard if p.phase == "matching"] == [(1, 2), (2, 2)]
    assert capsys.readouterr() == ("", "")  # who listens is told, and nobody else
    assert len(run.images) == run.job.shape.num_images and run.seconds > 0

    tested: list[hmn.Progress] = []
    report = hmn.evaluate(run, against=["random"], on_progress=tested.append, **NETWORKS)
    assert report.method == "hmn" and [other.method for other in report.against] == ["random real"]
    assert report.values == [report.mean] and report.std == 0 and 0 <= report.mean <= 100
    assert {progress.phase for progress in tested} == {"hmn", "random real"}

    pruned = hmn.prune(run, tmp_path / "pruned", to=2, method="random")
    assert len(hmn.load(pruned)) == 20


def test_the_verb_calls_the_function(tmp_path: Path) -> None:
    """Command and call give the same bytes."""
    called = hmn.condense("digits", out=tmp_path / "called", **TINY)
    flags = [f"--{path.replace('_', '-')}={value}" for path, value in SETTINGS.items()]
    command = ["condense", "digits", "--ipc", "4", "--recipe", "quick", *flags, "--out", str(tmp_path / "typed")]
    assert main(command) == 0
    for name in ("container.safetensors", "recipe.toml"):
        assert (called.folder / name).read_bytes() == (tmp_path / "typed" / name).read_bytes()


def test_images_in_memory(tmp_path: Path) -> None:
    images, labels = drawn()
    data = hmn.load_data((images, labels), class_names=["dark", "grey", "light"], name="levels")
    run = hmn.condense(data, out=tmp_path / "run", **{**TINY, "settings": {**SETTINGS, "container": "pixels"}})
    assert run.images.class_names == ("dark", "grey", "light")
    assert hmn.evaluate(run, data=data, **NETWORKS).record["test_images"] == len(data.test)
    with pytest.raises(hmn.UserError, match="name the container's data"):
        hmn.evaluate(run, **NETWORKS)


def test_a_plan_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    planned = hmn.plan("digits", **TINY)
    assert planned.estimate.total_seconds > 0
    assert planned.shape.ledger().num_floats <= planned.shape.budget == 4 * 10 * 64
    assert planned.recipe.condense.num_sweeps == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"settings": {"condense.lrr": 1}}, "condense.lr"),
        ({"settings": {"condense.lr": -1.0}}, "condense.lr"),
        ({"settings": {"condense.lr": "fast"}}, "condense.lr"),
        ({"recipe": "quik"}, "quick"),
        ({"ipc": 0}, "--ipc 0"),
        ({"resume": True, "force": True}, "one of them"),
    ],
)
def test_mistakes_are_one_line(asked: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(hmn.UserError, match=told) as error:
        hmn.condense("digits", out=tmp_path / "run", **{**TINY, **asked})
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_every_name_of_the_face_is_there() -> None:
    assert all(getattr(hmn, name) is not None for name in hmn.__all__)
    assert callable(hmn.condense) and callable(hmn.prune)
