"""What a report says of one run, from the files in its folder and from results that belong to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hmn.containers.artifact.format import ArtifactInfo
from hmn.containers.artifact.load import info, load, load_container
from hmn.containers.artifact.picture import to_uint8
from hmn.containers.artifact.place import AUM, HISTORY, PRUNING, RECIPE, read_run
from hmn.errors import UserError
from hmn.pruning.aum import Profile, load_profile
from hmn.pruning.survivors import check_prunable
from hmn.report.results import EVALUATION, MADE_BY, STUDY, kind_of, read_history, read_json, read_result

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

    def add(self, file: Path, *, keyed: bool) -> None:
        """Take in a result; `keyed` says that it tells which container it is of."""
        kind = kind_of(read_json(file))
        assert kind is not None
        (self.studies if kind == STUDY else self.evaluations).append((file.name, read_result(file, kind)))
        if not keyed:
            self.unkeyed.append(file.name)


def gather_run(path: Path) -> RunFacts:
    """Read a run's folder. Raises UserError: the container, its profile or its history are damaged, or the profile is
    of another container.
    """
    stored = info(path)
    images = load(path)
    per_image, reason = price_of_an_image(path)
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
        if file.stat().st_size <= MAX_RESULT_BYTES and kind_of(_any_json(file)) in (EVALUATION, STUDY):
            found.add(file, keyed=True)
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
    only run that there is, and the page says so. Raises UserError: a file is no result, or of none of the runs.
    """
    for file in results:
        found = read_json(file)
        if kind_of(found) not in (EVALUATION, STUDY):
            raise UserError(f"{file}: expected what `{MADE_BY[EVALUATION]}` or `{MADE_BY[STUDY]}` writes.")
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
                run.add(file, keyed=bool(condensed))


def price_of_an_image(path: Path) -> tuple[float, str]:
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
