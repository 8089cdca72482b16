"""A pruned artifact: a condensed folder with fewer images, complete in itself, and the record of what went and why."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor

from hmn.containers.artifact.format import ArtifactInfo
from hmn.containers.artifact.load import info, load_container, read
from hmn.containers.artifact.place import AUM, CONTAINER, FACTS, HISTORY, OWN_FILES, PRUNING, is_own, read_run
from hmn.containers.artifact.save import Rounded, save
from hmn.containers.container import Container
from hmn.containers.quantise import SCALE_SUFFIX
from hmn.errors import UserError
from hmn.pruning.aum import Profile, save_profile
from hmn.pruning.survivors import check_prunable
from hmn.recipes.settings import Recipe
from hmn.runtime.files import json_object, leftovers, write_atomically, write_json
from hmn.train.results import provenance

KIND = "pruning"
PRUNED = "-pruned"
"""Ends the name of a recipe whose container was pruned: results carry that name."""


def write_pruned(
    run: Path,
    out: Path,
    *,
    kept: Tensor,
    recipe: Recipe,
    how: Mapping[str, Any],
    profile: Profile | None,
) -> dict[str, Any]:
    """Write the artifact in `run` with the images at `kept` alone into `out`; returns what pruning.json holds.

    The survivors' pixels are the same to the bit, whatever the dtype.

    Args:
        run: a finished artifact.
        out: folder, made where it is absent.
        kept: indices of the images that survive.
        recipe: that the artifact was made with.
        how: for the record: method, beta, seed and what chose them.
        profile: of the artifact, where there is one; the survivors' AUM goes along.

    Raises:
        UserError: the artifact cannot be read or pruned.
    """
    stored, container = info(run), load_container(run)
    check_prunable(container)
    kept = kept.sort().values
    smaller = container.keep(kept)
    named = recipe if recipe.name.endswith(PRUNED) else replace(recipe, name=recipe.name + PRUNED)
    before, after = container.ledger(), smaller.ledger()
    record = {
        "kind": KIND,
        "from": {"folder": str(run.resolve()), "sha256": stored.checksum},
        **how,
        "images_per_class": {"before": [*container.shape.images_per_class], "after": [*smaller.shape.images_per_class]},
        "floats": {"before": before.num_floats, "after": after.num_floats, "budget": after.budget},
        "kept": kept.tolist(),
        "aum": None if profile is None else profile.facts(),
        **provenance(),
    }
    # An earlier artifact's container goes first, this one's comes last: no reader takes a mixture for either.
    facts = _run_facts(run, named, smaller, record)
    out.mkdir(parents=True, exist_ok=True)
    (out / CONTAINER).unlink(missing_ok=True)
    write_json(out / PRUNING, record, sort_keys=True)
    write_json(out / FACTS, facts, sort_keys=True)
    if (run / HISTORY).exists():
        write_atomically(out / HISTORY, (run / HISTORY).read_bytes())
    removed = f"{len(container) - len(kept):,} of {len(container):,} images, {how['method']}"
    card = {"versions": record["versions"], "pruned": removed}
    how_stored: dict[str, Any] = {"dtype": stored.dtype, "rounded": _rounded(stored, container, kept)}
    save(smaller, out, recipe=named, facts=card, data_name=stored.data_name, **how_stored)
    (out / AUM).unlink(missing_ok=True)
    if profile is not None:
        aum, labels, source = profile.aum[kept], profile.labels[kept], f"{profile.source}, pruned"
        save_profile(replace(profile, aum=aum, labels=labels, source=source, sha256=info(out).checksum), out)
    return record


def check_out(out: Path, *, beside: tuple[str, ...], sha256: str | None, resume: bool, force: bool) -> None:
    """Refuse a folder that this pruning may not write into; changes nothing.

    Args:
        out: where a pruned artifact shall go.
        beside: names of folders of ours that may stand there.
        sha256: of the container that is to be pruned; None where it is not condensed yet.
        resume: go on with what was begun there.
        force: write over what is there.

    Raises:
        UserError: it holds something else, or a run and neither flag is given, or what was begun is another's.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: a file is there; name a folder.")
    left = [path.name for path in leftovers(out, OWN_FILES)] if out.exists() else []
    there = {path.name for path in out.iterdir()} - {*left} if out.exists() else set()
    pruned = read_pruning(out)
    if there and not is_own(out) and pruned is None and there - {*beside}:
        raise UserError(f"{out} holds other files: choose another folder.")
    if there and not resume and not force:
        raise UserError(f"{out} holds a run: add --resume to go on with it, or --force to write over it.")
    another = pruned is not None and sha256 is not None and pruned.get("from", {}).get("sha256") != sha256
    if resume and (another or (pruned is None and (out / CONTAINER).exists())):
        raise UserError(f"{out} holds another run: choose another folder, or --force to write over it.")


def read_pruning(out: Path) -> dict[str, Any] | None:
    """What pruning.json in a folder says; None where there is none of ours."""
    found = json_object(out / PRUNING)
    return found if found.get("kind") == KIND else None


def remove_artifact(out: Path) -> None:
    """Remove a run's own files, and nothing else."""
    for name in OWN_FILES:
        (out / name).unlink(missing_ok=True)


def _run_facts(run: Path, recipe: Recipe, smaller: Container, record: Mapping[str, Any]) -> dict[str, Any]:
    """run.json of the pruned folder: what the condensation recorded, and that it was pruned."""
    facts = read_run(run)
    if isinstance(facts.get("identity"), dict):
        # Another shape: `hmn condense --resume` must not take this folder for the condensation's own.
        facts["identity"] = {**facts["identity"], "shape": repr(smaller.shape)}
    pruned = {"method": record["method"], "beta": record.get("beta"), "from_sha256": record["from"]["sha256"]}
    return {**facts, "recipe": recipe.name, "over_budget": None, "pruned": pruned}


def _rounded(stored: ArtifactInfo, container: Container, kept: Tensor) -> Rounded | None:
    """The scales of the file's values, those of single rows reduced to the rows that survive."""
    if stored.dtype == "float32":
        return None
    rows = _rows_kept(container, kept)
    scales = {}
    for name, scale in load(read(stored.path)[1]).items():
        if name.endswith(SCALE_SUFFIX):
            kept_rows = rows[name.removesuffix(SCALE_SUFFIX)]
            scales[name] = scale[kept_rows] if len(scale) > 1 else scale
    return Rounded(scales, stored.quantisation_error)


def _rows_kept(container: Container, kept: Tensor) -> dict[str, Tensor]:
    """The rows of every tensor that survive, int64: asked of `keep` itself with numbered rows."""
    numbered = copy.deepcopy(container)
    with torch.no_grad():
        for values in numbered.parameters():
            rows = torch.arange(len(values), dtype=values.dtype, device=values.device)  # exact up to 2^24 rows
            values.copy_(rows.view(-1, *(1 for _ in values.shape[1:])).expand_as(values))
    found = numbered.keep(kept).state_dict()
    return {name: values.reshape(len(values), -1)[:, 0].long() for name, values in found.items()}
