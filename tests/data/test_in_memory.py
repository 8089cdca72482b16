from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from hmn.data.load import load_data
from hmn.data.options import DataOptions
from hmn.data.real import Splits
from hmn.errors import UserError

LABELS = np.arange(20) % 4
RGB = np.random.default_rng(0).integers(0, 256, (20, 6, 5, 3), dtype=np.uint8)
NAMES = ("ant", "bee", "cat", "dog")


class Pairs(torch.utils.data.Dataset[Any]):
    """A torch Dataset of what it is given."""

    def __init__(self, images: Any, labels: Any, classes: tuple[str, ...] | None = None) -> None:
        self.images, self.labels = images, labels
        if classes is not None:
            self.classes = classes

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.images[index], self.labels[index]


class ClassLabel:
    """The part of a Hub's feature that is read."""

    def __init__(self, names: list[str]) -> None:
        self.names = names


class Value:
    """A Hub's feature of plain values."""


FEATURE = type("Image", (), {})


class HubSet:
    """The interface of `datasets.Dataset` that is used: a length, rows by number, and features."""

    def __init__(self, images: Any, labels: Any, **features: Any) -> None:
        self.images, self.labels = images, labels
        self.features = features or {"img": FEATURE(), "label": ClassLabel(list(NAMES))}

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image, label = self.features
        return {image: self.images[index], label: self.labels[index]}


def pictures(images: np.ndarray = RGB) -> list[Image.Image]:
    return [Image.fromarray(image) for image in images]


def encoded(images: np.ndarray = RGB) -> list[bytes]:
    found = []
    for image in pictures(images):
        stream = io.BytesIO()
        image.save(stream, "PNG")
        found.append(stream.getvalue())
    return found


def same(found: Splits, expected: Splits) -> None:
    for part, model in ((found.train, expected.train), (found.test, expected.test)):
        assert part.pixels.equal(model.pixels) and part.labels.equal(model.labels)
        assert part.class_names == model.class_names and part.normalisation == model.normalisation
        assert part.fingerprint() == model.fingerprint()
    assert found.skipped == expected.skipped


@pytest.fixture
def npz(tmp_path: Path) -> Callable[..., Splits]:
    def read(options: DataOptions | None = None, **arrays: np.ndarray) -> Splits:
        np.savez(tmp_path / "x.npz", **arrays)
        return load_data(tmp_path / "x.npz", options)

    return read


def test_arrays_and_tensors_are_read_as_an_archive_of_them(npz: Callable[..., Splits]) -> None:
    expected = npz(images=RGB, labels=LABELS)
    nchw = RGB.transpose(0, 3, 1, 2)
    floats = torch.tensor(nchw).float() / 255
    for images in (RGB, nchw, torch.tensor(RGB), floats, floats.double().numpy()):
        same(load_data((images, torch.tensor(LABELS))), expected)
        same(load_data((images, LABELS.tolist())), expected)
    grey = load_data((RGB[..., 0], LABELS), name="grey")
    same(grey, npz(images=RGB[..., 0], labels=LABELS))
    assert grey.name == grey.train.name == "grey" and load_data((RGB, LABELS)).name == "data"
    options = DataOptions(size=4, channels=1, split_seed=3, test_share=0.4)
    same(load_data((RGB, LABELS), options), npz(options, images=RGB, labels=LABELS))


def test_a_test_part_and_names(npz: Callable[..., Splits]) -> None:
    expected = npz(x_train=RGB, y_train=LABELS, x_test=RGB[:7], y_test=LABELS[:7], class_names=np.array(NAMES))
    same(load_data((RGB, LABELS), test=(RGB[:7], LABELS[:7]), class_names=NAMES), expected)
    text = np.array(NAMES)[LABELS]
    same(load_data((RGB, text), test=(RGB[:7], text[:7])), expected)
    turned = load_data((RGB, text), test=(RGB[:7], text[:7]), class_names=NAMES[::-1])
    assert turned.train.class_names == NAMES[::-1] and turned.train.labels.equal(3 - expected.train.labels)
    pairs, tested = Pairs(pictures(), LABELS, NAMES), Pairs(pictures(RGB[:7]), LABELS[:7])
    same(load_data(pairs, test=tested), expected)
    same(load_data({"train": HubSet(pictures(), LABELS), "test": HubSet(pictures(RGB[:7]), LABELS[:7])}), expected)
    assert load_data(expected) is expected


def test_a_torch_dataset_is_read_as_class_folders(tmp_path: Path) -> None:
    order = np.argsort(LABELS, kind="stable")
    for number, index in enumerate(order):
        folder = tmp_path / "tree" / NAMES[LABELS[index]]
        folder.mkdir(parents=True, exist_ok=True)
        pictures()[index].save(folder / f"{number:02}.png")
    expected = load_data(tmp_path / "tree")
    images, labels = RGB[order], LABELS[order]
    same(load_data(Pairs(pictures(images), labels, NAMES)), expected)
    same(load_data(Pairs(images, torch.tensor(labels), NAMES)), expected)
    tensors = torch.tensor(images).permute(0, 3, 1, 2).float() / 255
    same(load_data(torch.utils.data.TensorDataset(tensors, torch.tensor(labels)), class_names=NAMES), expected)
    small = DataOptions(size=4)
    same(load_data(Pairs(pictures(images), labels, NAMES), small), load_data(tmp_path / "tree", small))


