"""CIFAR-10, CIFAR-100, SVHN, MNIST and Fashion-MNIST as torchvision stores them; downloads when asked."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hmn.data.decode import fit_array, to_nchw
from hmn.data.formats import Decoded, Labelled
from hmn.data.known_sizes import PUBLISHED
from hmn.data.options import DataOptions
from hmn.errors import UserError


class VisionSet(NamedTuple):
    """Where torchvision keeps a data set."""

    loader: str
    marker: str
    """A file or folder below the root by which the data set is recognised."""
    first_class: str
    """How the name of class 0 starts, to tell data sets of one shape apart; unnamed classes are 0, 1, 2, ..."""


VISION_SETS = {
    "cifar10": VisionSet("CIFAR10", "cifar-10-batches-py", "airplane"),
    "cifar100": VisionSet("CIFAR100", "cifar-100-python", "apple"),
    "svhn": VisionSet("SVHN", "train_32x32.mat", "0"),
    "mnist": VisionSet("MNIST", "MNIST/raw", "0"),
    "fashion-mnist": VisionSet("FashionMNIST", "FashionMNIST/raw", "t"),
}


def read_torchvision(name: str, root: Path, options: DataOptions) -> Decoded:
    """Read both splits of a torchvision data set from root; `download` first fetches what is absent or damaged. Raises
    UserError: torchvision is missing, or the files are absent, damaged (torchvision knows checksums) or cannot be
    downloaded.
    """
    try:
        from torchvision import datasets
    except ImportError:
        raise UserError(f"{name}: torchvision's files need torchvision: pip install 'hmn[vision]'") from None
    parts, class_names = [], tuple(map(str, range(PUBLISHED[name].num_classes)))
    for train in (True, False):
        which: dict[str, Any] = {"split": "train" if train else "test"} if name == "svhn" else {"train": train}
        try:
            root.mkdir(parents=True, exist_ok=True)
            loaded = getattr(datasets, VISION_SETS[name].loader)(str(root), download=options.download, **which)
        except ModuleNotFoundError as error:  # scipy, for SVHN's .mat files
            raise UserError(f"{name}: torchvision reads it with {error.name}: pip install 'hmn[vision]'") from None
        except Exception as error:  # torchvision lets through whatever the files make NumPy, zlib or urllib say
            raise failure(name, root, error, download=options.download) from None
        parts.append(to_labelled(loaded, options))
        if name in ("cifar10", "cifar100", "fashion-mnist"):
            class_names = tuple(loaded.classes)
    return Decoded(parts[0], parts[1], class_names, 0)


def failure(name: str, root: Path, error: Exception, *, download: bool) -> UserError:
    """What torchvision said, in one line, and what to do about it."""
    marker = VISION_SETS[name].marker
    reason = " ".join(str(error).split()) or type(error).__name__
    for advice in ("You can use download=True to download it", "."):  # words for its callers, not for ours
        reason = reason.removesuffix(advice).rstrip()
    files = [file for file in (root / marker).rglob("*") if file.is_file()]
    # MNIST's unpacked files carry no checksum: torchvision takes damaged ones for good, and fetches nothing.
    stuck = marker.endswith("/raw") and bool(files) and not reason.startswith(("Dataset not", "Error down"))
    delete = f"delete {root / marker} and " if stuck and not isinstance(error, OSError) else ""
    if not download:
        return UserError(f"{root}: cannot read {name}: {reason}: {delete}pass --download to fetch it again")
    if delete:
        return UserError(f"{root}: cannot read {name}: {reason}: {delete}pass --download again")
    return UserError(f"{root}: cannot download {name}: {reason}")


def to_labelled(loaded: Any, options: DataOptions) -> Labelled:
    """torchvision's arrays (CIFAR: NHWC, SVHN: NCHW, MNIST: NHW) as uint8 [n, c, h, w] and int64 labels."""
    pixels = np.ascontiguousarray(to_nchw(np.asarray(loaded.data), where=type(loaded).__name__))
    labels = np.asarray(loaded.labels if hasattr(loaded, "labels") else loaded.targets, dtype=np.int64)
    return Labelled(fit_array(pixels, size=options.size, channels=options.channels), labels)
