from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

import hmn.data.bulk as bulk
from hmn.data.bulk import Bar, Item, decode_all
from hmn.data.options import DataOptions
from hmn.errors import UserError
from tests.data.pictures import picture


def items(count: int, *, side: int = 8, mode: str = "RGB", bad: tuple[int, ...] = ()) -> list[Item]:
    made = []
    for i in range(count):
        stream = io.BytesIO()
        picture(i, side=side, mode=mode).save(stream, "PNG")
        made.append(Item(f"item {i}", b"junk" if i in bad else stream.getvalue()))
    return made


def test_order_is_kept_over_many_chunks() -> None:
    result = decode_all(items(300), 300, DataOptions(), title="t")
    slow = np.stack([np.asarray(picture(i)).transpose(2, 0, 1) for i in range(300)])
    assert np.array_equal(result.pixels, slow) and result.kept.tolist() == list(range(300))


def test_all_grey_stays_one_channel_and_one_colour_image_makes_three() -> None:
    grey = items(200, mode="L")
    assert decode_all(grey, 200, DataOptions(), title="t").pixels.shape == (200, 1, 8, 8)
    assert decode_all(grey, 200, DataOptions(channels=3), title="t").pixels.shape == (200, 3, 8, 8)
    mixed = grey[:199] + items(1)
    assert decode_all(mixed, 200, DataOptions(), title="t").pixels.shape == (200, 3, 8, 8)


def test_the_first_bad_image_is_told_or_all_are_skipped() -> None:
    broken = items(300, bad=(0, 1, 130, 131, 299))
    with pytest.raises(UserError, match="^item 0: the file is not an image"):
        decode_all(broken, 300, DataOptions(), title="t")
    with pytest.raises(UserError, match="^item 130: "):
        decode_all(items(300, bad=(130, 131, 299)), 300, DataOptions(), title="t")
    result = decode_all(broken, 300, DataOptions(skip_bad=True), title="t")
    assert len(result.pixels) == 295
    assert sorted(set(range(300)) - set(result.kept.tolist())) == [0, 1, 130, 131, 299]
    assert np.array_equal(result.pixels[-1], np.asarray(picture(298)).transpose(2, 0, 1))


def test_nothing_readable() -> None:
    with pytest.raises(UserError, match="^t: no image could be read"):
        decode_all(items(3, bad=(0, 1, 2)), 3, DataOptions(skip_bad=True), title="t")


def test_mixed_sizes_are_refused_even_with_skip_bad_unless_a_size_is_given() -> None:
    mixed = items(5) + items(1, side=9)
    for skip_bad in (False, True):
        with pytest.raises(UserError, match="item 0 is 9 x 9, not 8 x 8 like item 0: pass --size"):
            decode_all(mixed, 6, DataOptions(skip_bad=skip_bad), title="t")
    assert decode_all(mixed, 6, DataOptions(size=4), title="t").pixels.shape == (6, 3, 4, 4)


def test_images_over_pillows_limit_are_errors_not_warnings(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    from PIL import Image

    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 70)
    with pytest.raises(UserError, match="^item 0: .*9 x 9|^item 0: Image size"):
        decode_all(items(1, side=9), 1, DataOptions(), title="t")
    assert not len(recwarn)


def test_a_file_is_read_by_path(tmp_path: Path) -> None:
    picture(5).save(tmp_path / "a.png")
    result = decode_all([Item("a", tmp_path / "a.png")], 1, DataOptions(), title="t")
    assert np.array_equal(result.pixels[0], np.asarray(picture(5)).transpose(2, 0, 1))


def test_bar_shows_only_when_wanted_and_only_on_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bulk, "SECONDS_BEFORE_BAR", 0.0)
    decode_all(items(200), 200, DataOptions(), title="quiet")
    assert capsys.readouterr() == ("", "")
    with Bar("loud", 10, True) as bar:
        bar.advance(20)
        assert bar.bar is not None and bar.done == 10
    out, err = capsys.readouterr()
    assert out == "" and "decoding loud" in err
