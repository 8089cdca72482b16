"""Real images at a number of bytes: never more than allowed, classes in turn, headers not counted."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from hmn.data.load import load_data
from hmn.data.real import RealData
from hmn.data.source import measure
from hmn.errors import UserError
from hmn.measure.codec import WEBP_HEADER_BYTES, class_turns, coded_bytes, encode_image, images_in_bytes


@pytest.fixture(scope="module")
def photos() -> RealData:
    """Smooth colour images, which codecs are made for."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(60, 3, 4, 4, generator=generator)
    pixels = torch.nn.functional.interpolate(coarse, size=32, mode="bilinear").mul(255).round().to(torch.uint8)
    labels = torch.arange(60) % 4
    return RealData(
        pixels=pixels,
        labels=labels,
        class_names=("a", "b", "c", "d"),
        normalisation=measure(pixels),
        name="photos",
    )


@pytest.mark.parametrize("format", ["webp", "jpeg", "avif"])
@pytest.mark.parametrize("num_bytes", [1500, 3000])
def test_bytes_are_kept_to_and_used_up(photos: RealData, format, num_bytes: int) -> None:
    chosen, facts = images_in_bytes(photos, num_bytes, format=format)
    assert facts.num_bytes <= num_bytes
    assert facts.images == len(chosen) < len(photos)
    counts = chosen.labels.bincount(minlength=4)
    assert counts.max() - counts.min() <= 1
    largest = max(encode_image(image, format, facts.quality)[0] for image in photos.pixels)
    assert facts.num_bytes > num_bytes - largest, "another image would have fitted"


def test_size_is_that_of_the_file_less_its_header(photos: RealData) -> None:
    stream = io.BytesIO()
    Image.fromarray(photos.pixels[0].permute(1, 2, 0).numpy()).save(stream, "WEBP", quality=20, method=6)
    size, back = encode_image(photos.pixels[0], "webp", 20)
    assert size == len(stream.getvalue()) - WEBP_HEADER_BYTES
    expected = np.array(Image.open(stream).convert("RGB"))
    assert torch.equal(back, torch.from_numpy(expected).permute(2, 0, 1))


def test_jpeg_scan_alone_is_counted(photos: RealData) -> None:
    stream = io.BytesIO()
    Image.fromarray(photos.pixels[0].permute(1, 2, 0).numpy()).save(stream, "JPEG", quality=20)
    size, _ = encode_image(photos.pixels[0], "jpeg", 20)
    content = stream.getvalue()
    assert content.endswith(b"\xff\xd9")
    # SOS of three components: length 12, then the scan, then the end marker.
    assert size == len(content) - content.index(b"\xff\xda") - 14 - 2


def files(photos: RealData, format: str, side: int = 32) -> list[bytes]:
    found = []
    for image in photos.pixels[:12]:
        stream = io.BytesIO()
        picture = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((side, side), Image.Resampling.LANCZOS)
        picture.save(stream, format.upper(), quality=30, **({"method": 6} if format == "webp" else {}))
        found.append(stream.getvalue())
    return found


LENGTHS = {"webp": 8, "jpeg": 0, "avif": 12}
"""Bytes of a file in which it says how long it and its parts are, at most; of sizes below 2^16, half are zero."""


@pytest.mark.parametrize("side", [32, 20])
@pytest.mark.parametrize("format", ["webp", "jpeg", "avif"])
def test_what_is_not_counted_is_the_same_for_all_images(photos: RealData, format: str, side: int) -> None:
    found = files(photos, format, side)
    counted = [coded_bytes(content, format) for content in found]
    assert all(0 < size < len(content) for size, content in zip(counted, found, strict=True))
    # The file ends with the coded picture; JPEG has its end marker after it.
    end = 2 if format == "jpeg" else 0
    heads = [content[: len(content) - end - size] for size, content in zip(counted, found, strict=True)]
    shortest = min(map(len, heads))
    assert max(map(len, heads)) - shortest <= (1 if format == "avif" else 0), "AVIF's lengths take one byte or two"
    heads = [head for head in heads if len(head) == shortest]
    assert len(heads) > 1
    differing = sum(len({head[place] for head in heads}) > 1 for place in range(shortest))
    assert differing <= LENGTHS[format]
    assert len({content[len(head) :] for content, head in zip(found, heads, strict=False)}) > 1


@pytest.mark.parametrize("format", ["webp", "jpeg", "avif"])
def test_shrunken_images_take_less_and_come_back_enlarged(photos: RealData, format: str) -> None:
    image = photos.pixels[0]
    sizes = [encode_image(image, format, 30, side) for side in (32, 20, 8)]
    assert sizes[0][0] > sizes[1][0] > sizes[2][0]
    assert torch.equal(sizes[0][1], encode_image(image, format, 30)[1])
    for _, back in sizes:
        assert back.shape == image.shape and back.dtype == torch.uint8
        assert (back.float() - image.float()).abs().mean() < 30
    wide = torch.cat((image, image), dim=2)
    size, back = encode_image(wide, format, 30, 20)
    assert back.shape == wide.shape and sizes[1][0] < size < 3 * sizes[1][0]
    _, facts = images_in_bytes(photos, 1500, format=format, quality=30, side=20)  # type: ignore[arg-type]
    assert facts.side == 20 and facts.images > images_in_bytes(photos, 1500, format=format, quality=30)[1].images  # type: ignore[arg-type]


def test_a_given_order_is_followed(photos: RealData) -> None:
    order = torch.arange(59, -1, -1)
    chosen, facts = images_in_bytes(photos, 1500, quality=20, order=order)
    assert chosen.labels.tolist() == photos.labels[order[: facts.images]].tolist()
    assert torch.equal(chosen.pixels[0], encode_image(photos.pixels[59], "webp", 20)[1])


def test_quality_rises_where_everything_fits(photos: RealData) -> None:
    chosen, facts = images_in_bytes(photos, 10**7)
    assert len(chosen) == len(photos) and facts.quality == 95


def test_given_quality_stays(photos: RealData) -> None:
    assert images_in_bytes(photos, 10**7, quality=20)[1].quality == 20


@pytest.mark.parametrize("format", ["webp", "jpeg", "avif"])
def test_grey_images_stay_grey(format) -> None:
    digits = load_data("digits").train
    chosen, _ = images_in_bytes(digits, 5000, format=format)
    assert chosen.image_shape == (1, 8, 8)


def test_classes_take_turns() -> None:
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 2])
    order = class_turns(labels, seed=1)
    assert sorted(order.tolist()) == list(range(9))
    assert set(labels[order[:3]].tolist()) == {0, 1, 2}
    assert sorted(labels[order[3:5]].tolist()) == [0, 1]
    assert torch.equal(order, class_turns(labels, seed=1))


def test_mistakes(photos: RealData) -> None:
    with pytest.raises(UserError, match="fewer than the 4 classes"):
        images_in_bytes(photos, 100)
    with pytest.raises(UserError, match="expected 1 to 100"):
        images_in_bytes(photos, 10**5, quality=0)
    with pytest.raises(UserError, match="codec side 33: expected 1 to 32"):
        images_in_bytes(photos, 10**5, side=33)
    with pytest.raises(UserError, match="codec gif: expected webp, jpeg, avif"):
        images_in_bytes(photos, 10**5, format="gif")  # type: ignore[arg-type]
