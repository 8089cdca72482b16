"""`hmn profile`: the AUM of every image of a container or of real data, and the images whose labels look wrong."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hmn.cli import flags
from hmn.cli.outputs import check_output
from hmn.errors import UserError, check_at_least
from hmn.runtime.console import as_table, command_line, duration, print_json, print_table, tell
from hmn.runtime.files import write_atomically
from hmn.runtime.memory import keep_freed_memory

if TYPE_CHECKING:
    from hmn.measure.candidates import Candidate
    from hmn.pruning.aum import Profile, ProfileSettings

CLASSES_SHOWN = 20
"""Classes that the table has rows of their own for, at most."""


def profile(
    target: str,
    /,
    *,
    out: Path | None = None,
    epochs: int = 200,
    seeds: int = 1,
    margin: Literal["softmax", "logit"] = "softmax",
    cutmix: float = 0.0,
    subset: int | None = None,
    suspects: int | None = None,
    data: str | None = None,
    force: flags.Force = False,
    json: flags.Json = False,
    network: flags.NetworkFlags = flags.NetworkFlags(),
    data_flags: flags.DataFlags = flags.DataFlags(),
) -> None:
    """Measure how easily networks learn every image: the area under its margin (AUM).

    Networks train by the paper's settings (SGD, cosine, DSA) but for CutMix. In every epoch an image's margin is its
    own label's probability less the largest other one; AUM adds them up. Low: hard, or mislabelled. High: easy, one of
    many alike.

    Parameters
    ----------
    target
        A folder that `hmn condense` wrote, a data set (name or path), or images (--data).
    out
        File or folder of the profile (default: aum.npz beside the container). With --suspects, a page (.html); the
        profile is then beside it as .npz.
    epochs
        Epochs of each training.
    seeds
        Networks, each from another seed; their AUMs are averaged.
    margin
        softmax: summed over epochs. logit: of logits, averaged over epochs.
    cutmix
        Probability that a batch is mixed; margins are then of the mixed images.
    subset
        Take this many random images per class of real data.
    suspects
        Write a page of this many images of lowest AUM.
    data
        Data set that a container, or a folder of images, was made from (default: as recorded).
    """
    from hmn.measure.candidates import target_of
    from hmn.pruning.aum import ProfileSettings, save_profile

    check_at_least(1, epochs=epochs, seeds=seeds, subset=subset, suspects=suspects, width=network.width)
    if not 0 <= cutmix <= 1:
        raise UserError(f"--cutmix {cutmix}: expected a probability from 0 to 1.")
    places = file, page = places_of(target, out, page=suspects is not None, force=force)
    keep_freed_memory()
    source, _ = target_of(target, data=data, subset=subset, flags=flags.data_options(data_flags))
    how: dict[str, Any] = {"epochs": epochs, "seeds": seeds, "margin": margin, "cutmix": cutmix}
    own = source.settings
    how |= vars(network) if network.net else {"net": own.net, "width": network.width or own.width}
    settings = ProfileSettings(target=target, **how)
    # Train, write the files, then tell.
    began = time.monotonic()
    found = settings.take(source)
    seconds = time.monotonic() - began
    if file is not None:
        save_profile(found, file)
    if suspects is not None and page is not None:
        write_page(source, found, settings, suspects, page)
    if json:
        written = {"profile": file and str(file), "page": page and str(page)}
        print_json(profile_report(found, source, settings, seconds, suspects) | written)
    else:
        print_profile(found, settings, seconds)
        for path in places:
            if path is not None:
                tell(f"written: {path}")


def places_of(target: str, out: Path | None, *, page: bool, force: bool) -> tuple[Path | None, Path | None]:
    """Files of the profile and of the page, checked before any training.

    Raises:
        UserError: a place is in use or cannot be written, or is of the wrong kind.
    """
    from hmn.containers.artifact.place import AUM, is_artifact

    stored = is_artifact(Path(target))
    places: tuple[Path | None, Path | None]
    if page:
        if out is None or out.suffix.lower() not in (".html", ".htm"):
            raise UserError(f"--suspects writes a page: give --out FILE.html{'' if out is None else f', not {out}'}.")
        check_output(out, kind=".html")
        places = Path(target) / AUM if stored else out.with_suffix(".npz"), out
    elif out is None:
        places = Path(target) / AUM if stored else None, None
    elif out.suffix == ".npz":
        check_output(out, kind=".npz")
        places = out, None
    else:
        if out.exists() and not out.is_dir():
            raise UserError(f"--out {out}: a file is there; expected a folder, or the name of an .npz file.")
        check_output(out / AUM, kind=".npz")
        places = out / AUM, None
    # Places are settled; what is there stays unless --force is given.
    for path in places:
        if path is not None and path.exists() and not force:
            raise UserError(f"{path} is already there: add --force to write over it.")
    return places


def write_page(source: Candidate, found: Profile, settings: ProfileSettings, count: int, path: Path) -> None:
    """The page of the most suspicious images."""
    from hmn.report.gallery import suspects_page

    facts = {"AUM": settings.words(), "images": f"{len(found):,}", "command": command_line()}
    if source.detail:
        facts["of the data"] = f"{source.detail}; numbers count these"
    path.parent.mkdir(parents=True, exist_ok=True)
    page = suspects_page(source.source, found, count=count, facts=facts)
    write_atomically(path, page.encode())


def print_profile(found: Profile, settings: ProfileSettings, seconds: float) -> None:
    """The summary as a table on stdout, class by class where they are few."""
    from hmn.pruning.aum import aum_summary, class_summaries

    summaries = class_summaries(found) if len(found.class_names) <= CLASSES_SHOWN else []
    rows: list[tuple[str, ...] | None] = []
    for row in (*summaries, {"class": "all", **aum_summary(found.aum)}):
        if row["class"] == "all" and rows:
            rows.append(None)
        numbers = (f"{row[name]:.2f}" for name in ("min", "quartile_1", "median", "quartile_3", "max"))
        rows.append((row["class"], f"{row['images']:,}", *numbers, f"{row['negative_share']:.1%}"))
    heads = ("class", "images", "lowest", "quarter", "median", "three quarters", "highest", "below 0")
    table = as_table(heads, rows, left=heads[:1])
    print_table(f"AUM of {found.source}: {settings.words()}, {duration(seconds)}", table)


def profile_report(
    found: Profile, source: Candidate, settings: ProfileSettings, seconds: float, count: int | None
) -> dict[str, Any]:
    """What --json prints."""
    from hmn.pruning.aum import aum_summary, class_summaries, suspects
    from hmn.train.results import provenance

    # The images of lowest AUM, where they were asked for.
    listed = [] if count is None else suspects(found, count).tolist()
    labels, names, aum = found.labels.tolist(), found.class_names, found.aum.tolist()
    return {
        **provenance(),
        **{"target": settings.target, "data": source.data, "sha256": found.sha256, "images": len(found)},
        **found.facts(),
        **{"cutmix": settings.cutmix, "seconds": round(seconds, 1)},
        **{"aum": aum_summary(found.aum), "classes": class_summaries(found)},
        "suspects": [{"image": image, "class": names[labels[image]], "aum": aum[image]} for image in listed],
    }
