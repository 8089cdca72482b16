"""A few sweeps on samples of CIFAR-100, Tiny ImageNet and ImageNet classes, and an evaluation of what they wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hmn.cli.main import main

SHORT = [
    "--recipe",
    "hmn-cpu",
    "--condense.epochs",
    "1",
    "--condense.inner-steps",
    "2",
    "--condense.start.steps",
    "2",
    "--condense.start.batch",
    "64",
    "--condense.real-per-class",
    "4",
    "--condense.generated-per-class",
    "3",
    "--condense.network.width",
    "8",
    "--condense.network.update-batches",
    "1",
    "--condense.network.update-batch-size",
    "8",
]


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all tests of this file: each sample is decoded once."""
    cache = tmp_path_factory.getbasetemp() / "samples"
    monkeypatch.setenv("HMN_CACHE", str(cache))
    return cache


@pytest.mark.real
@pytest.mark.parametrize("objective", ["features", "gradient"])
@pytest.mark.parametrize(
    ("sample", "classes", "images", "net"),
    [
        ("cifar100", 100, 93, "convnet3"),  # the preset
        ("tiny-imagenet-200", 20, None, "convnet4"),  # 20 of 200 classes: planned
        ("imagenette", 10, None, "resnetap10"),
    ],
)
def test_sample_is_condensed_and_evaluated(
    shared_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    sample: str,
    classes: int,
    images: int | None,
    net: str,
    objective: str,
) -> None:
    out = tmp_path / "run"
    data = str(shared_data / "samples" / sample)
    more = ["--size", "224"] if sample == "imagenette" else []
    code = main(
        ["condense", data, "--ipc", "1", "--out", str(out), "--json", "--condense.objective", objective, *SHORT, *more]
    )
    assert code == 0
    condensed = json.loads(capsys.readouterr().out)
    assert condensed["data"] and (out / "preview.png").exists()
    ledger = json.loads((out / "ledger.json").read_text())
    assert len(ledger["images_per_class"]) == classes
    assert ledger["num_floats"] <= ledger["budget"]
    if images is not None:
        assert set(ledger["images_per_class"]) == {images}
    recipe = (out / "recipe.toml").read_text()
    assert f'name = "{net}"' in recipe
    code = main(["evaluate", str(out), "--width", "8", "--steps", "2", "--seeds", "1", "--json", *more])
    assert code == 0
    report = json.loads(capsys.readouterr().out)
    assert report["net"] == net and report["train_steps"] == 2
    assert 0 <= report["accuracy_percent"]["mean"] <= 100
