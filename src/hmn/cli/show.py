"""`hmn show`: the images of a condensed folder as a picture."""

from collections.abc import Sequence
from pathlib import Path

from hmn.cli import flags
from hmn.cli.outputs import check_new_file
from hmn.errors import UserError, check_at_least
from hmn.runtime.console import print_json, tell


def show(
    target: flags.Folder,
    /,
    *,
    out: Path,
    per_class: int = 10,
    classes: str | None = None,
    force: flags.Force = False,
    json: flags.Json = False,
) -> None:
    """Draw the images of a condensed folder as one picture, a class a row.

    Parameters
    ----------
    out
        PNG file to write.
    per_class
        Images per class.
    classes
        Names or numbers of classes, joined by commas (default: the first ten).
    """
    from hmn.containers.artifact.load import load
    from hmn.containers.artifact.picture import grid, save_png
    from hmn.containers.artifact.place import need_artifact

    check_new_file(out, ".png", force=force)
    check_at_least(1, per_class=per_class)
    images = load(need_artifact(target))
    names = images.class_names
    chosen = list(range(min(10, len(names)))) if classes is None else chosen_classes(classes, names)
    save_png(grid(images.pixels, images.labels, names, per_class=per_class, classes=chosen), out)
    if json:
        print_json({"out": str(out), "classes": [names[label] for label in chosen], "per_class": per_class})
    else:
        tell(str(out))


def chosen_classes(text: str, names: Sequence[str]) -> list[int]:
    """Classes given by name, or by number from 0, joined by commas.

    Raises:
        UserError: one of them is neither.
    """
    chosen = []
    for part in (part.strip() for part in text.split(",")):
        if part in names:
            chosen.append(list(names).index(part))
        elif part.isdecimal() and int(part) < len(names):
            chosen.append(int(part))
        else:
            listed = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
            raise UserError(f"--classes {part}: no such class; expected names ({listed}) or 0..{len(names) - 1}.")
    return chosen
