"""`hmn generate`: the images of a condensed folder as files."""

from pathlib import Path
from typing import Literal

from hmn.cli import flags
from hmn.runtime.console import print_json, tell


def generate(
    target: flags.Folder,
    /,
    *,
    out: Path,
    format: Literal["folders", "npz", "parquet"] = "folders",
    force: flags.Force = False,
    json: flags.Json = False,
) -> None:
    """Write the images of a condensed folder as files that other programs read.

    Parameters
    ----------
    out
        Folder to write (folders, parquet), or file (npz).
    format
        folders: a folder of PNG files per class; npz: one numpy file; parquet: as the Hub's library reads it.
    """
    from hmn.containers.artifact.export import export_images
    from hmn.containers.artifact.load import load
    from hmn.containers.artifact.place import need_artifact

    images = load(need_artifact(target))
    written = export_images(images.pixels, images.labels, images.class_names, out, format=format, force=force)
    if json:
        print_json({"out": str(written), "format": format, "images": len(images), "classes": len(images.class_names)})
    else:
        tell(f"{len(images):,} images of {len(images.class_names)} classes: {written}")
