"""Checkpoints: nested dictionaries of tensors and plain values in one safetensors file, never a pickle."""

import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from hmn.errors import UserError
from hmn.runtime.files import write_atomically

TREE_FORMAT = "hmn-checkpoint-2"


def save_checkpoint(path: Path, tree: dict[str, Any]) -> None:
    """Write a tree of dictionaries, lists, tuples, tensors and plain values, whole or not at all."""
    tensors: dict[str, torch.Tensor] = {}
    structure = json.dumps(_pack(tree, tensors))
    content = safetensors.torch.save(tensors, metadata={"format": TREE_FORMAT, "structure": structure})
    write_atomically(path, content)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """What `save_checkpoint` wrote. Raises UserError: the file is damaged or not a checkpoint of this version."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != TREE_FORMAT:
                raise UserError(f"{path}: not a checkpoint of this version of hmn: start again with --force.")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        return dict(_unpack(json.loads(metadata["structure"]), tensors))
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: damaged checkpoint ({error}): start again with --force.") from None


def _pack(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """JSON-able mirror of a tree; tensors go to `tensors` and leave their name behind."""
    if isinstance(value, torch.Tensor):
        name = f"t{len(tensors)}"
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, dict):  # pairs, because JSON would turn the optimizer's integer keys into text
        return {"dict": [[key, _pack(item, tensors)] for key, item in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [_pack(item, tensors) for item in value]}
    if isinstance(value, list):
        return [_pack(item, tensors) for item in value]
    return value


def _unpack(packed: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(packed, list):
        return [_unpack(item, tensors) for item in packed]
    if not isinstance(packed, dict):
        return packed
    if "tensor" in packed:
        return tensors[packed["tensor"]]
    if "tuple" in packed:
        return tuple(_unpack(item, tensors) for item in packed["tuple"])
    return {key: _unpack(item, tensors) for key, item in packed["dict"]}
