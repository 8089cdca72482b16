"""`hmn evaluate`: train networks on condensed or real images, test them on real ones, and report."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hmn.cli import flags
from hmn.cli.outputs import check_output
from hmn.runtime.console import as_table, duration, note, print_json, print_table, tell
from hmn.runtime.files import write_json


@flags.with_names
def evaluate(
    target: str,
    /,
    *,
    data: str | None = None,
    curve: int = 0,
    curve_images: int = 2000,
    subset: int | None = None,
    against: str | None = None,
    codec: str | None = None,
    codec_quality: str | None = None,
    codec_side: str | None = None,
    codec_images: flags.Coreset | None = None,
    stored: str | None = None,
    json: flags.Json = False,
    out: Path | None = None,
    on: flags.On = "test",
    training: flags.EvaluationFlags = flags.EvaluationFlags(),
    data_flags: flags.DataFlags = flags.DataFlags(),
) -> None:
    """Train networks on condensed or real images and test them on real ones.

    A network is tested after its last step, whatever it reached before. What the target is compared with trains as
    many steps.

    Parameters
    ----------
    target
        What to train on: a folder that `hmn condense` wrote, a data set (name or path), or images (--data).
    data
        Data set to test on (default: the one that the target was made from).
    curve
        Also record the test accuracy at so many points of training, evenly spaced, each at the end of a pass over the
        images.
    curve_images
        Random test images, the same for all points, that a curve is taken on; the final accuracy is of all of them.
    subset
        Train on this many random images per class of real data.
    against
        Also train on: {coresets} (as many real images as the container's budget of floats holds, chosen
        so), whole (all training images), codec (real images, compressed, in as many bytes). Joined by commas.
    codec
        Formats of the codec comparison: {codecs}, joined by commas (default: webp). Headers that all files
        share are not counted.
    codec_quality
        Its quality, 1 to 100 (default: 20, or more where bytes are left). Of several, joined by commas, the one that
        trains best on a validation tenth of the training images; auto: of a grid of qualities, and of sides as well
        where --codec-side is not given.
    codec_side
        Shrink the images to this shorter side before they are compressed, in pixels (default: as they are). Several, or
        auto, as for the quality.
    codec_images
        Which real images are compressed (default: random).
    stored
        Also train on what comes back when the container is stored as {dtypes}, joined by commas.
        With --against codec, each is also compared with a codec at its own bytes.
    out
        Also write the JSON to this file.
    on
        Test on the test split, or on a tenth of the training images, kept from training on real ones; a container
        condensed from the whole training split has seen that tenth.
    """
    import hmn

    check_output(out)
    how: dict[str, Any] = {**vars(training), "on": on, "subset": subset}
    how |= {"curve": curve, "curve_images": curve_images}
    how |= {"against": against, "stored": stored, "codec": codec, "codec_images": codec_images}
    how |= {"codec_quality": codec_quality, "codec_side": codec_side, "options": flags.data_options(data_flags)}
    report = hmn.evaluate(target, data=data, **how).record
    # First the screen: a disk that is full must not cost the result.
    if json:
        print_json(report)
    else:
        print_report(report)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_json(out, report)
        note(f"written: {out}")


def print_report(report: Mapping[str, Any]) -> None:
    """The accuracies as a table on stdout."""
    width = "" if report["width"] is None else f", width {report['width']}"
    steps = f", {report['train_steps']:,} steps" if " steps" not in report["protocol"] else ""
    title = f"{report['data']}: {report['tested_on']} accuracy of {report['net']}{width}; "
    title += f"protocol {report['protocol']}{steps}"
    rows = []
    for row in (report, *report["against"]):
        accuracy = row["accuracy_percent"]
        count = len(accuracy["values"])
        sizes = ("" if row[name] is None else f"{row[name]:,}" for name in ("images", "floats", "bytes"))
        found = f"{accuracy['mean']:.1f}", f"{accuracy['std']:.1f}" if count > 1 else "-", str(count)
        rows.append((row["method"], *sizes, *found, duration(row["train_seconds"])))
    heads = ("trained on", "images", "floats", "bytes", "accuracy %", "std", "seeds", "time each")
    # Below the table what its names stand for, and what a codec was chosen from.
    print_table(title, as_table(heads, rows, left=heads[:1]))
    for row in (report, *report["against"]):
        if row["detail"]:
            tell(f"{row['method']}: {row['detail']}")
    for row in report["against"]:
        if (choice := row.get("codec", {}).get("chosen")) is not None:
            print_choice(row["method"], choice)


def print_choice(name: str, choice: dict[str, Any]) -> None:
    """What the quality and the size of a codec were chosen from, as a table on stdout."""
    width = "" if choice["width"] is None else f", width {choice['width']}"
    title = f"{name}: chosen by the accuracy of {choice['net']}{width}, {choice['train_steps']:,} steps, on "
    title += f"{choice['validation_images']:,} validation images that are part of the training images"
    rows = []
    for row in choice["rows"]:
        how = f"{row['quality']}", f"{row['side']}", f"{row['images']:,}", f"{row['bytes']:,}"
        found = f"{row['mean']:.1f}", str(len(row["accuracies"]))
        rows.append((*how, *found, "chosen" if row["chosen"] else ""))
    print_table(title, as_table(("quality", "side", "images", "bytes", "accuracy %", "trainings", ""), rows))
