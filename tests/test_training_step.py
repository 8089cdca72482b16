"""The compiled form of the training step against the plain one, and the choice between them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from hmn import compiled, training_step
from hmn.nets import Net, build_net
from hmn.settings import TrainConfig
from hmn.train import Rendered, train
from hmn.training_step import COMPILE_FLOPS, TrainingStep, training_flops, training_path
from tests.test_train import HALF


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def convnet(shape: tuple[int, int, int], width: int, depth: int = 3, seed: int = 0) -> Net:
    return build_net(f"convnet{depth}", num_classes=5, image_shape=shape, width=width, generator=seeded(seed))


def batch(shape: tuple[int, int, int], n: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    images = torch.randn(n, *shape, dtype=dtype, generator=seeded(1))
    return images, torch.arange(n) % 5, (torch.arange(n) + 2) % 5


@pytest.fixture
def uncompiled_form(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The form that is compiled, run as it stands: its arithmetic without a minute of compiler."""
    monkeypatch.setattr(training_step, "compile_step", lambda function, **_: function)
    training_step._compiled_loss.cache_clear()
    yield
    training_step._compiled_loss.cache_clear()


@pytest.mark.usefixtures("uncompiled_form")
@pytest.mark.parametrize("share", [1.0, 0.3])
@pytest.mark.parametrize(
    ("shape", "width", "depth", "n"),
    [
        ((3, 32, 32), 64, 3, 18),
        ((3, 16, 16), 4, 3, 16),
        ((1, 8, 8), 3, 2, 5),
        ((1, 28, 28), 4, 3, 3),
        ((3, 18, 13), 4, 2, 33),
    ],
)
def test_same_gradients_as_plain(shape: tuple[int, int, int], width: int, depth: int, n: int, share: float) -> None:
    images, labels, others = batch(shape, n, torch.float64)
    nets = [convnet(shape, width, depth).double() for _ in range(2)]
    results = [
        TrainingStep(path, "cpu")(net, images, labels, others, share)
        for net, path in zip(nets, ("plain: asked for", "compiled"), strict=True)
    ]
    torch.testing.assert_close(results[1].loss.double(), results[0].loss, rtol=1e-6, atol=1e-6)
    assert int(results[0].correct) == int(results[1].correct)
    for (name, p), q in zip(nets[0].named_parameters(), nets[1].parameters(), strict=True):
        assert p.grad is not None and q.grad is not None, name
        torch.testing.assert_close(q.grad, p.grad, rtol=1e-6, atol=1e-7)


@pytest.mark.usefixtures("uncompiled_form")
def test_the_fallback_has_the_same_values() -> None:
    net, (images, labels, others) = convnet((3, 16, 16), 64).double(), batch((3, 16, 16), 6, torch.float64)
    weights = torch.rand(2, 6, dtype=torch.float64, generator=seeded(3))
    arguments = (
        training_step._layers(net),
        (net.classifier.weight, net.classifier.bias),
        images,
        labels,
        others,
        weights,
    )
    for ours, plain in zip(
        training_step._weighted_loss(*arguments), training_step._weighted_loss_plain(*arguments), strict=True
    ):
        torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-9)


def test_flops_are_those_of_the_convolutions() -> None:
    """101.5 million multiplications and additions forward at width 128 and 32 pixels; three times that to train."""
    net = convnet((3, 32, 32), 128)
    by_hand = 2 * 9 * (3 * 128 * 32**2 + 128 * 128 * 16**2 + 128 * 128 * 8**2)
    assert training_flops(net, (3, 32, 32), images=10) == 30 * by_hand
    assert training_flops(nn.Linear(1, 1), (3, 32, 32), images=10) == 0


def test_which_path_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    net, long = convnet((3, 32, 32), 4), COMPILE_FLOPS
    monkeypatch.setattr(training_step, "compiler_problem", lambda device: None)
    monkeypatch.delenv("HMN_COMPILE")
    assert training_path() == "compiled" == training_path(net, flops=long)
    assert training_path(net, flops=long - 1).startswith("plain: shorter than compiling")
    assert training_path(nn.Linear(1, 1), flops=long) == "plain: only ConvNets are compiled"
    assert "nobody has tried" in training_path(net, flops=long, device="cuda")
    monkeypatch.setenv("HMN_COMPILE", "1")
    assert training_path(net, flops=1) == "compiled" == training_path(net, device="cuda")
    monkeypatch.setattr(training_step, "compiler_problem", lambda device: "no compiler")
    assert training_path(net) == "plain: no compiler"
    monkeypatch.setenv("HMN_COMPILE", "0")
    assert training_path(net) == "plain: HMN_COMPILE is 0"


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
    monkeypatch.setattr(compiled, "compiler_problem", lambda device="cpu": None)
    monkeypatch.setattr(compiled, "_torch_compile", compile_badly)
    compiled._warn_once.cache_clear()
    training_step._compiled_loss.cache_clear()
    nets = [convnet((3, 8, 8), 4, 2) for _ in range(2)]
    images, labels, others = batch((3, 8, 8), 20, torch.float32)
    for net, path in zip(nets, ("plain: asked for", "compiled"), strict=True):
        TrainingStep(path, "cpu")(net, images, labels, others, 0.3)
    training_step._compiled_loss.cache_clear()
    for p, q in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(q.grad, p.grad, rtol=1e-3, atol=1e-5)
    assert "could not be compiled and runs slower (RuntimeError: no backward)" in capsys.readouterr().err


@pytest.mark.slow
def test_really_compiled_training(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Announced once, close to the plain training, the same bits when repeated, no compiling for a second network."""
    if compiled.compiler_problem() is not None:
        pytest.skip(f"cannot compile: {compiled.compiler_problem()}")
    data = Rendered(torch.rand(37, 3, 8, 8, generator=seeded()), torch.arange(37) % 5, tuple("abcde"), HALF)
    config = TrainConfig(steps=6, batch_size=16)
    runs: dict[str, list[list[Tensor]]] = {"0": [], "1": []}
    monkeypatch.setenv("HMN_CACHE", str(tmp_path))
    for switch, seed in (("0", 0), ("1", 0), ("1", 0), ("1", 5)):
        monkeypatch.setenv("HMN_COMPILE", switch)
        net = convnet((3, 8, 8), 8, 2, seed)
        list(train(net, data, config, generator=seeded(2)))
        runs[switch].append([p.detach() for p in net.parameters()])
    said = capsys.readouterr().err
    assert said.count("compiling the training step") == 1 and "could not" not in said
    for plain, first, again in zip(runs["0"][0], runs["1"][0], runs["1"][1], strict=True):
        torch.testing.assert_close(first, plain, rtol=1e-3, atol=1e-5)
        assert torch.equal(first, again)
