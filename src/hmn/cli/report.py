"""`hmn report`: runs as one page of HTML."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hmn.cli import flags
from hmn.cli.outputs import check_new_file, need_extra
from hmn.errors import UserError
from hmn.runtime.console import note, print_json, size, tell


def report(
    *runs: Path,
    out: Path,
    results_: Annotated[list[Path] | None, Parameter(name="--results", consume_multiple=True, negative=())] = None,
    title: str | None = None,
    force: flags.Force = False,
    json: flags.Json = False,
) -> None:
    """Write runs as one self-contained page of HTML: sizes, history, images by AUM, accuracies, recipe.

    The page needs no network. Its sliders show which images `hmn prune` would remove.

    Parameters
    ----------
    runs
        Folders that `hmn condense` or `hmn prune` wrote; with `aum.npz` of `hmn profile` the images can be sorted.
        Results that lie in them as JSON are shown.
    out
        HTML file to write.
    results_
        More results, as `hmn evaluate --out` and `hmn prune --study` write them.
    title
        Title of the page.
    """
    need_extra("jinja2", "a report needs")
    from hmn.containers.artifact.place import need_artifact
    from hmn.report.pages import write_report

    if not runs:
        raise UserError("hmn report: name at least one folder that `hmn condense` wrote.")
    check_new_file(out, ".html", ".htm", force=force)
    page = write_report([need_artifact(run) for run in runs], out, results=results_ or [], title=title)
    for line in page.notes:
        note(line)
    if json:
        print_json({"out": str(out), "bytes": page.num_bytes, "images": page.images, "images_shown": page.shown})
    else:
        tell(f"{out}: {page.images:,} images, {size(page.num_bytes)}")
