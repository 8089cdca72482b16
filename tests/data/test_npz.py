from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from hmn.data.load import load_data
from hmn.data.options import DataOptions
from hmn.errors import UserError

RGB = np.random.default_rng(0).integers(0, 256, (20, 3, 6, 5), dtype=np.uint8)
LABELS = np.arange(20) % 4


def saved(tmp_path: Path, **arrays: object) -> str:
    np.savez_compressed(tmp_path / "d.npz", **arrays)  # type: ignore[arg-type]
    return str(tmp_path / "d.npz")


@pytest.mark.parametrize("names", ["images labels", "x y", "X Y", "data target", "arr_0 arr_1"])
def test_one_set_is_split_by_seed(tmp_path: Path, names: str) -> None:
    images, labels = names.split()
    splits = load_data(saved(tmp_path, **{images: RGB, labels: LABELS}))
    assert splits.train.labels.bincount().tolist() == [4] * 4 and splits.test.labels.bincount().tolist() == [1] * 4
    assert splits.train.image_shape == (3, 6, 5) and splits.name == "d"


@pytest.mark.parametrize(
    "names",
    [
        "x_train y_train x_test y_test",
        "train_images train_labels test_images test_labels",
        "X_train Y_train X_val Y_val",
    ],
)
def test_splits_are_found_by_name(tmp_path: Path, names: str) -> None:
    a, b, c, d = names.split()
    splits = load_data(saved(tmp_path, **{a: RGB, b: LABELS[:, None], c: RGB[:7], d: LABELS[:7]}))
    assert splits.train.pixels.numpy().tolist() == RGB.tolist() and splits.test.labels.tolist() == [
        0,
        1,
        2,
        3,
        0,
        1,
        2,
    ]


def split(images: np.ndarray) -> dict[str, np.ndarray]:
    return {"x_train": images, "y_train": LABELS, "x_test": images, "y_test": LABELS}


def test_layouts_and_types_give_the_same_pixels(tmp_path: Path) -> None:
    nhwc = RGB.transpose(0, 2, 3, 1)
    for images in (nhwc, RGB.astype(np.int64), RGB / 255, (nhwc / 255).astype(np.float32)):
        assert np.array_equal(load_data(saved(tmp_path, **split(images))).train.pixels.numpy(), RGB)
    grey = load_data(saved(tmp_path, **split(RGB[:, 0])))
    assert np.array_equal(grey.train.pixels.numpy(), RGB[:, :1])


def test_class_names_and_text_labels(tmp_path: Path) -> None:
    named = load_data(saved(tmp_path, images=RGB, labels=LABELS, class_names=np.array(["a", "b", "c", "d"])))
    assert named.train.class_names == ("a", "b", "c", "d")
    text = load_data(saved(tmp_path, images=RGB, labels=np.array(["z", "y", "x", "w"])[LABELS]))
    assert text.train.class_names == ("w", "x", "y", "z")


