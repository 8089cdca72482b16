"""Names of the files in a run's folder, and what a folder is by the files in it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from hmn.containers.artifact.format import FORMAT_NAME
from hmn.errors import UserError
from hmn.runtime.files import json_object

CONTAINER, LEDGER, RECIPE = "container.safetensors", "ledger.json", "recipe.toml"
PREVIEW, CARD = "preview.png", "README.md"
CHECKPOINT, HISTORY = "checkpoint.safetensors", "history.jsonl"
FACTS = "run.json"
"""What a run records about itself beside its results: data, time, machine."""
AUM, PRUNING = "aum.npz", "pruning.json"
EXPERTS = "experts"
"""Folder of the networks that trajectory matching trains first; a finished run has none."""
RESULTS = (HISTORY, FACTS, RECIPE, LEDGER, PREVIEW, CARD, AUM, PRUNING)
"""What stands beside a checkpoint or a container, and goes when a run begins anew."""
OWN_FILES = (CHECKPOINT, CONTAINER, *RESULTS)
CHECKPOINT_FORMAT = "hmn-checkpoint-"
"""How the format of a checkpoint of any version begins."""
WHAT_FROM = {"test": "the training split", "validation": "the training split less its validation tenth"}
"""What a run records of the images that it condensed, by the split that it leaves unseen."""


def is_artifact(path: Path) -> bool:
    """Whether a path is the folder of a finished condensation."""
    return path.is_dir() and (path / CONTAINER).exists()


def check_finished(path: Path) -> None:
    """Refuse the folder of a run that has not ended. Raises UserError: there is a checkpoint, and no container."""
    if (path / CHECKPOINT).is_file() and not is_artifact(path):
        raise UserError(f"{path} holds an unfinished run: finish it with --resume.")


def need_artifact(path: Path) -> Path:
    """The path, if a finished condensation is there. Raises UserError: it is not there, or not finished."""
    if is_artifact(path):
        return path
    if not path.exists():
        raise UserError(f"{path}: no such folder; expected one that `hmn condense` wrote.")
    check_finished(path)
    raise UserError(f"{path} holds no {CONTAINER}: expected a folder that `hmn condense` has finished writing.")


def held_out(run: Mapping[str, Any]) -> bool:
    """Whether a run kept the validation tenth from its condensation; one that says nothing of it did not."""
    return run.get("condensed_from") == WHAT_FROM["validation"]


def read_run(path: Path) -> dict[str, Any]:
    """What the run that wrote a folder recorded about itself; nothing where there is no record."""
    return json_object(path / FACTS)


def is_own(out: Path) -> bool:
    """Whether a checkpoint or a container of ours is there, be it damaged."""
    return _is_own_file(out / CHECKPOINT, "format", CHECKPOINT_FORMAT) or _is_own_file(out / CONTAINER, FORMAT_NAME, "")


def _is_own_file(path: Path, key: str, start: str) -> bool:
    """A file of ours says so in its header; one that is damaged is ours if our recipe stands beside it."""
    if not path.is_file():
        return False
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(key)
    except (OSError, SafetensorError, ValueError):
        return (path.parent / RECIPE).is_file()
    return text is not None and text.startswith(start)
