"""Decisions about devices, by their logic; and on a GPU, where there is one, by what happens."""

from collections.abc import Iterator

import pytest
import torch

from hmn.data.real import RealData
from hmn.data.source import Normalisation
from hmn.errors import UserError
from hmn.nets import build_net
from hmn.recipes.settings import TrainConfig
from hmn.runtime.device import choose_device, device_for, fits, moved, precision_for, resident, training_numbers
from hmn.train.loop import train

GIB = 2**30
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture
def tf32() -> Iterator[None]:
    """TF32 allowed, and afterwards as before."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def small_data() -> RealData:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (40, 3, 8, 8), dtype=torch.uint8, generator=generator)
    return RealData(pixels, torch.arange(40) % 4, tuple("abcd"), Normalisation((0.5,) * 3, (0.25,) * 3), "small")


@pytest.mark.parametrize(
    ("told", "cuda", "mps", "expected"),
    [
        (None, True, True, "cuda"),
        (None, False, True, "cpu"),
        ("", False, False, "cpu"),
        ("cpu", True, True, "cpu"),
        ("mps", False, True, "mps"),
        ("cuda", True, False, "cuda"),
    ],
)
def test_device_for(told: str | None, cuda: bool, mps: bool, expected: str) -> None:
    assert device_for(told, cuda=cuda, mps=mps) == expected


@pytest.mark.parametrize(("told", "message"), [("gpu", "expected one of cpu, cuda, mps"), ("cuda", "finds no such")])
def test_device_mistakes(told: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        device_for(told, cuda=False, mps=False)


@pytest.mark.usefixtures("tf32")
def test_choose_device_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("HMN_DEVICE", " CPU ")
    assert choose_device() == "cpu" and torch.backends.cudnn.allow_tf32
    monkeypatch.delenv("HMN_DEVICE")
    assert choose_device() == "cuda"
    assert not torch.backends.cuda.matmul.allow_tf32 and not torch.backends.cudnn.allow_tf32


def test_precision_for() -> None:
    assert precision_for(None, "cpu") == precision_for("float32", "cpu") == precision_for("", "cuda") == "float32"
    assert precision_for("bfloat16", "cuda") == "bfloat16" and precision_for("tf32", "cuda") == "tf32"
    with pytest.raises(UserError, match="expected one of float32, tf32, bfloat16"):
        precision_for("fp8", "cuda")
    with pytest.raises(UserError, match="only CUDA trains so, and this is cpu"):
        precision_for("bfloat16", "cpu")


@pytest.mark.usefixtures("tf32")
def test_tf32_is_allowed_only_inside() -> None:
    def allowed() -> tuple[bool, bool]:
        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    with pytest.raises(ZeroDivisionError), training_numbers("tf32"):
        assert allowed() == (True, True)
        raise ZeroDivisionError
    assert allowed() == (False, False)
    with training_numbers("float32"):
        assert allowed() == (False, False)


@pytest.mark.parametrize(
    ("num_bytes", "free", "expected"),
    [
        (GIB, 8 * GIB, True),
        (4 * GIB, 8 * GIB, True),
        (4 * GIB + 1, 8 * GIB, False),
        (GIB, 3 * GIB, True),
        (GIB + 1, 3 * GIB, False),
        (1, GIB, False),
    ],
)
def test_resident_data_leave_memory(num_bytes: int, free: int, expected: bool) -> None:
    assert fits(num_bytes, free) is expected


def test_on_the_cpu_nothing_moves() -> None:
    data, cpu = small_data(), torch.device("cpu")
    assert resident(data.pixels, cpu) is data.pixels and data.on(cpu) is data and moved(data.pixels, cpu) is data.pixels
    index = torch.tensor([3, 1])
    assert torch.equal(data.images_on(index, cpu), data.images(index))


def trained(device: str) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    net = build_net("convnet2", num_classes=4, image_shape=(3, 8, 8), width=8, generator=generator)
    list(train(net, small_data(), TrainConfig(steps=5, batch_size=16), generator=generator, device=device))
    return [p.detach().cpu() for p in net.parameters()]


@pytest.mark.gpu
@needs_cuda
def test_data_become_resident_on_cuda() -> None:
    cuda = torch.device("cuda", torch.cuda.current_device())
    data = small_data().on(cuda)
    assert data.pixels.is_cuda and data.labels.is_cuda and data.pixels.dtype == torch.uint8
    index = torch.tensor([5, 0])
    assert torch.equal(data.images(index).cpu(), small_data().images(index))
    assert torch.equal(small_data().images_on(index, cuda).cpu(), small_data().images(index))


@pytest.mark.gpu
@needs_cuda
def test_cuda_trains_as_the_cpu_does_and_repeats_its_bits() -> None:
    choose_device()
    torch.backends.cudnn.deterministic = True
    first, again, cpu = trained("cuda"), trained("cuda"), trained("cpu")
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    for a, b in zip(first, cpu, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
