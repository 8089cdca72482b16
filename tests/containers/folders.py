"""Stored containers of every kind over the digits, as drawn at random: nothing in them is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import torch

from hmn.containers.artifact.save import save
from hmn.containers.container import Container, container_class
from hmn.containers.shape import Budget
from hmn.data.load import load_data
from hmn.recipes.kinds import CONTAINERS
from hmn.recipes.named import recipe

KINDS = CONTAINERS.names()


def digits_container(kind: str, ipc: int = 10) -> Container:
    """A container for the digits with the floats of `ipc` images a class."""
    shape = container_class(kind).shape_class.plan(Budget.of_images(ipc, 10, (1, 8, 8)))
    train = load_data("digits").train
    return container_class(kind)(
        shape,
        class_names=train.class_names,
        normalisation=train.normalisation,
        generator=torch.Generator().manual_seed(0),
    )


def digits_folder(
    out: Path, kind: str = "hmn", ipc: int = 10, *, dtype: Literal["float32", "float16", "int8", "int4"] = "float32"
) -> Path:
    """A folder as `hmn condense digits --container KIND` writes it."""
    out.mkdir(parents=True)
    made_by = recipe("quick", dataset="digits", ipc=ipc, image_shape=(1, 8, 8))
    save(digits_container(kind, ipc), out, recipe=made_by, data_name="digits", dtype=dtype, facts={})
    (out / "run.json").write_text(json.dumps({"data": "digits", "recipe": "quick", "ipc": ipc, "condense_seconds": 1}))
    records = [{"phase": "condense", "done": step, "total": 9, "loss": 9 / step} for step in range(1, 10)]
    (out / "history.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return out
