"""Values that are learned as they will be stored: what is shown, where gradients go, runs, commands, refusals."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import hmn
from hmn.cli.main import main
from hmn.condensation.loop import condensing
from hmn.condensation.state import CondenseRecord, CondenseState, shown_as_stored
from hmn.containers.artifact.load import info
from hmn.containers.artifact.save import as_stored, save
from hmn.containers.quantise import rounded
from hmn.data.load import load_data
from hmn.data.options import DataOptions
from hmn.recipes.kinds import CONTAINERS
from hmn.recipes.settings import CondenseConfig, Recipe, StartConfig
from hmn.studies.sweep.grid import condensation
from hmn.studies.tasks import RunSettings, StudyData
from tests.cli.test_containers import DIGITS, TINY
from tests.cli.test_main import refused
from tests.condensation.objectives.test_unrolled import BASE, DIRECT, UNROLLED, container_of, data, experts

DTYPES = ("float16", "int8", "int4")
AS_INT4 = replace(BASE, learned_as="int4", inner_steps=4, start=StartConfig(kind="real", steps=4, batch=8))
BY_CLASS = replace(
    AS_INT4,
    objective="gradient",
    step_per="class",
    network=replace(BASE.network, trained_on="generated", update_batches=1),
)
LOOPS = {
    "gradient": replace(AS_INT4, objective="gradient"),
    "gradient, class by class": BY_CLASS,
    "trajectory": replace(AS_INT4, objective="trajectory"),
    "unrolled": replace(AS_INT4, objective="unrolled"),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", [kind for kind in CONTAINERS.names() if kind != "hmn"])
def test_images_are_those_of_the_file_and_values_stay(kind: str, dtype: Any) -> None:
    container = container_of(kind)
    own = {name: value.detach().clone() for name, value in container.named_parameters()}
    places = {name: value.data_ptr() for name, value in container.named_parameters()}
    exact = container.render_all()
    with shown_as_stored(container, dtype):
        for name, value in container.named_parameters():
            assert torch.equal(value, rounded(name, own[name], dtype)) and value.requires_grad
        shown = container.render_all()
    wanted, _ = as_stored(container, dtype)  # type: ignore[arg-type]
    assert torch.equal(shown, wanted.render_all()) and not torch.equal(shown, exact)
    for name, value in container.named_parameters():
        assert torch.equal(value, own[name]) and value.data_ptr() == places[name]  # what the optimizer knows


def test_values_stay_after_an_exception_and_float32_is_as_it_is() -> None:
    container = container_of("frequency")
    own = copy.deepcopy(container.state_dict())
    with pytest.raises(ArithmeticError), shown_as_stored(container, "int4"):
        raise ArithmeticError
    assert all(torch.equal(value, own[name]) for name, value in container.state_dict().items())
    with shown_as_stored(container, "float32"):
        assert all(torch.equal(value, own[name]) for name, value in container.state_dict().items())


def test_the_gradient_at_the_rounded_values_moves_their_own() -> None:
    container = container_of("factorized")
    optimizer = torch.optim.SGD(container.parameters(), lr=0.5)
    own = {name: value.detach().clone() for name, value in container.named_parameters()}
    index = torch.arange(len(container))

    def backward(of: Any) -> None:
        (of.images(index) ** 2).sum().backward()

    elsewhere = copy.deepcopy(container)
    elsewhere.load_state_dict({name: rounded(name, value, "int4") for name, value in own.items()})
    backward(elsewhere)
    with shown_as_stored(container, "int4"):
        backward(container)
    optimizer.step()
    wanted = dict(elsewhere.named_parameters())
    for name, value in container.named_parameters():
        assert value.grad is not None and wanted[name].grad is not None
        assert torch.equal(value.grad, wanted[name].grad) and value.grad.any()
        assert torch.equal(value, own[name] - 0.5 * value.grad)


class Begun:
    """A short condensation of frequencies by one of the loops."""

    def __init__(self, loop: str, config: CondenseConfig) -> None:
        settings = {"trajectory": DIRECT, "unrolled": UNROLLED}.get(loop)
        self.state = CondenseState(container_of("frequency"), data(), config, seed=3, settings=settings)
        if loop == "trajectory":
            self.state.objective.experts = experts(1)
        self.container = self.state.container

    def records(self) -> Iterator[CondenseRecord]:
        return condensing(self.state)


@pytest.mark.parametrize("loop", LOOPS)
def test_every_loop_learns_so_is_stored_so_and_goes_on_to_the_same_bits(loop: str, tmp_path: Path) -> None:
    config = LOOPS[loop]
    unbroken = Begun(loop, config)
    records = list(unbroken.records())
    assert sum(record.phase == "condense" for record in records) == 4
    # As an int4 file it holds what the loop has seen last, and its values were finer than that.
    save(
        unbroken.container,
        tmp_path,
        recipe=Recipe(name="tiny", cost="none", ipc=1),
        data_name="shades",
        dtype="int4",
        facts={},
    )  # type: ignore[arg-type]
    error = info(tmp_path).quantisation_error
    assert error is not None and 0 < error["mean"] < error["max"]
    with shown_as_stored(unbroken.container, "int4"):
        assert torch.equal(hmn.load(tmp_path).pixels, unbroken.container.render_all())
    broken = Begun(loop, config)
    for record in broken.records():
        if record.phase == "condense" and record.done == 2:
            break
    resumed = Begun(loop, config)
    resumed.state.load_state_dict(copy.deepcopy(broken.state.state_dict()))
    assert list(resumed.records()) == records[-2:]
    state = resumed.container.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in unbroken.container.state_dict().items())
    otherwise = Begun(loop, replace(config, learned_as="float32"))
    for record, as_int4 in zip(otherwise.records(), records, strict=False):
        assert (record.loss == as_int4.loss) == (record.phase != "condense")  # fitting is as ever
        if record.phase == "condense":
            break


def learned_as(out: Path) -> str:
    return str(tomllib.loads((out / "recipe.toml").read_text())["condense"]["learned_as"])


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        (["--container", "frequency", "--dtype", "int4"], "int4"),
        (["--container", "frequency", "--dtype", "int4", "--condense.learned-as", "float32"], "float32"),
        (["--container", "pixels", "--objective", "features", "--condense.learned-as", "float16"], "float16"),
        (["--dtype", "int4"], "float32"),
    ],
    ids=["frequency", "frequency, float32", "pixels, float16", "hmn"],
)
def test_condense_learns_int4_as_it_stores_it(
    flags: list[str], wanted: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    command = [*DIGITS, *flags, *TINY, "--out", str(out)]
    assert main(command) == 0
    assert learned_as(out) == wanted
    found = info(out)
    assert found.dtype == (flags[flags.index("--dtype") + 1] if "--dtype" in flags else "float32")
    assert found.format_version == (3 if found.dtype == "int4" else 2)
    assert main([*command, "--resume"]) == 0
    capsys.readouterr()
    if "--container" in flags:
        return
    assert main(["prune", str(out), "--out", str(tmp_path / "less"), "--method", "random", "--to", "1"]) == 0
    assert info(tmp_path / "less").format_version == 3


def test_a_file_or_a_variable_says_how_it_is_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [*DIGITS, "--container", "frequency", "--dtype", "int4", *TINY]
    (tmp_path / "own.toml").write_text('[condense]\nlearned_as = "int8"\n')
    assert main([*command, "--config", str(tmp_path / "own.toml"), "--out", str(tmp_path / "file")]) == 0
    monkeypatch.setenv("HMN_CONDENSE_LEARNED_AS", "float32")
    assert main([*command, "--out", str(tmp_path / "variable")]) == 0
    assert [learned_as(tmp_path / name) for name in ("file", "variable")] == ["int8", "float32"]


def test_a_sweep_learns_so_too() -> None:
    def found(container: str, **values: str) -> str:
        given = RunSettings(
            data=StudyData(name="digits", options=DataOptions(), on="test"),
            recipe="quick",
            from_file={},
            images=None,
            steps=None,
            settings={"ipc": 10, "container": container},
            dtype="float32",
            checkpoint_seconds=0,
            command=(),
        )
        run = condensation(values, given, load_data("digits"))
        assert run.dtype == values.get("dtype", "float32")
        return run.recipe.condense.learned_as

    assert [found("frequency", dtype=dtype) for dtype in ("int8", "int4")] == ["float32", "int4"]
    assert found("hmn", dtype="int4") == found("frequency") == "float32"
    assert found("frequency", **{"dtype": "int4", "condense.learned_as": "int8"}) == "int8"


def test_an_hmn_container_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [*DIGITS, "--out", str(tmp_path / "new"), "--condense.learned-as"]
    for flags in (["int8"], ["int4", "--dtype", "int4"], ["float16", "--dry-run"]):
        refused(capsys, [*command, *flags], f"condense.learned_as {flags[0]}", "another --container")
    refused(capsys, [*command, "int2"], "learned-as", "int4")
    assert not (tmp_path / "new").exists()
