from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hmn.data.decode import UnreadableImage, decode_image, fit_array


def encoded(picture: Image.Image, kind: str = "PNG", **how: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **how)
    return stream.getvalue()


def decode(data: bytes, *, size: int | None = None, channels: int | None = None) -> tuple[np.ndarray, bool]:
    return decode_image(data, "f.png", size=size, channels=channels)


NOISE = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def test_rgb_is_unchanged_and_channels_first() -> None:
    array, colour = decode(encoded(Image.fromarray(NOISE)))
    assert colour and array.dtype == np.uint8
    assert np.array_equal(array, NOISE.transpose(2, 0, 1))


def test_grey_is_repeated_or_kept() -> None:
    data = encoded(Image.fromarray(NOISE[:, :, 0]))
    array, colour = decode(data)
    assert not colour and np.array_equal(array, np.stack([NOISE[:, :, 0]] * 3))
    assert np.array_equal(decode(data, channels=1)[0][0], NOISE[:, :, 0])


def test_one_channel_of_rgb_is_the_luma() -> None:
    luma = NOISE @ np.array([0.299, 0.587, 0.114])
    array, _ = decode(encoded(Image.fromarray(NOISE)), channels=1)
    assert array.shape == (1, 6, 9)
    assert np.abs(array[0] - luma).max() <= 1


def test_alpha_is_composited_on_white() -> None:
    alpha = np.array([[0, 255, 128]], dtype=np.uint8)
    rgba = np.dstack([np.full((1, 3, 3), 10, dtype=np.uint8), alpha])
    array, colour = decode(encoded(Image.fromarray(rgba)))
    assert colour and array[0, 0, :2].tolist() == [255, 10]
    assert array[0, 0, 2] == pytest.approx(10 * 128 / 255 + 255 * 127 / 255, abs=1)
    grey_alpha = Image.merge("LA", [Image.new("L", (3, 1), 10), Image.fromarray(alpha)])
    array, colour = decode(encoded(grey_alpha))
    assert not colour and array[0, 0, :2].tolist() == [255, 10]


def test_palette_with_and_without_transparency() -> None:
    palette = Image.fromarray(np.array([[0, 1]], dtype=np.uint8)).convert("P")
    palette.putpalette([200, 0, 0, 0, 100, 0])
    array, colour = decode(encoded(palette))
    assert colour and array[:, 0].T.tolist() == [[200, 0, 0], [0, 100, 0]]
    array, _ = decode(encoded(palette, transparency=0))
    assert array[:, 0].T.tolist() == [[255, 255, 255], [0, 100, 0]]


def test_cmyk_becomes_rgb() -> None:
    picture = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # no cyan, full magenta and yellow: red
    array, colour = decode(encoded(picture, "JPEG", quality=100))
    assert colour and array.shape == (3, 8, 8)
    assert array[0].min() > 240 and array[1:].max() < 15


def test_sixteen_bits_are_divided_by_257() -> None:
    values = np.array([[0, 128, 129, 257, 32768, 65535]], dtype=np.uint16)
    array, colour = decode(encoded(Image.fromarray(values)), channels=1)
    assert not colour
    assert array[0, 0].tolist() == [round(v / 257) for v in values[0].tolist()] == [0, 0, 1, 1, 128, 255]
    tiff = encoded(Image.fromarray(values.astype(np.int32)), "TIFF")
    assert np.array_equal(decode(tiff, channels=1)[0], array)


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (Image.fromarray(np.ones((2, 2), dtype=np.float32)), "f.png: 32-bit float pixels"),
        (
            Image.fromarray(np.full((2, 2), 70000, dtype=np.int32)),
            "f.png: grey values 70000..70000: expected 16",
        ),
    ],
)
def test_values_without_eight_bit_meaning_are_refused(picture: Image.Image, message: str) -> None:
    with pytest.raises(UnreadableImage, match=message):
        decode(encoded(picture, "TIFF"))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_truncated_files_are_one_line_that_names_the_file(kind: str) -> None:
    whole = encoded(Image.fromarray(np.tile(NOISE, (20, 20, 1))), kind)
    decode(whole)
    for share in (0.02, 0.3, 0.6, 0.9):
        with pytest.raises(UnreadableImage) as caught:
            decode(whole[: int(share * len(whole))])
        assert str(caught.value).startswith("f.png: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(("data", "message"), [(b"", "the file is empty"), (b"hello", "is not an image")])
def test_foreign_bytes(data: bytes, message: str) -> None:
    with pytest.raises(UnreadableImage, match=message):
        decode(data)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(UnreadableImage, match="cannot read the file"):
            decode_image(path, str(path), size=None, channels=None)


def test_decompression_bombs_are_refused_at_pillows_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 53)
    with (
        pytest.raises(UnreadableImage, match="9 x 6 pixels is over Pillow's safety limit of 53"),
        pytest.warns(Image.DecompressionBombWarning),
    ):
        decode(encoded(Image.fromarray(NOISE)))


@pytest.mark.parametrize("shape", [(40, 64), (64, 40), (33, 70), (16, 16), (10, 12)])
def test_size_is_resize_of_the_short_side_and_centre_crop(shape: tuple[int, int]) -> None:
    """Against the usual order (resize first, crop after); equal up to rounding."""
    ramp = np.add.outer(np.linspace(0, 100, shape[0]), np.linspace(0, 150, shape[1])).astype(np.uint8)
    picture = Image.fromarray(ramp)
    size, short = 16, min(shape)
    long_side = int(size * max(shape) / short)
    width, height = (size, long_side) if shape[1] == short else (long_side, size)
    resized = picture.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - size) / 2), round((height - size) / 2)
    slow = np.asarray(resized.crop((left, top, left + size, top + size))).astype(int)
    array, _ = decode(encoded(picture), size=size, channels=1)
    assert array.shape == (1, size, size)
    assert np.abs(array[0] - slow).max() <= 8


def test_thin_images_do_not_explode() -> None:
    assert decode(encoded(Image.new("L", (20000, 1))), size=224)[0].shape == (3, 224, 224)


def test_fit_array_follows_the_same_rules_as_files() -> None:
    images = np.stack([NOISE, NOISE[::-1]]).transpose(0, 3, 1, 2)
    fitted = fit_array(images, size=4, channels=1)
    files = [decode(encoded(Image.fromarray(image)), size=4, channels=1)[0] for image in (NOISE, NOISE[::-1])]
    assert np.array_equal(fitted, np.stack(files))
    assert fit_array(images, size=None, channels=None) is images
    assert np.array_equal(fit_array(images[:, :1], size=None, channels=3)[:, 2], images[:, 0])
