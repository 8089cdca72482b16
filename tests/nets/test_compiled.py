"""Compiling: announced, refused with a reason, given up with a warning; never an error."""

import pytest
import torch
from torch import Tensor

from hmn.nets import compiled, native
from hmn.nets.compiled import compile_step, compiler_problem


@pytest.fixture(autouse=True)
def _wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HMN_COMPILE", "1")
    native.warn_once.cache_clear()


def double(x: Tensor) -> Tensor:
    return 2 * x


def triple(x: Tensor) -> Tensor:
    return 3 * x


def test_what_is_missing_is_told_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(compiled.importlib.util, "find_spec", lambda name: None)
    assert compile_step(double, what="the test", device="cuda") is double
    assert compile_step(triple, what="the test", device="cuda") is triple
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "triton is not installed" in said and "the test" in said


def test_other_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "not used on mps" in str(compiler_problem("mps"))
    monkeypatch.setattr(compiled.importlib.util, "find_spec", lambda name: None)
    assert "triton" in str(compiler_problem("cuda"))


@pytest.mark.parametrize("value", ["0", "no", "off"])
def test_switched_off_is_silent(
    value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HMN_COMPILE", value)
    assert compile_step(double, what="the test", device="cuda") is double
    assert capsys.readouterr().err == ""


def test_failing_to_compile_goes_on_uncompiled(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = []

    def broken(function: object, device: str) -> object:
        calls.append(device)
        raise RuntimeError("ptxas: internal compiler error\nmore")

    monkeypatch.setattr(compiled, "compiler_problem", lambda device: None)
    monkeypatch.setattr(compiled, "_torch_compile", broken)
    step = compile_step(triple, what="the test", device="cuda")
    assert [float(step(torch.tensor(2.0))) for _ in range(3)] == [6, 6, 6]
    said = capsys.readouterr().err
    assert calls == ["cuda"] and said.count("warning") == 1
    assert "could not be compiled and runs slower (RuntimeError: ptxas: internal compiler error)" in said


def test_a_fault_of_the_function_itself_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(x: Tensor) -> Tensor:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(compiled, "compiler_problem", lambda device: None)
    monkeypatch.setattr(compiled, "_torch_compile", lambda function, device: function)
    with pytest.raises(ZeroDivisionError, match="ours"):
        compile_step(faulty, what="the test", device="cuda")(torch.zeros(1))
