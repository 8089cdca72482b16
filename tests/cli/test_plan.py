"""`hmn ledger` and `hmn plan` beside tests/cli/test_main.py: unfinished runs, other sizes, the command to go on."""

import json
import shlex
from pathlib import Path

import pytest

from hmn.cli.main import main
from hmn.cli.plan import next_command
from hmn.containers.hmn_sizes import PRESETS, preset
from hmn.data.known_sizes import PUBLISHED, DataSize, size_of
from hmn.data.options import DataOptions
from hmn.nets.build import width_of
from tests.cli.test_main import class_folders, refused


@pytest.fixture(autouse=True)
def _own_settings(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HMN_IPC", raising=False)


def test_ledger_of_an_unfinished_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "checkpoint.safetensors").write_bytes(b"")
    refused(capsys, ["ledger", str(tmp_path)], "unfinished run", "--resume")
    refused(capsys, ["ledger", str(tmp_path), "--ipc", "1"], "unfinished run")


def test_ledger_of_a_planned_shape_gives_no_published_advice(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger", "cifar10", "--ipc", "1", "--size", "16"]) == 0
    text = capsys.readouterr().out
    assert "of 3 x 16 x 16" in text and "before pruning" not in text


@pytest.mark.parametrize("more", [[], ["--container", "mosaic", "--sizes.factor", "4", "--images", "3", "--json"]])
def test_plan_counts_what_the_ledger_counted(more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Without reading or timing: cifar10 is not here, and a word on stderr is all that differs."""
    assert main(["ledger", "cifar10", "--ipc", "1", *more]) == 0
    out, err = capsys.readouterr()
    replaced = shlex.join(["hmn", "plan", "cifar10", "--ipc", "1", *more, "--ledger", "--recipe", "hmn"])
    assert err.strip() == f"hmn ledger will go: {replaced} says the same"
    assert main(shlex.split(replaced)[1:]) == 0
    assert capsys.readouterr() == (out, "")
    refused(capsys, ["plan", "cifar10", "--ipc", "1", "--ledger", "--gpus", "2"], "a ledger has none")


def test_plan_says_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = DataOptions(data_dir=Path("/my data"), size=16, channels=1, skip_bad=True, label_column="fine label")
    command = next_command("a b", 2, 5, "quick", flags)
    assert shlex.split(command) == [
        "hmn",
        "condense",
        "a b",
        "--ipc",
        "2",
        "--recipe",
        "quick",
        "--images",
        "5",
        "--data-dir",
        "/my data",
        "--size",
        "16",
        "--channels",
        "1",
        "--skip-bad",
        "--label-column",
        "fine label",
        "--out",
        "DIR",
    ]
    assert (
        next_command("digits", 2, None, "fast", DataOptions()) == "hmn condense digits --ipc 2 --recipe fast --out DIR"
    )
    given = next_command("digits", 2, None, "fast", DataOptions(), {"condense.network.update_batches": 3})
    assert "--condense.network.update-batches 3 --out" in given
    data = class_folders(tmp_path / "my pets")
    assert main(["plan", str(data), "--ipc", "4", "--recipe", "quick", "--size", "8"]) == 0
    text = "".join(capsys.readouterr().out.split())
    assert "".join(f"hmn condense '{data}' --ipc 4 --recipe quick --size 8".split()) in text


def test_the_width_that_a_network_has_by_itself() -> None:
    import torch

    from hmn.nets import build_net

    for name in ("convnet3", "resnetap10", "resnet18", "resnet18-in", "vgg11", "densenet121"):
        counts = [
            sum(
                values.numel()
                for values in build_net(
                    name, num_classes=10, image_shape=(3, 32, 32), width=width, generator=torch.Generator()
                ).parameters()
            )
            for width in (None, width_of(name, None))
        ]
        assert counts[0] == counts[1]
    assert width_of("convnet3", 4) == 4 and width_of("timm/resnet18", None) is None


ABSENT = ["--shape", "1x8x8", "--classes", "4", "--images-per-class", "20"]


def test_plan_for_data_that_are_not_here(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["plan", "nowhere", "--ipc", "10", "--recipe", "quick", *ABSENT, "--condense.network.width", "8"]
    assert main([*command, "--gpus", "3", "--tflops", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["num_classes"], found["image_shape"], found["data_read"]) == (4, [1, 8, 8], False)
    assert found["recipe"] == "quick-changed" and found["sweeps"] == 300
    reckoned, estimate = found["reckoned"], found["estimate"]
    assert reckoned["measured"] is False and reckoned["gpus"] == 3
    assert reckoned["total_seconds"] == pytest.approx(estimate["total_operations"] / (3 * 2e12))
    assert reckoned["seconds_per_sweep"] == pytest.approx(estimate["operations_per_sweep"] / (3 * 2e12))
    assert estimate["total_seconds"] == pytest.approx(
        estimate["start_seconds"] + 300 * estimate["seconds_per_sweep"], rel=1e-6
    )
    assert main([*command, "--gpus", "3"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "reckoned, not measured" in text and "3 GPUs sustaining 20 TFLOP/s" in text
    assert "planned for without reading" in text and "--out DIR" not in text


def test_plan_refuses_sizes_that_make_no_sense(capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, ["plan", "nowhere", "--ipc", "1", "--classes", "4"], "--shape, --classes and --images-per-class")
    refused(capsys, ["plan", "nowhere", "--ipc", "1", *ABSENT[2:], "--shape", "8x8"], "such as 3x224x224")
    refused(capsys, ["plan", "nowhere", "--ipc", "1", *ABSENT[:2], "--classes", "1", *ABSENT[4:]], "at least 2 classes")
    refused(capsys, ["plan", "nowhere", "--ipc", "1"], "no such file or folder")
    refused(capsys, ["plan", "digits", "--ipc", "1", "--gpus", "0"], "expected at least 1")
    refused(capsys, ["plan", "digits", "--ipc", "1", "--tflops", "3"], "give --gpus too")


def test_sizes_by_name() -> None:
    assert size_of("imagenet-1k") == DataSize((3, 224, 224), 1000, 1281)
    assert size_of("imagenet-1k", side=64, classes=10) == DataSize((3, 64, 64), 10, 1281)
    assert size_of("cifar10", channels=1) == DataSize((1, 32, 32), 10, 5000)
    for name, ipc in PRESETS:
        shape = preset(name, ipc)
        assert shape is not None
        assert (shape.image_shape, shape.num_classes) == PUBLISHED[name][:2]
