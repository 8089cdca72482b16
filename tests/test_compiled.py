"""Compiling: announced, refused with a reason, given up with a warning; never an error."""

import shutil

import pytest
import torch
from torch import Tensor

from hmn import compiled
from hmn.compiled import compile_step, compiler_available, compiler_problem


@pytest.fixture(autouse=True)
def _wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HMN_COMPILE", "1")
    compiled._warn_once.cache_clear()


def double(x: Tensor) -> Tensor:
    return 2 * x


def triple(x: Tensor) -> Tensor:
    return 3 * x


def test_no_compiler_is_told_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CXX", "/nonexistent/c++")
    assert not compiler_available()
    assert compile_step(double, what="the test") is double
    assert compile_step(double, what="the test", otherwise=triple) is triple
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "there is no C++ compiler '/nonexistent/c++'" in said and "the test" in said


def test_a_compiler_that_fails_is_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    program = shutil.which("false")
    if program is None:
        pytest.skip("no program that fails")
    monkeypatch.setenv("CXX", program)
    assert "fails on a probe" in str(compiler_problem())


def test_no_headers_no_compiling(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr(compiled.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    assert "Python's headers are not installed" in str(compiler_problem())


def test_other_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "not used on mps" in str(compiler_problem("mps"))
    monkeypatch.setattr(compiled.importlib.util, "find_spec", lambda name: None)
    assert "triton" in str(compiler_problem("cuda"))


@pytest.mark.parametrize("value", ["0", "no", "off"])
def test_switched_off_is_silent(
    value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HMN_COMPILE", value)
    assert compile_step(double, what="the test", otherwise=triple) is triple
    assert capsys.readouterr().err == ""


def test_failing_to_compile_goes_on_uncompiled(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = []

    def broken(function: object, device: str) -> object:
        calls.append(device)
        raise RuntimeError("g++: internal compiler error\nmore")

    monkeypatch.setattr(compiled, "compiler_problem", lambda device="cpu": None)
    monkeypatch.setattr(compiled, "_torch_compile", broken)
    step = compile_step(double, what="the test", otherwise=triple)
    assert [float(step(torch.tensor(2.0))) for _ in range(3)] == [6, 6, 6]
    said = capsys.readouterr().err
    assert calls == ["cpu"] and said.count("warning") == 1
    assert "could not be compiled and runs slower (RuntimeError: g++: internal compiler error)" in said


def test_a_fault_of_the_function_itself_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(x: Tensor) -> Tensor:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(compiled, "compiler_problem", lambda device="cpu": None)
    monkeypatch.setattr(compiled, "_torch_compile", lambda function, device: function)
    with pytest.raises(ZeroDivisionError, match="ours"):
        compile_step(faulty, what="the test")(torch.zeros(1))


@pytest.mark.slow
def test_a_tiny_function_is_really_compiled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object, capsys: pytest.CaptureFixture[str]
) -> None:
    if not compiler_available():
        pytest.skip(f"cannot compile: {compiler_problem()}")
    monkeypatch.setenv("HMN_CACHE", str(tmp_path))
    step = compile_step(double, what="the test", otherwise=triple)
    assert [float(step(torch.tensor(2.0))) for _ in range(2)] == [4, 4]
    said = capsys.readouterr().err
    assert said.count("compiling the test") == 1 and said.count("compiled the test in") == 1