def test_a_hub_set_is_read_as_its_parquet(tmp_path: Path) -> None:
    features = {"img": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": list(NAMES)}}
    table = pa.table({"img": encoded(), "label": LABELS})
    told = f'{{"info": {{"features": {features}}}}}'.replace("'", '"')
    pq.write_table(table.replace_schema_metadata({"huggingface": told}), tmp_path / "x.parquet")
    expected = load_data(tmp_path / "x.parquet")
    assert expected.train.class_names == NAMES
    same(load_data(HubSet(pictures(), LABELS)), expected)
    same(load_data({"train": HubSet(pictures(), LABELS)}), expected)
    same(load_data(HubSet(RGB, LABELS)), expected)  # with_format("numpy")
    text = np.array(NAMES)[LABELS].tolist()
    same(load_data(HubSet(pictures(), text, image=FEATURE(), label=Value())), expected)
    same(load_data(HubSet(pictures(), text, a=FEATURE(), b=Value()), DataOptions(label_column="b")), expected)
    other = {"train": HubSet(pictures(), LABELS), "valid": HubSet(pictures(RGB[:8]), LABELS[:8])}
    assert len(load_data(other).test) == 8


def test_grey_pictures_stay_grey_and_bad_ones_are_counted() -> None:
    assert load_data(Pairs(pictures(RGB[..., 0]), LABELS)).train.image_shape == (1, 6, 5)
    labels: list[Any] = [None, *LABELS[1:].tolist()]
    with pytest.raises(UserError, match=r"data: train: label -1 of row 0 is outside 0..3"):
        load_data(Pairs(pictures(), labels))
    images: list[Image.Image] = pictures()
    images[1] = images[1].convert("F")
    with pytest.raises(UserError, match="data: train: image 1: 32-bit float pixels"):
        load_data(Pairs(images, labels))
    splits = load_data(Pairs(images, labels), DataOptions(skip_bad=True))
    assert splits.skipped == 2 and len(splits.train) + len(splits.test) == 18


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (3, r"data: train: got int: expected a name, a path, \(images, labels\), a torch Dataset"),
        (iter([]), "data: train: got list_iterator: expected a name"),
        ([], "data: train: no images: the data set is empty"),
        ([1, 2], r"data: train: item 0 is of type int: expected \(image, label\)"),
        ((RGB[..., :2], LABELS), r"data: array images has shape \[20, 6, 5, 2\]: no axis of 1 or 3 channels"),
        ((RGB, LABELS[:5]), "data: 20 images in images, but 5 labels in labels"),
        ((RGB, LABELS / 2), r"data: array labels is float64 \[20\]: expected integer or text labels"),
        ((RGB / 2, LABELS), "data: array images spans 0..127.5: expected float64 values in 0..1"),
        (Pairs([RGB[0], RGB[1, :3]], [0, 1]), r"data: train: image 1 is \[3, 5, 3\], image 0 \[6, 5, 3\]: expected eq"),
        (Pairs([*pictures()[:1], RGB[0]], [0, 1]), "data: train: image 1 is of type ndarray: expected a PIL image"),
        (Pairs(pictures(), LABELS / 2), r"data: train: labels are float64 \[20\]: expected integers or text"),
        (Pairs(pictures(), LABELS * 0), "data: found 1 class"),
        (HubSet(pictures(), LABELS, a=FEATURE(), b=Value()), "data: train: no label column; it has a, b: name it with"),
        ({"one": HubSet(RGB, LABELS), "two": HubSet(RGB, LABELS)}, "data: splits one, two: expected train, and test"),
        ({}, "data: splits none: expected train"),
    ],
)
def test_what_cannot_be_taken(source: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_data(source)


def test_what_goes_with_images_in_memory_alone() -> None:
    with pytest.raises(UserError, match="digits: test and class_names go with images in memory"):
        load_data("digits", class_names=NAMES)
    with pytest.raises(UserError, match="data: train: no column 'up': it has img, label"):
        load_data(HubSet(pictures(), LABELS), DataOptions(image_column="up"))


def test_the_hubs_own_library(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=list(NAMES))})
    whole = datasets.Dataset.from_dict({"img": pictures(), "label": LABELS.tolist()}, features=features)
    whole.to_parquet(tmp_path / "x.parquet")
    expected = load_data(tmp_path / "x.parquet")
    same(load_data(whole), expected)
    same(load_data(datasets.DatasetDict({"train": whole})), expected)
