"""`hmn generate`: the images of a condensed folder as files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from hmn.cli.flags import Switch
from hmn.containers.artifact.place import need_artifact
from hmn.runtime.console import print_json, results


def generate(
    target: Path,
    /,
    *,
    out: Path,
    format: Literal["folders", "npz", "parquet"] = "folders",
    force: Switch = False,
    json: Switch = False,
) -> int:
    """Write the images of a condensed folder as files that other programs read.

    Parameters
    ----------
    target
        A folder that `hmn condense` wrote.
    out
        Folder to write (folders, parquet), or file (npz).
    format
        folders: a folder of PNG files per class; npz: one numpy file; parquet: as the Hub's library reads it.
    force
        Write over what is there.
    json
        Print JSON.
    """
    from hmn.containers.artifact.export import export_images
    from hmn.containers.artifact.load import load

    images = load(need_artifact(target))
    written = export_images(images.pixels, images.labels, images.class_names, out, format=format, force=force)
    if json:
        print_json({"out": str(written), "format": format, "images": len(images), "classes": len(images.class_names)})
    else:
        results().print(
            f"{len(images):,} images of {len(images.class_names)} classes: {written}",
            markup=False,
            soft_wrap=True,
        )
    return 0
