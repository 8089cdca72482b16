"""`hmn ledger` and `hmn plan` beside what tests/test_cli.py has: unfinished runs, other sizes, the command to go on."""

import shlex
from pathlib import Path

import pytest

from hmn.cli import main
from hmn.cli_data import DataFlags
from hmn.cli_plan import next_command
from hmn.nets.build import width_of
from tests.test_cli import class_folders, refused


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HMN_IPC", raising=False)
    monkeypatch.setenv("HMN_CACHE", str(tmp_path / "cache"))


def test_ledger_of_an_unfinished_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "checkpoint.safetensors").write_bytes(b"")
    refused(capsys, ["ledger", str(tmp_path)], "unfinished run", "--resume")
    refused(capsys, ["ledger", str(tmp_path), "--ipc", "1"], "unfinished run")


def test_ledger_of_a_planned_shape_gives_no_published_advice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from hmn.cli_ledger import choose_shape

    planned = choose_shape("cifar10", 1, image_shape=(3, 16, 16), num_classes=10)
    monkeypatch.setattr("hmn.cli_ledger.shape_for", lambda *_: planned)
    assert main(["ledger", "cifar10", "--ipc", "1", "--size", "16"]) == 0
    assert "before pruning" not in capsys.readouterr().out


def test_plan_says_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = DataFlags(data_dir=Path("/my data"), size=16, channels=1, skip_bad=True, label_column="fine label")
    command = next_command("a b", 2, 5, "quick", flags)
    assert shlex.split(command) == [
        "hmn", "condense", "a b", "--ipc", "2", "--recipe", "quick", "--images", "5", "--data-dir", "/my data",
        "--size", "16", "--channels", "1", "--skip-bad", "--label-column", "fine label", "--out", "DIR",
    ]  # fmt: skip
    assert next_command("digits", 2, None, "cpu", DataFlags()) == "hmn condense digits --ipc 2 --recipe cpu --out DIR"
    data = class_folders(tmp_path / "my pets")
    assert main(["plan", str(data), "--ipc", "4", "--recipe", "quick", "--size", "8"]) == 0
    text = "".join(capsys.readouterr().out.split())
    assert "".join(f"hmn condense '{data}' --ipc 4 --recipe quick --size 8".split()) in text


def test_the_width_that_a_network_has_by_itself() -> None:
    import torch

    from hmn.nets import build_net

    for name in ("convnet3", "resnetap10", "resnet18", "resnet18-in", "vgg11", "densenet121"):
        counts = [
            sum(values.numel() for values in build_net(
                name, num_classes=10, image_shape=(3, 32, 32), width=width, generator=torch.Generator()
            ).parameters())
            for width in (None, width_of(name, None))
        ]  # fmt: skip
        assert counts[0] == counts[1]
    assert width_of("convnet3", 4) == 4 and width_of("timm/resnet18", None) is None
