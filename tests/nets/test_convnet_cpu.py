"""The passes in C against torch's own in float64, and what happens where they cannot be had."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hmn.nets import Net, build_net, native
from hmn.nets.convnet_cpu import ConvNetOnCpu, passes_problem, prepared

SHAPES = [
    ((3, 32, 32), 32, 3, 9),
    ((1, 8, 8), 16, 2, 3),
    ((1, 28, 28), 16, 3, 4),  # padded to 32 by its first convolution
    ((8, 16, 16), 48, 2, 5),
    ((3, 64, 64), 16, 4, 1),
    ((3, 16, 16), 16, 1, 6),
]


@pytest.fixture(autouse=True)
def _compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    monkeypatch.delenv("HMN_COMPILE", raising=False)
    yield
    native.warn_once.cache_clear()


def network(shape: tuple[int, int, int], width: int, depth: int, seed: int = 0) -> Net:
    generator = torch.Generator().manual_seed(seed)
    net = build_net(f"convnet{depth}", num_classes=5, image_shape=shape, width=width, generator=generator)
    for name, parameter in net.named_parameters():  # norms and biases as after some training
        if parameter.dim() == 1:
            offset = 1.0 if name.endswith("1.weight") else 0.0
            parameter.data = offset + 0.3 * torch.randn(parameter.shape, generator=generator)
    return net


def images_and_targets(shape: tuple[int, int, int], n: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(n, *shape, generator=generator)
    targets = torch.rand(n, 5, generator=generator) - 0.2  # of any weight, not of one alone
    return images, targets


def weighted_loss(net: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    return -(targets.double() * net(images).log_softmax(dim=1)).sum()


def ready(net: Net, images: Tensor) -> ConvNetOnCpu:
    made = prepared(net, images)
    assert made is not None, passes_problem(net, images.shape[1:])
    return made


def close(found: Tensor, wanted: Tensor, within: float = 2e-5) -> None:
    assert found.shape == wanted.shape
    assert float((found.double() - wanted).norm()) <= within * float(wanted.norm()) + 1e-12


@pytest.mark.parametrize(("shape", "width", "depth", "n"), SHAPES)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_gradients_of_the_weights(
    shape: tuple[int, int, int], width: int, depth: int, n: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    net, (images, targets) = network(shape, width, depth), images_and_targets(shape, n)
    found = ready(net, images).gradients(images, targets, everything=True)
    exact = deepcopy(net).double()
    loss = weighted_loss(exact, images.double(), targets)
    loss.backward()
    assert float(found.loss) == pytest.approx(float(loss.detach()), rel=1e-5, abs=1e-5)
    close(found.logits, exact(images.double()).detach())
    assert found.head is not None and found.norms is not None
    gradients = {name: p.grad for name, p in exact.named_parameters() if p.grad is not None}
    close(found.head[0], gradients["classifier.weight"])
    close(found.head[1], gradients["classifier.bias"])
    for layer in range(depth):
        close(found.kernels[layer], gradients[f"blocks.{layer}.0.weight"])
        close(found.norms[layer][0], gradients[f"blocks.{layer}.1.weight"])
        close(found.norms[layer][1], gradients[f"blocks.{layer}.1.bias"])


@pytest.mark.parametrize(("shape", "width", "depth", "n"), SHAPES)
@pytest.mark.parametrize("with_head", [False, True])
def test_the_image_gradients_derivative_is_that_of_double_backward(
    shape: tuple[int, int, int], width: int, depth: int, n: int, with_head: bool
) -> None:
    net, (images, targets) = network(shape, width, depth), images_and_targets(shape, n)
    generator = torch.Generator().manual_seed(2)
    moved = [p for p in net.parameters() if p.dim() == 4] + [net.classifier.weight] * with_head
    direction = [torch.randn(p.shape, generator=generator) for p in moved]
    fast = ready(net, images)
    kept = fast.gradients(images, targets, keep=True).kept
    assert kept is not None
    found = fast.directional(images, targets, kept, direction[:depth], direction[depth] if with_head else None)
    exact = deepcopy(net).double()
    parameters = [p for p in exact.parameters() if p.dim() == 4] + [exact.classifier.weight] * with_head
    asked = images.double().requires_grad_()
    slopes = torch.autograd.grad(weighted_loss(exact, asked, targets), parameters, create_graph=True)
    along = torch.stack([(s * d).sum() for s, d in zip(slopes, direction, strict=True)]).sum()
    close(found, torch.autograd.grad(along, asked)[0])


@pytest.mark.parametrize(("shape", "width", "depth", "n"), SHAPES)
def test_stages_and_the_images_gradient(shape: tuple[int, int, int], width: int, depth: int, n: int) -> None:
    net, (images, _) = network(shape, width, depth), images_and_targets(shape, n)
    exact = deepcopy(net).double()
    asked = images.double().requires_grad_()
    stages = exact.features(asked)
    logits = exact.head(stages[-1])
    fast = ready(net, images)
    found = fast.stages(images, keep=True)
    for ours, wanted in zip([*found.features, found.logits], [*stages, logits], strict=True):
        close(ours, wanted.detach())
    assert torch.equal(fast.logits(images), found.logits)
    generator = torch.Generator().manual_seed(3)
    slopes = [torch.randn(values.shape, generator=generator) for values in (*stages, logits)]
    loss = torch.stack([(v * s).sum() for v, s in zip([*stages, logits], slopes, strict=True)]).sum()
    assert found.kept is not None
    close(fast.image_gradient(images, found.kept, slopes[:-1], slopes[-1]), torch.autograd.grad(loss, asked)[0])


def test_same_bits_again() -> None:
    net, (images, targets) = network((3, 32, 32), 32, 3), images_and_targets((3, 32, 32), 7)
    first, second = (ready(net, images).gradients(images, targets, keep=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.kernels, second.kernels, strict=True))


def test_an_image_does_not_depend_on_its_neighbours() -> None:
    """Whatever block it falls in: what a process computes of an image is what another would."""
    net, (images, _) = network((3, 16, 16), 16, 2), images_and_targets((3, 16, 16), 7)
    together, alone = ready(net, images).stages(images).logits, ready(net, images).stages(images[5:6]).logits
    assert torch.equal(together[5:6], alone)


@pytest.mark.parametrize(
    ("name", "shape", "width", "reason"),
    [
        ("convnet3", (3, 32, 32), 24, "multiple of 16"),
        ("convnet3", (9, 32, 32), 16, "channels"),
        ("convnet2", (3, 16, 32), 16, "not square"),
        ("convnet3", (3, 24, 24), 16, "halve evenly"),
        ("resnetap10", (3, 32, 32), 16, "only ConvNets"),
    ],
)
def test_what_it_does_not_take(name: str, shape: tuple[int, int, int], width: int, reason: str) -> None:
    net = build_net(name, num_classes=2, image_shape=shape, width=width, generator=torch.Generator())
    assert reason in str(passes_problem(net, shape))
    assert prepared(net, torch.zeros(1, *shape)) is None


def test_other_numbers_are_torchs() -> None:
    net = network((3, 16, 16), 16, 2)
    assert "float32" in str(passes_problem(net, (3, 16, 16), torch.float64))
    assert "float32" in str(passes_problem(net.double(), (3, 16, 16)))


def test_no_compiler_is_told_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CC", "/nonexistent/cc")
    net = network((3, 16, 16), 16, 2)
    assert prepared(net, torch.zeros(1, 3, 16, 16)) is None and prepared(net, torch.zeros(1, 3, 16, 16)) is None
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "there is no C compiler '/nonexistent/cc'" in said


def test_a_compiler_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wrong = tmp_path / "cc"
    wrong.write_text("#!/bin/sh\necho 'cc: out of order' >&2\n[ \"$1\" = --version ]\n")
    wrong.chmod(0o755)
    monkeypatch.setenv("CC", str(wrong))
    monkeypatch.setenv("HMN_CACHE", str(tmp_path / "cache"))
    assert "fails (cc: out of order)" in str(native.problem())
    assert not list((tmp_path / "cache").rglob("*.so"))


@pytest.mark.parametrize("value", ["0", "no", "off"])
def test_switched_off_is_silent(
    value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HMN_COMPILE", value)
    assert prepared(network((3, 16, 16), 16, 2), torch.zeros(1, 3, 16, 16)) is None
    assert capsys.readouterr().err == ""


def hasty(path: Path, *, refuse: str = "") -> str:
    """A compiler that optimises nothing and so takes no time, written to a path; it fails where it is told `refuse`."""
    path.write_text(f'#!/bin/sh\nfor a; do [ "$a" = "{refuse}" ] && exit 1; done\nexec cc "$@" -O0\n')
    path.chmod(0o755)
    return str(path)


def test_built_once_and_announced(tmp_path: Path) -> None:
    """A first process builds and says so; a second one finds what it made."""
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HMN_CACHE": str(tmp_path), "CC": hasty(tmp_path / "cc")}
    program = "from hmn.nets import native; assert native.library() is not None, native.problem()"
    said = []
    for _ in range(2):
        command = [sys.executable, "-c", program]
        said.append(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stderr)
    assert "building its C code" in said[0] and "built in" in said[0] and said[1] == ""
    assert len(list(tmp_path.rglob("*.so"))) == 1


def test_without_openmp_all_images_are_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread takes every share then."""
    monkeypatch.setenv("CC", hasty(tmp_path / "cc", refuse="-fopenmp"))
    monkeypatch.setenv("HMN_CACHE", str(tmp_path / "cache"))
    net, (images, targets) = network((3, 16, 16), 16, 2), images_and_targets((3, 16, 16), 11)
    found = ready(net, images).gradients(images, targets)
    exact = deepcopy(net).double()
    loss = weighted_loss(exact, images.double(), targets)
    close(found.kernels[0], torch.autograd.grad(loss, exact.blocks[0][0].weight)[0])


def test_losses_that_are_not_finite_stay_so() -> None:
    net = network((3, 16, 16), 16, 2)
    images = torch.full((2, 3, 16, 16), float("nan"))
    found = ready(net, images).gradients(images, F.one_hot(torch.tensor([0, 1]), 5).float())
    assert not torch.isfinite(found.loss)
