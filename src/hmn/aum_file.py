"""aum.npz: a profile beside what was profiled, with the checksum that ties it to that and to nothing else."""

from __future__ import annotations

import io
import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hmn.aum import MARGINS, Profile
from hmn.errors import UserError
from hmn.runtime import write_atomically

AUM_FILE = "aum.npz"
"""In a folder; one of the files that go when a run begins anew (hmn.run_folder)."""
FORMAT = "hmn-aum-1"
MAX_FILE_BYTES = 2**30


def save_profile(profile: Profile, place: Path) -> Path:
    """Write a profile, whole or not at all, into an existing folder as aum.npz, or to a file; returns its path."""
    path = place / AUM_FILE if place.is_dir() else place
    facts = {
        "format": FORMAT, "margin": profile.margin, "epochs": profile.epochs, "net": profile.net,
        "width": profile.width, "seeds": list(profile.seeds), "source": profile.source, "sha256": profile.sha256,
        "class_names": list(profile.class_names),
    }  # fmt: skip
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, aum=profile.aum.numpy(), labels=profile.labels.numpy(), facts=np.array(json.dumps(facts))
    )
    write_atomically(path, buffer.getvalue())
    return path


def load_profile(place: Path, *, sha256: str | None) -> Profile:
    """The profile in a folder, or in a file.

    Args:
        place: a folder that holds aum.npz, or the file.
        sha256: of the images that it is to be used for (`ArtifactInfo.checksum` for a container); None compares
            nothing.

    Raises:
        UserError: nothing there, damaged, or the profile of something else.
    """
    path = place / AUM_FILE if place.is_dir() else place
    if not path.is_file():
        raise UserError(f"{path}: no such file; write it with: hmn profile {place if place.is_dir() else 'TARGET'}")
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ValueError(f"{path.stat().st_size:,} bytes, more than the limit of {MAX_FILE_BYTES:,}")
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            aum, labels, facts = arrays["aum"], arrays["labels"], json.loads(str(arrays["facts"][()]))
        found = _profile(aum, labels, facts)
    # zlib.error is no OSError; numpy raises several kinds for a bad header.
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        raise _damaged(path, error) from None
    except Exception as error:
        if type(error).__module__ == "zlib":
            raise _damaged(path, error) from None
        raise
    if sha256 is not None and found.sha256 != sha256:
        raise UserError(
            f"{path}: the AUM of other images (SHA-256 {found.sha256[:12]}..., these are {sha256[:12]}...): "
            "profile these with hmn profile."
        )
    return found


def _profile(aum: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], facts: Any) -> Profile:
    """The arrays and facts of a file, checked; raises what Python does."""
    if not isinstance(facts, dict) or facts["format"] != FORMAT:
        raise ValueError(f"expected format {FORMAT}")
    if aum.dtype != np.float64 or aum.ndim != 1 or labels.dtype != np.int64 or labels.shape != aum.shape:
        raise ValueError(f"aum is {aum.dtype} {aum.shape}, labels are {labels.dtype} {labels.shape}")
    names, seeds, width = facts["class_names"], facts["seeds"], facts["width"]
    sound = (
        bool(np.isfinite(aum).all())
        and isinstance(names, list)
        and all(isinstance(name, str) for name in names)
        and (not len(labels) or 0 <= int(labels.min()) <= int(labels.max()) < len(names))
        and isinstance(seeds, list)
        and all(type(seed) is int for seed in seeds)
        and (width is None or type(width) is int)
        and type(facts["epochs"]) is int
        and 0 < facts["epochs"] < math.inf
        and facts["margin"] in MARGINS
        and all(isinstance(facts[name], str) for name in ("net", "source", "sha256"))
    )
    if not sound:
        raise ValueError("a value is not as expected")
    return Profile(
        aum=torch.from_numpy(aum.copy()), labels=torch.from_numpy(labels.copy()), margin=facts["margin"],
        epochs=facts["epochs"], net=facts["net"], width=width, seeds=tuple(seeds), source=facts["source"],
        sha256=facts["sha256"], class_names=tuple(names),
    )  # fmt: skip


def _damaged(path: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return UserError(f"{path}: not a profile, or damaged ({reason}): write it again with hmn profile.")
