"""`hmn evaluate`: train networks on condensed or real images, test them on real ones, and report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from rich.markup import escape
from rich.table import Table

from hmn.cli.flags import DataParameters, Switch, data_options
from hmn.cli.outputs import check_output
from hmn.runtime.console import duration, note, print_json, print_table, results
from hmn.runtime.files import write_json


def evaluate(
    target: str,
    /,
    *,
    data: str | None = None,
    net: str | None = None,
    width: int | None = None,
    protocol: Literal["paper", "short", "quick", "dc", "dsa", "idc", "linba"] | None = None,
    seeds: int | None = None,
    steps: int | None = None,
    schedule: Literal["cosine", "multistep"] | None = None,
    curve: int = 0,
    curve_images: int = 2000,
    subset: int | None = None,
    against: str | None = None,
    codec: str | None = None,
    codec_quality: str | None = None,
    codec_side: str | None = None,
    codec_images: Literal["random", "herding", "k-center"] | None = None,
    stored: str | None = None,
    json: Switch = False,
    out: Path | None = None,
    on: Literal["test", "validation"] = "test",
    data_flags: DataParameters = None,
) -> int:
    """Train networks on condensed or real images and test them on real ones.

    A network is tested after its last step, whatever it reached before. What the target is compared with trains as
    many steps.

    Parameters
    ----------
    target
        What to train on: a folder that `hmn condense` wrote, a data set (name or path), or images (--data).
    data
        Data set to test on (default: the one that the target was made from).
    net
        convnet3, convnet4, resnetap10, resnet18, vgg11, vgg16, densenet121, timm/NAME (default: by recipe).
    width
        Channels of its first layer.
    protocol
        Training protocol: paper (the paper's epochs), short (2,000 steps), quick (600 steps), or how other methods'
        results were taken: dc, dsa, idc, linba.
    seeds
        Networks to train, each from another seed.
    steps
        Optimizer steps, in the place of the protocol's.
    schedule
        Schedule of the learning rate: cosine (the protocols'), or multistep: 0.1, divided by 10 at 30, 60 and 90 % of
        the steps.
    curve
        Also record the test accuracy at so many points of training, evenly spaced, each at the end of a pass over the
        images.
    curve_images
        Random test images, the same for all points, that a curve is taken on; the final accuracy is of all of them.
    subset
        Train on this many random images per class of real data.
    against
        Also train on: random, herding, k-center (as many real images as the container's budget of floats holds, chosen
        so), whole (all training images), codec (real images, compressed, in as many bytes). Joined by commas.
    codec
        Formats of the codec comparison: webp, jpeg, avif, joined by commas (default: webp). Headers that all files
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
        Also train on what comes back when the container is stored as float32, float16, int8, int4, joined by commas.
        With --against codec, each is also compared with a codec at its own bytes.
    json
        Print JSON.
    out
        Also write the JSON to this file.
    on
        Test on the test split, or on a tenth of the training images, kept from training on real ones; a container
        condensed from the whole training split has seen that tenth.
    """
    import hmn

    check_output(out)
    how: dict[str, Any] = {"net": net, "width": width, "protocol": protocol, "seeds": seeds, "steps": steps, "on": on}
    how |= {"schedule": schedule, "curve": curve, "curve_images": curve_images, "subset": subset}
    how |= {"against": against, "stored": stored, "codec": codec, "codec_images": codec_images}
    how |= {"codec_quality": codec_quality, "codec_side": codec_side, "options": data_options(data_flags)}
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
    return 0


def print_report(report: Mapping[str, Any]) -> None:
    """The accuracies as a table on stdout."""
    width = "" if report["width"] is None else f", width {report['width']}"
    steps = f", {report['train_steps']:,} steps" if " steps" not in report["protocol"] else ""
    title = f"{report['data']}: {report['tested_on']} accuracy of {report['net']}{width}; "
    title += f"protocol {report['protocol']}{steps}"
    table = Table(header_style="cyan")
    table.add_column("trained on")
    for column in ("images", "floats", "bytes", "accuracy %", "std", "seeds", "time each"):
        table.add_column(column, justify="right")
    for row in (report, *report["against"]):
        accuracy = row["accuracy_percent"]
        count = len(accuracy["values"])
        sizes = ("" if row[name] is None else f"{row[name]:,}" for name in ("images", "floats", "bytes"))
        std = f"{accuracy['std']:.1f}" if count > 1 else "-"
        times = duration(row["train_seconds"])
        table.add_row(escape(row["method"]), *sizes, f"{accuracy['mean']:.1f}", std, str(count), times)
    # Below the table what its names stand for, and what a codec was chosen from.
    print_table(title, table)
    for row in (report, *report["against"]):
        if row["detail"]:
            results().print(f"{row['method']}: {row['detail']}", markup=False, soft_wrap=True)
    for row in report["against"]:
        if (choice := row.get("codec", {}).get("chosen")) is not None:
            print_choice(row["method"], choice)


def print_choice(name: str, choice: dict[str, Any]) -> None:
    """What the quality and the size of a codec were chosen from, as a table on stdout."""
    width = "" if choice["width"] is None else f", width {choice['width']}"
    title = f"{name}: chosen by the accuracy of {choice['net']}{width}, {choice['train_steps']:,} steps, on "
    title += f"{choice['validation_images']:,} validation images that are part of the training images"
    table = Table(header_style="cyan")
    for column in ("quality", "side", "images", "bytes", "accuracy %", "trainings", ""):
        table.add_column(column, justify="right")
    for row in choice["rows"]:
        how = f"{row['quality']}", f"{row['side']}", f"{row['images']:,}", f"{row['bytes']:,}"
        table.add_row(*how, f"{row['mean']:.1f}", str(len(row["accuracies"])), "chosen" if row["chosen"] else "")
    print_table(title, table)
