"""The forms of the training step against each other, and the choice between them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from hmn.nets import Net, build_net, compiled, native
from hmn.recipes.settings import TrainConfig
from hmn.train import step as training_step
from hmn.train.evaluation import Rendered
from hmn.train.loop import train
from hmn.train.step import COMPILED, NATIVE, TrainingStep, training_path
from tests.train.test_loop import HALF

SHAPE = (3, 16, 16)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def convnet(shape: tuple[int, int, int] = SHAPE, width: int = 16, depth: int = 2, seed: int = 0) -> Net:
    return build_net(f"convnet{depth}", num_classes=5, image_shape=shape, width=width, generator=seeded(seed))


def batch(n: int) -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(n, *SHAPE, generator=seeded(1)), torch.arange(n) % 5, (torch.arange(n) + 2) % 5


@pytest.fixture
def has_native() -> None:
    if native.problem() is not None:
        pytest.skip(f"no C code: {native.problem()}")


@pytest.mark.usefixtures("has_native")
@pytest.mark.parametrize("path", [NATIVE, COMPILED])
@pytest.mark.parametrize(("share", "weight"), [(1.0, 1.0), (0.3, 1.0), (0.3, 0.25)])
def test_same_gradients_as_torchs(path: str, share: float, weight: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice over, since gradients add up. COMPILED runs uncompiled here: its arithmetic without the compiler."""
    monkeypatch.setattr(training_step, "compile_step", lambda function, **_: function)
    training_step._compiled_loss.cache_clear()
    images, labels, others = batch(7)
    nets = [convnet(), convnet()]
    for _ in range(2):
        plain, found = (
            TrainingStep(way)(net, images, labels, others, share, weight=weight)
            for way, net in zip(("torch's passes: asked for", path), nets, strict=True)
        )
    training_step._compiled_loss.cache_clear()
    torch.testing.assert_close(found.loss, plain.loss, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.logits, plain.logits, rtol=1e-4, atol=1e-5)
    assert int(found.correct) == int(plain.correct)
    for (name, p), q in zip(nets[0].named_parameters(), nets[1].parameters(), strict=True):
        assert p.grad is not None and q.grad is not None, name
        torch.testing.assert_close(q.grad, p.grad, rtol=1e-3, atol=1e-6)


@pytest.mark.usefixtures("has_native")
def test_which_path_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HMN_COMPILE", raising=False)
    assert training_path(convnet(), SHAPE) == NATIVE
    assert training_path(nn.Linear(1, 1), SHAPE) == "torch's passes: only ConvNets have passes of their own"
    monkeypatch.setenv("HMN_COMPILE", "0")
    assert training_path(convnet(), SHAPE) == "torch's passes: HMN_COMPILE is 0"


def test_which_path_is_taken_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    net = convnet().to("meta")
    monkeypatch.delenv("HMN_COMPILE", raising=False)
    assert "nobody has tried" in training_path(net, SHAPE)
    monkeypatch.setenv("HMN_COMPILE", "1")
    assert training_path(net, SHAPE) == "torch's passes: torch's compiler is not used on meta"
    monkeypatch.setattr(training_step, "compiler_problem", lambda device: None)
    assert training_path(net, SHAPE) == COMPILED
    assert training_path(nn.Linear(1, 1).to("meta"), SHAPE) == "torch's passes: only ConvNets are compiled"


@pytest.mark.usefixtures("has_native")
def test_trainings_by_both_ways_are_close(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Rendered(torch.rand(37, *SHAPE, generator=seeded()), torch.arange(37) % 5, tuple("abcde"), HALF)
    config = TrainConfig(steps=6, batch_size=16)
    runs: list[list[Tensor]] = []
    for switch in ("0", "1", "1"):
        monkeypatch.setenv("HMN_COMPILE", switch)
        net = convnet()
        list(train(net, data, config, generator=seeded(2)))
        runs.append([p.detach() for p in net.parameters()])
    for plain, first, again in zip(*runs, strict=True):
        torch.testing.assert_close(first, plain, rtol=1e-3, atol=1e-5)
        assert torch.equal(first, again)


def test_a_backward_pass_that_fails_goes_on_uncompiled(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """torch compiles backward passes when they are first run: a failure there must not end a training either."""

    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, loss: Tensor) -> Tensor:
            return loss.clone()

        @staticmethod
        def backward(ctx: object, gradient: Tensor) -> Tensor:
            raise RuntimeError("no backward")

    def compile_badly(function: Callable[..., tuple[Tensor, Tensor]], device: str) -> object:
        def run(*arguments: object) -> tuple[Tensor, Tensor]:
            loss, logits = function(*arguments)
            return Broken.apply(loss), logits

        return run

    monkeypatch.setenv("HMN_COMPILE", "1")
    monkeypatch.setattr(compiled, "compiler_problem", lambda device: None)
    monkeypatch.setattr(compiled, "_torch_compile", compile_badly)
    native.warn_once.cache_clear()
    training_step._compiled_loss.cache_clear()
    nets = [convnet() for _ in range(2)]
    images, labels, others = batch(20)
    for net, path in zip(nets, ("torch's passes: asked for", COMPILED), strict=True):
        TrainingStep(path)(net, images, labels, others, 0.3)
    training_step._compiled_loss.cache_clear()
    for p, q in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(q.grad, p.grad, rtol=1e-3, atol=1e-5)
    assert "could not be compiled and runs slower (RuntimeError: no backward)" in capsys.readouterr().err
