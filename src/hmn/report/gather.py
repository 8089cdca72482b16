"""What a report says of one run, from the files in its folder and from results that belong to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hmn.containers.artifact.load import ArtifactInfo, info, load, load_container
from hmn.containers.artifact.picture import to_uint8
from hmn.containers.artifact.place import AUM, HISTORY, PRUNING, RECIPE, read_run
from hmn.containers.shape import bytes_of
from hmn.errors import UserError
from hmn.pruning.aum import Profile, load_profile
from hmn.pruning.survivors import check_prunable
from hmn.report.history import read_history
from hmn.report.results import STUDY, kind_of, read_json, read_result

MAX_RESULT_BYTES = 10_000_000


@dataclass(frozen=True, kw_only=True, eq=False)
class RunFacts:
    """One run, read and checked."""

    path: Path
    info: ArtifactInfo
    pixels: Tensor
    """uint8 [n, c, h, w]."""
    labels: Tensor
    """int64 [n], class by class."""
    floats_per_image: float
    """What one image less saves; 0 where images cannot be removed one by one."""
    cannot_prune: str
    """Why they cannot; nothing where they can."""
    profile: Profile | None
    facts: Mapping[str, Any]
    """run.json."""
    pruning: Mapping[str, Any] | None
    recipe: str
    history: Mapping[str, list[tuple[int, float]]]
    evaluations: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    """File and content."""
    studies: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    unkeyed: list[str] = field(default_factory=list)
    """Files of results that do not say which container they are of."""


def gather_run(path: Path) -> RunFacts:
    """Read a run's folder.

    Raises:
        UserError: the container, its profile or its history are damaged, or the profile is of another container.
    """
    stored = info(path)
    images = load(path)
    per_image, reason = _price_of_an_image(path)
    found = RunFacts(
        path=path,
        info=stored,
        pixels=to_uint8(images.pixels),
        labels=images.labels,
        floats_per_image=per_image,
        cannot_prune=reason,
        profile=load_profile(path, sha256=stored.checksum) if (path / AUM).exists() else None,
        facts=read_run(path),
        pruning=read_json(path / PRUNING) if (path / PRUNING).exists() else None,
        recipe=(path / RECIPE).read_text(encoding="utf-8") if (path / RECIPE).exists() else "",
        history=read_history(path) if (path / HISTORY).exists() else {},
    )
    # Results that lie in the folder belong to it, whatever they are called.
    for file in sorted(path.glob("*.json")):
        if file.stat().st_size <= MAX_RESULT_BYTES and kind_of(_any_json(file)) in ("evaluation", STUDY):
            _add(found, file, keyed=True)
    return found


def _any_json(file: Path) -> dict[str, Any]:
    """A file's JSON object; nothing where it is something else, which is then none of ours."""
    try:
        return read_json(file)
    except UserError:
        return {}


def assign(runs: Sequence[RunFacts], results: Sequence[Path]) -> None:
    """Give each result to the run whose container it is of.

    Results know the container's checksum; older ones, the command that condensed it. One that knows neither goes to the
    only run that there is, and the page says so.

    Raises:
        UserError: a file is no result, or of none of the runs.
    """
    for file in results:
        found = read_json(file)
        kind = kind_of(found)
        if kind not in ("evaluation", STUDY):
            raise UserError(f"{file}: expected what `hmn evaluate --out` or `hmn prune --study` writes.")
        condensed = found.get("condensed") or {}
        same = [run for run in runs if condensed.get("sha256") == run.info.checksum]
        if "sha256" not in condensed and condensed.get("command"):
            told = (condensed["command"], condensed.get("commit"))
            same = [run for run in runs if told == (run.facts.get("command"), run.facts.get("commit"))]
        elif not condensed and len(runs) == 1:
            same = list(runs)
        if not same:
            raise UserError(f"{file}: a result of another container than the ones named: give its run's folder.")
        # A result that lies in the folder is known already.
        for run in same:
            if all(name != file.name for name, _ in [*run.evaluations, *run.studies]):
                _add(run, file, keyed=bool(condensed))


def _add(run: RunFacts, file: Path, *, keyed: bool) -> None:
    kind = kind_of(read_json(file))
    assert kind is not None
    content = read_result(file, kind)
    (run.studies if kind == STUDY else run.evaluations).append((file.name, content))
    if not keyed:
        run.unkeyed.append(file.name)


def byte_parts(stored: ArtifactInfo) -> list[tuple[str, int]]:
    """Where a file's bytes go: the parts of the container, the scales of small numbers, and the header."""
    parts = [(part.name, bytes_of(part.stored_floats, stored.dtype)) for part in stored.ledger.parts]
    scales = stored.value_bytes - sum(size for _, size in parts)
    header = stored.file_bytes - stored.value_bytes
    return [(name, size) for name, size in [*parts, ("scales", scales), ("header", header)] if size > 0]


def _price_of_an_image(path: Path) -> tuple[float, str]:
    """Floats that one image less saves, or the reason why images cannot be removed one by one."""
    container = load_container(path)
    counts = container.labels.bincount()
    if int(counts.max()) <= container.copies:
        return 0.0, "no class stores more than one image"
    try:
        check_prunable(container)
    except UserError as error:
        return 0.0, str(error)
    everything = torch.arange(len(container))
    first = int((container.labels == counts.argmax()).nonzero()[0])
    fewer = container.keep(everything[(everything < first) | (everything >= first + container.copies)])
    return (container.ledger().num_floats - fewer.ledger().num_floats) / container.copies, ""