def with_nan(kind: float) -> np.ndarray:
    images = RGB / 255
    images[7, 1, 2, 3] = kind
    return images


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": with_nan(np.nan), "labels": LABELS}, "array images has NaN or infinity in image 7"),
        ({"images": with_nan(np.inf), "labels": LABELS}, "array images has NaN or infinity in image 7"),
        (
            {"images": RGB / 128, "labels": LABELS},
            r"array images spans 0..1.99\d*: expected float64 values in 0..1",
        ),
        (
            {"images": RGB.astype(int) - 9, "labels": LABELS},
            "array images spans -9..246: expected int64 values in 0..255",
        ),
        ({"images": RGB, "labels": LABELS[:9]}, "20 images in images, but 9 labels in labels"),
        ({"images": RGB, "labels": LABELS - 1}, "array labels: label -1 of row 0 is outside 0..2"),
        ({"images": RGB, "labels": LABELS * 9}, "label 27 of row 3, with 20 images: expected 0..k-1"),
        ({"images": RGB, "labels": LABELS + 1}, r"class '0' \(label 0\) has no training images"),
        ({"images": RGB, "labels": LABELS, "class_names": ["a", "b"]}, "label 2 of row 2 is outside 0..1"),
        (
            {"images": RGB, "labels": LABELS / 2},
            r"array labels is float64 \[20\]: expected integer or text labels",
        ),
        ({"images": RGB[:, :2], "labels": LABELS}, r"shape \[20, 2, 6, 5\]: no axis of 1 or 3 channels"),
        (
            {"images": RGB[..., :3], "labels": LABELS},
            r"shape \[20, 3, 6, 3\]: either axis could be the channels",
        ),
        ({"images": RGB.reshape(20, -1), "labels": LABELS}, r"shape \[20, 90\]: expected \[n, h, w\]"),
        ({"images": RGB}, "holds images: expected arrays images and labels"),
        ({"images": np.array([{}] * 20), "labels": LABELS}, "not a readable .npz archive: it holds Python objects"),
        ({"images": RGB[:0], "labels": LABELS[:0]}, "array labels: no images"),
        ({"images": RGB, "labels": np.array([0, 1, 5, 0] * 5)}, r"class '2' \(label 2\) has no training images"),
        ({"images": np.uint8(3), "labels": LABELS}, "array images is a single value: expected images"),
        ({"images": RGB, "labels": np.int64(3)}, r"array labels is int64 \[\]: expected integer or text labels"),
        ({"images": RGB[:, :, :0], "labels": LABELS}, r"shape \[20, 3, 0, 5\]: the images have no pixels"),
        (
            {"images": RGB, "labels": LABELS, "class_names": np.array("abcd")},
            r"array class_names is <U4 \[\]: expected one name a class",
        ),
    ],
)
def test_bad_archives_are_one_line_that_names_the_file(
    tmp_path: Path, arrays: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_data(saved(tmp_path, **arrays))
    assert str(caught.value).startswith(str(tmp_path / "d.npz")) and "\n" not in str(caught.value)


def test_skip_bad_leaves_bad_rows_out(tmp_path: Path) -> None:
    labels = LABELS.copy()
    labels[0] = -1
    names = np.array(["a", "b", "c", "d"])
    splits = load_data(
        saved(tmp_path, images=with_nan(np.nan), labels=labels, class_names=names), DataOptions(skip_bad=True)
    )
    assert splits.skipped == 2 and len(splits.train) + len(splits.test) == 18


@pytest.mark.parametrize("bad", [-1, 2, 999])
def test_skip_bad_leaves_out_bad_labels_and_classes_too_small(tmp_path: Path, bad: int) -> None:
    labels = np.array([0] * 9 + [1] * 9 + [3] + [bad])  # 3 has one image; 2 as a label is alone too
    with pytest.raises(UserError, match="label -1 of row 19|class '2'|label 999 of row 19"):
        load_data(saved(tmp_path, images=RGB, labels=labels))
    splits = load_data(saved(tmp_path, images=RGB, labels=labels), DataOptions(skip_bad=True))
    assert splits.skipped == 2 and splits.train.class_names == ("0", "1")
    assert len(splits.train) + len(splits.test) == 18


def test_bytes_are_names(tmp_path: Path) -> None:
    named = load_data(saved(tmp_path, images=RGB, labels=LABELS, class_names=np.array([b"a", b"b", b"c", b"\xff"])))
    assert named.train.class_names == ("a", "b", "c", "\ufffd")
    assert load_data(saved(tmp_path, images=RGB, labels=np.array([b"x", b"y"] * 10))).train.class_names == ("x", "y")


def header_promising(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return stream.getvalue() + b"\0" * 64


def test_foreign_archives_are_one_line_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    with path.open("wb") as stream:
        np.save(stream, RGB)
    cases = [(path.read_bytes(), "a single array, not an .npz archive")]
    cases.append((header_promising((2**46,)), "not a readable .npz archive"))
    for shape in ((2**46,), (2**62, 2**62), (2**40, 3, 32, 32)):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("images.npy", header_promising(shape))
        cases.append((path.read_bytes(), "not enough memory for|not a readable .npz archive"))
    np.savez(path, images=RGB, labels=LABELS)
    encrypted = bytearray(path.read_bytes())
    for start, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):  # the flag in the local and in the central headers
        position = encrypted.find(start)
        while position >= 0:
            encrypted[position + offset] |= 1
            position = encrypted.find(start, position + 1)
    cases.append((bytes(encrypted), "not a readable .npz archive: .*encrypted"))
    for content, message in cases:
        path.write_bytes(content)
        with pytest.raises(UserError, match=message) as caught:
            load_data(str(path))
        assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_members_that_are_no_arrays_are_passed_over(tmp_path: Path) -> None:
    path = Path(saved(tmp_path, x=RGB, y=LABELS))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("images", "hello")
        archive.writestr("labels", "hello")
    assert load_data(str(path)).train.num_classes == 4


def test_truncated_and_foreign_files(tmp_path: Path) -> None:
    path = Path(saved(tmp_path, images=RGB, labels=LABELS))
    whole = path.read_bytes()
    for damaged in (whole[:-40], whole[:200], b"", b"hello", whole[:300] + b"\0" * 200 + whole[500:]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="d.npz: not a readable .npz archive") as caught:
            load_data(str(path))
        assert "\n" not in str(caught.value)


def test_size_and_channels(tmp_path: Path) -> None:
    splits = load_data(saved(tmp_path, images=RGB, labels=LABELS), DataOptions(size=4, channels=1))
    assert splits.train.image_shape == (1, 4, 4)
