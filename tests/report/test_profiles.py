"""`hmn profile` and `hmn report` on every container."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import hmn
from hmn.cli.main import main
from hmn.pruning.aum import load_profile
from tests.containers.folders import KINDS, digits_folder


@pytest.mark.parametrize("kind", KINDS)
def test_profiled_and_reported(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = digits_folder(tmp_path / kind, kind, ipc=4)
    assert main(["profile", str(run), "--epochs", "1", "--width", "4", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    images = hmn.load(run)
    assert told["images"] == len(images) and told["data"] == "digits"
    profile = load_profile(run / "aum.npz", sha256=told["sha256"])
    assert len(profile) == len(images) and profile.labels.equal(images.labels)

    flags = ["--steps", "2", "--seeds", "1", "--width", "4", "--against", "random", "--stored", "int8"]
    assert main(["evaluate", str(run), *flags, "--out", str(run / "result.json")]) == 0
    out = tmp_path / "page.html"
    capsys.readouterr()
    assert main(["report", str(run), "--out", str(out), "--json"]) == 0
    page = out.read_text()
    assert json.loads(capsys.readouterr().out)["images"] == len(images)
    stored = hmn.containers.artifact.load.info(run)
    for part in stored.ledger.parts:
        assert part.name in page, part.name
    assert f"{stored.ledger.num_floats:,}" in page and f"{kind} as int8" in page and "random real" in page
    reason = "a base and a hallucinator"
    assert (reason in page) == (kind == "factorized")
