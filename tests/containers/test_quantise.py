"""How values are stored: int8 and int4 against obvious versions in float64, and that nothing rounds twice."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hmn.containers.quantise import STORED_AS, decode, encode, layout, rounded
from tests.reference.quantise_reference import levels_slow, packed_slow, scale_slow, squared_error

SIZES = {
    "a scale a row": (5, 4, 4, 4),
    "odd rows": (5, 3, 5, 5),
    "one scale": (4, 3, 4, 4),
    "one scale, odd": (7, 3, 3),
    "one row": (1, 70),
    "a vector": (9,),
    "no row": (0, 3, 8, 8),
    "no row, one scale": (0, 5),
}


def values(size: tuple[int, ...]) -> Tensor:
    """Rows of different sizes, one with a value far off and one of zeros."""
    found = torch.randn(size, generator=torch.Generator().manual_seed(0))
    if size[0] == 5:
        found *= torch.tensor([1e-3, 1, 10, 0, 5]).view(-1, *(1 for _ in size[1:]))
    if found.numel():
        found.view(-1)[2] *= 9
    return found


def restored(stored: dict[str, Tensor], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return decode(stored, {name: tuple(tensor.shape) for name, tensor in tensors.items()})


def test_int8_is_the_nearest_multiple_of_its_scale() -> None:
    tensors = {"w": values((5, 4, 4, 4)), "b.bias": values((4,))}
    stored = encode(tensors, "int8")
    assert torch.equal(stored["b.bias"], tensors["b.bias"])
    for row, scale, q in zip(tensors["w"].double(), stored["w.scale"].flatten().tolist(), stored["w"], strict=True):
        assert scale == pytest.approx(float(row.abs().max()) / 127 or 1.0)
        assert torch.equal((row / scale).round().to(torch.int8), q)
    assert torch.equal(restored(stored, tensors)["w"][3], torch.zeros(4, 4, 4))


@pytest.mark.parametrize("size", [size for size in SIZES.values() if 0 not in size], ids=str)
def test_int4_is_the_slow_version(size: tuple[int, ...]) -> None:
    value = values(size)
    stored = encode({"w": value}, "int4")
    scales = stored["w.scale"].flatten().double().tolist()
    assert len(scales) == (size[0] if value[0].numel() >= 64 else 1)
    for row, scale, packed in zip(value.double().reshape(len(scales), -1).tolist(), scales, stored["w"], strict=True):
        wanted = scale_slow(row)
        assert scale == pytest.approx(wanted, rel=1e-6)
        assert squared_error(row, scale) <= squared_error(row, wanted) * (1 + 1e-5)
        assert packed.tolist() == packed_slow(levels_slow(row, scale))


def test_int4_cuts_a_value_far_off_where_that_is_nearer_to_the_others() -> None:
    row = torch.randn(1, 400, generator=torch.Generator().manual_seed(1))
    row[0, 7] = 6.0
    scale = float(encode({"w": row}, "int4")["w.scale"])
    assert scale < 0.8 * 6 / 7
    even = torch.linspace(-1, 1, 400)[None]
    assert float(encode({"w": even}, "int4")["w.scale"]) == pytest.approx(1 / 7, rel=0.06)


def test_the_smallest_numbers_have_a_scale() -> None:
    for smallest in (1e-45, 1e-44, 1e-38, 1e-30):
        row = torch.tensor([[0.0, smallest] * 40])
        for dtype in ("int8", "int4"):
            found = rounded("w", row, dtype)
            assert float(encode({"w": row}, dtype)["w.scale"]) > 0 and bool((found.abs() <= 2 * row).all())
            assert torch.allclose(found, row, rtol=0.01, atol=1e-37)


def test_two_values_share_a_byte_the_first_in_the_low_half() -> None:
    levels = torch.tensor([[7.0, -7.0, 0.0]])
    stored = encode({"w": levels}, "int4", scales={"w.scale": torch.ones(1, 1)})
    assert stored["w"].dtype == torch.uint8 and stored["w"].tolist() == [[0x1F, 0x08]]
    every = torch.arange(-7, 8.0).repeat(2, 5)  # rows of 75
    stored = encode({"w": every}, "int4", scales={"w.scale": torch.ones(2, 1)})
    assert stored["w"].shape == (2, 38) and stored["w"][:, -1].tolist() == [15, 15]
    assert torch.equal(restored(stored, {"w": every})["w"], every)


@pytest.mark.parametrize("dtype", ["int8", "int4"])
@pytest.mark.parametrize("size", SIZES.values(), ids=str)
def test_values_that_were_stored_come_back_to_the_bit(size: tuple[int, ...], dtype: str) -> None:
    tensors = {"w": values(size), "bias": values(size)}
    stored = encode(tensors, dtype)
    found = restored(stored, tensors)
    again = encode(found, dtype, scales=stored)
    assert stored.keys() == again.keys() and all(torch.equal(stored[name], again[name]) for name in stored)
    assert all(torch.equal(value, found[name]) for name, value in restored(again, tensors).items())
    if size[0] == 5:
        assert not found["w"][3].any()


@pytest.mark.parametrize("dtype", STORED_AS)
def test_rounded_is_what_comes_back(dtype: str) -> None:
    tensors = {f"{size}{end}": values(size) for size in SIZES.values() for end in ("", ".weight", ".bias", "_bias")}
    tensors |= {"biases.0": values((5, 4)), "scale": values((5, 4, 4, 4))}
    found = restored(encode(tensors, dtype), tensors)
    for name, value in tensors.items():
        before = value.clone()
        assert torch.equal(rounded(name, value, dtype), found[name]), name
        exact = dtype == "float32" or (dtype != "float16" and name.endswith("bias"))
        assert torch.equal(found[name], value) == (exact or not value.any()), name
        assert torch.equal(value, before)
    learned = values((5, 3, 5, 5)).requires_grad_()
    assert not rounded("w", learned, dtype).requires_grad


@pytest.mark.parametrize("dtype", STORED_AS)
def test_the_layout_is_that_of_the_file(dtype: str) -> None:
    tensors = {name + end: values(size) for name, size in SIZES.items() for end in ("", " bias")}
    wanted = layout({name: tuple(value.shape) for name, value in tensors.items()}, dtype)
    assert {name: (value.dtype, tuple(value.shape)) for name, value in encode(tensors, dtype).items()} == wanted
