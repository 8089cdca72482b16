"""Real images at a number of bytes: never more than allowed, classes in turn, headers not counted."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from hmn.codec import WEBP_HEADER_BYTES, class_turns, encode_image, images_in_bytes
from hmn.data import RealData, load_data, measure
from hmn.errors import UserError


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


@pytest.mark.parametrize("format", ["webp", "jpeg"])
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


def test_quality_rises_where_everything_fits(photos: RealData) -> None:
    chosen, facts = images_in_bytes(photos, 10**7)
    assert len(chosen) == len(photos) and facts.quality == 95


def test_given_quality_stays(photos: RealData) -> None:
    assert images_in_bytes(photos, 10**7, quality=20)[1].quality == 20


def test_grey_images_stay_grey() -> None:
    digits = load_data("digits").train
    chosen, _ = images_in_bytes(digits, 5000)
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
