from __future__ import annotations

import gzip
import hashlib
import pickle
import struct
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest

from hmn.data.load import load_data
from hmn.data.options import DataOptions
from hmn.errors import UserError

pytest.importorskip("torchvision")
RNG = np.random.default_rng(0)


def write_idx(path: Path, array: np.ndarray) -> None:
    """MNIST's own format: magic, sizes, bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim) + b"".join(struct.pack(">I", n) for n in array.shape)
    path.write_bytes(header + array.tobytes())


def write_mnist(root: Path, folder: str = "MNIST") -> np.ndarray:
    images = RNG.integers(0, 256, (30, 28, 28), dtype=np.uint8)
    for stem, count in (("train", 30), ("t10k", 10)):
        write_idx(root / folder / "raw" / f"{stem}-images-idx3-ubyte", images[:count])
        write_idx(root / folder / "raw" / f"{stem}-labels-idx1-ubyte", (np.arange(count) % 10).astype(np.uint8))
    return images


def write_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    from torchvision.datasets import CIFAR10

    images = RNG.integers(0, 256, (20, 3, 32, 32), dtype=np.uint8)
    batch = {"data": images.reshape(20, -1), "labels": [i % 10 for i in range(20)]}
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)

    def put(name: str, content: object) -> str:
        (folder / name).write_bytes(pickle.dumps(content))
        return hashlib.md5((folder / name).read_bytes()).hexdigest()

    monkeypatch.setattr(CIFAR10, "train_list", [["data_batch_1", put("data_batch_1", batch)]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", put("test_batch", batch)]])
    names = ["airplane", *(f"class {i}" for i in range(1, 10))]
    told = put("batches.meta", {"label_names": names})
    monkeypatch.setattr(CIFAR10, "meta", {"filename": "batches.meta", "key": "label_names", "md5": told})
    return images


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
@pytest.mark.parametrize("below", ["", "own"])
def test_mnist_files(tmp_path: Path, name: str, folder: str, below: str) -> None:
    images = write_mnist(tmp_path / (name if below else ""), folder)
    splits = load_data(name, DataOptions(data_dir=tmp_path))
    assert np.array_equal(splits.train.pixels[:, 0].numpy(), images) and len(splits.test) == 10
    assert splits.train.normalisation.mean == ((0.1307,) if name == "mnist" else (0.2860,))
    assert splits.train.class_names[0] == ("0" if name == "mnist" else "T-shirt/top")
    assert load_data(name, DataOptions(data_dir=tmp_path, size=32, channels=3)).train.image_shape == (3, 32, 32)


def test_cifar10_files_and_a_damaged_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = write_cifar10(tmp_path, monkeypatch)
    splits = load_data("cifar10", DataOptions(data_dir=tmp_path))
    assert np.array_equal(splits.train.pixels.numpy(), images)
    assert splits.train.class_names[0] == "airplane"
    path = tmp_path / "cifar-10-batches-py" / "test_batch"
    path.write_bytes(path.read_bytes()[:-5])
    told = "cannot read cifar10: Dataset not found or corrupted: pass --download to fetch it again$"
    with pytest.raises(UserError, match=told) as caught:
        load_data("cifar10", DataOptions(data_dir=tmp_path))
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_truncated_mnist_file(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    path = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-500])
    for download, end in ((False, "--download to fetch it again"), (True, "--download again")):
        with pytest.raises(UserError, match=f"cannot read mnist: .*: delete .*/MNIST/raw and pass {end}$"):
            load_data("mnist", DataOptions(data_dir=tmp_path, download=download))


def test_svhn_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loadmat = pytest.importorskip("scipy.io")
    from torchvision.datasets import SVHN

    images = RNG.integers(0, 256, (32, 32, 3, 20), dtype=np.uint8)
    split_list = {}
    for split in ("train", "test"):
        path = tmp_path / f"{split}_32x32.mat"
        loadmat.savemat(path, {"X": images, "y": (np.arange(20) % 10 + 1).astype(np.uint8)[:, None]})
        split_list[split] = ["", path.name, hashlib.md5(path.read_bytes()).hexdigest()]
    monkeypatch.setattr(SVHN, "split_list", split_list)
    splits = load_data("svhn", DataOptions(data_dir=tmp_path))
    assert splits.train.labels[:3].tolist() == [1, 2, 3] and splits.train.labels[9] == 0  # 10 means 0
    assert np.array_equal(splits.train.pixels.numpy(), images.transpose(3, 2, 0, 1))


def test_download_happens_only_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import MNIST

    asked: list[str] = []

    def fetch(self: MNIST) -> None:
        asked.append(str(self.root))
        write_mnist(Path(self.root))

    monkeypatch.setattr(MNIST, "download", fetch)
    with pytest.raises(UserError, match=r"mnist: not found in .*: pass --download to fetch it, or pass --data-dir"):
        load_data("mnist", DataOptions(data_dir=tmp_path / "d"))
    assert not asked and not (tmp_path / "d").exists()
    assert len(load_data("mnist", DataOptions(data_dir=tmp_path / "d", download=True)).train) == 30
    assert asked[0] == str(tmp_path / "d")


def test_a_failed_download_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import MNIST

    def fail(self: MNIST) -> None:
        raise OSError("no route\nto host")

    monkeypatch.setattr(MNIST, "download", fail)
    with pytest.raises(UserError, match="cannot download mnist: no route to host"):
        load_data("mnist", DataOptions(data_dir=tmp_path, download=True))


def test_after_a_failed_download_another_is_possible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision.datasets.mnist as mnist

    def refused(*_: object, **__: object) -> None:
        raise URLError("connection refused")

    monkeypatch.setattr(mnist, "download_and_extract_archive", refused)
    with pytest.raises(UserError, match="cannot download mnist: Error downloading train-images") as caught:
        load_data("mnist", DataOptions(data_dir=tmp_path, download=True))
    assert "\n" not in str(caught.value)
    assert (tmp_path / "MNIST" / "raw").is_dir() and not list((tmp_path / "MNIST" / "raw").iterdir())
    with pytest.raises(UserError, match="cannot read mnist: Dataset not found: pass --download to fetch it again$"):
        load_data("mnist", DataOptions(data_dir=tmp_path))
    with pytest.raises(UserError, match="cannot download mnist: Error downloading.*connection refused>$"):
        load_data("mnist", DataOptions(data_dir=tmp_path, download=True))

    def fetched(url: str, *_: object, **__: object) -> None:
        write_mnist(tmp_path)

    monkeypatch.setattr(mnist, "download_and_extract_archive", fetched)
    assert len(load_data("mnist", DataOptions(data_dir=tmp_path, download=True)).train) == 30


def test_whole_files_are_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision.datasets.cifar as cifar

    def fetched(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(cifar, "download_and_extract_archive", fetched)
    write_cifar10(tmp_path, monkeypatch)
    assert len(load_data("cifar10", DataOptions(data_dir=tmp_path, download=True)).train) == 20


def test_svhn_without_scipy_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import SVHN

    (tmp_path / "train_32x32.mat").write_bytes(b"")
    monkeypatch.setattr(SVHN, "_check_integrity", lambda self: True)
    for name in ("scipy", "scipy.io"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(UserError, match=r"svhn: torchvision reads it with scipy.*: pip install 'hmn\[vision\]'$"):
        load_data("svhn", DataOptions(data_dir=tmp_path))


def test_without_torchvision_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "torchvision", None)
    with pytest.raises(UserError, match=r"pip install 'hmn\[vision\]'"):
        load_data("mnist", DataOptions(data_dir=tmp_path))


def test_gzip_beside_raw_is_of_no_account(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    with gzip.open(tmp_path / "MNIST" / "raw" / "x.gz", "wb") as stream:
        stream.write(b"")
    assert len(load_data("mnist", DataOptions(data_dir=tmp_path)).train) == 30
