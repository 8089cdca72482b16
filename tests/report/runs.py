"""A stored container with everything that a report shows, made in a moment: nothing in it is trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from hmn.containers.artifact.load import info
from hmn.containers.artifact.save import save
from hmn.containers.hmn import Hmn
from hmn.containers.hmn_sizes import HmnShape, preset
from hmn.data.source import Normalisation
from hmn.pruning.aum import Profile, save_profile
from hmn.recipes.named import recipe

EVIL = "<img src=x onerror=alert(1)>"
NAMES = (
    "airplane",
    EVIL,
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "a name without_any_place_to_break" * 3,
)


def cifar10_shape() -> HmnShape:
    """Over budget, as pruning wants it: 93 images a class."""
    shape = preset("cifar10", 1)
    assert shape is not None
    return shape.with_images(93)


def small_shape(images: Sequence[int] = (5, 3, 7)) -> HmnShape:
    return HmnShape(
        image_shape=(3, 16, 16),
        memory_size=2,
        dataset_channels=2,
        class_channels=2,
        instance_channels=3,
        images_per_class=tuple(images),
        extractor=False,
        budget=5_000,
    )


def make_run(
    out: Path, shape: HmnShape | None = None, *, names: Sequence[str] = NAMES, profiled: bool = True, epochs: int = 20
) -> Path:
    """A folder as a finished run leaves it, with margins that hold ties."""
    shape = shape or small_shape()
    names = tuple(names[: shape.num_classes])
    generator = torch.Generator().manual_seed(0)
    net = Hmn(shape, class_names=names, normalisation=Normalisation((0.5,) * 3, (0.25,) * 3), generator=generator)
    out.mkdir(parents=True)
    made_by = recipe("quick", dataset="cifar10", ipc=1, image_shape=shape.image_shape)
    save(net, out, recipe=made_by, data_name="cifar10", facts={})
    if profiled:
        aum = (torch.rand(shape.num_images, generator=generator, dtype=torch.float64) * epochs - 3).round(decimals=1)
        save_profile(
            Profile(
                aum=aum,
                labels=net.labels,
                margin="softmax",
                epochs=epochs,
                net="convnet3",
                width=128,
                seeds=(0,),
                source="a container",
                sha256=info(out).checksum,
                class_names=names,
            ),
            out,
        )
    records = [{"phase": "start", "done": step, "total": 300, "loss": 0.2 / step} for step in range(10, 301, 10)]
    records += [{"phase": "condense", "done": step, "total": 900, "loss": 9 / step} for step in range(1, 901)]
    (out / "history.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    facts: dict[str, Any] = {"command": "hmn condense cifar10 --ipc 1", "commit": "abc", "data": "cifar10", "ipc": 1}
    facts |= {"recipe": "quick", "condense_seconds": 90.0, "versions": {"hmn": "0.1.0"}}
    facts |= {"hardware": {"cpu": "a <b>processor</b>"}}
    (out / "run.json").write_text(json.dumps(facts))
    return out


def evaluation(run: Path | None = None, **changes: Any) -> dict[str, Any]:
    """What `hmn evaluate --out` writes; of a run, or of none."""
    spread = {"mean": 45.0, "std": 1.0, "values": [44.0, 45.0, 46.0]}
    row = {
        "method": "hmn",
        "detail": "",
        "floats": 30_659,
        "bytes": 122_508,
        "images": 850,
        "train_steps": 600,
        "train_seconds": 1.0,
        "accuracy_percent": spread,
    }
    other = {"mean": 15.0, "std": 0.0, "values": [15.0]}
    against = {**row, "method": f"random {EVIL}", "images": 10, "accuracy_percent": other}
    condensed = None if run is None else {"sha256": info(run).checksum}
    return {
        **row,
        "data": "cifar10",
        "ipc": 1,
        "tested_on": "test",
        "test_images": 10_000,
        "net": "convnet3",
        "width": 128,
        "protocol": "quick",
        "schedule": "cosine",
        "lr": 0.01,
        "condensed": condensed,
        "against": [against],
        **changes,
    }


def study(run: Path | None = None) -> dict[str, Any]:
    """What `hmn prune --study` writes."""
    rows = [
        {
            "method": "unpruned",
            "rate": 0.0,
            "images_per_class": 93,
            "in_budget": False,
            "beta": None,
            "values": [47.0, 48.0, 49.0],
        }
    ]
    for rate, count, fits in ((8 / 93, 85, True), (0.3, 66, False)):
        for method, accuracy in (("random", 45.0), ("double-end", 47.0)):
            rows.append(
                {
                    "method": method,
                    "rate": rate,
                    "images_per_class": count,
                    "in_budget": fits,
                    "beta": 0.3 if method == "double-end" else None,
                    "values": [accuracy - 1, accuracy, accuracy + 1],
                }
            )
    condensed = None if run is None else {"sha256": info(run).checksum}
    return {
        "kind": "pruning-study",
        "data": "cifar10",
        "ipc": 1,
        "images_per_class": 93,
        "rows": rows,
        "condensed": condensed,
        "beta_search": [{"sentence": "beta 0.3 is like 0.2 and 0.4."}],
    }


def write_json(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(json.dumps(content))
    return path
