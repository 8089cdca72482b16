"""Many encoded images into one uint8 array, on a few threads (Pillow releases the interpreter lock)."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import Progress

from hmn.data.decode import DecodedImage, UnreadableImage, decode_image
from hmn.data.formats import Decoded, Labelled
from hmn.data.options import DataOptions
from hmn.errors import UserError

IMAGES_PER_TASK = 64
SECONDS_BEFORE_BAR = 1.0


class Item(NamedTuple):
    """One image to decode: the name that errors show, and its bytes, its file, or the image as Pillow opened it."""

    name: str
    data: bytes | Path | Image.Image


Chunk = list[tuple[int, Item]]
Filled = tuple[list[int], bool]
"""The places that were filled, and whether any image held colour."""


class Bulk(NamedTuple):
    """Decoded images uint8 [m, c, h, w], and which items they are, int64 [m]; m = items less the bad ones."""

    pixels: np.ndarray
    kept: np.ndarray

    def decoded(self, total: int, labels: Sequence[np.ndarray], class_names: tuple[str, ...]) -> Decoded:
        """The data set, of which `total` images were to be read.

        `labels` are those of the items, split by split: int64 [items of the split], of which negative ones are bad.
        """
        given, count = np.concatenate(labels)[self.kept], int((self.kept < len(labels[0])).sum())
        parts = [Labelled(self.pixels[:count], given[:count]), Labelled(self.pixels[count:], given[count:])]
        return Decoded.out_of(total, [part.without_bad() for part in parts[: len(labels)]], class_names)


def decode_all(items: Iterable[Item], count: int, options: DataOptions, *, title: str) -> Bulk:
    """Decode `count` items in order. Raises UserError: an image is bad (unless options.skip_bad), none is good, or
    sizes differ without a size.
    """
    stream = enumerate(iter(items))
    with warnings.catch_warnings(), Bar(title, count, options.progress) as bar:
        warnings.filterwarnings("ignore", module="PIL")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        # The first good image says how large all are, and the others are decoded into their places.
        good = ((start, item.name, image) for start, item in stream if (image := decode_item(item, options)))
        start, name, first = next(good, (0, "", None))
        if first is None:
            raise UserError(f"{title}: no image could be read")
        canvas = allocate(count, first.array.shape, title)
        canvas[start] = first.array
        kept = np.zeros(count, dtype=bool)
        kept[start] = True
        colour = first.colour
        for indices, is_colour in filled_in_order(partial(decode_chunk, canvas, name, options), stream, bar):
            kept[indices] = True
            colour |= is_colour
    # Only now is it known whether any image held colour, and which were bad.
    index = kept.nonzero()[0]
    if options.channels is None and not colour:
        canvas = canvas[:, :1]
    return Bulk(np.ascontiguousarray(canvas if len(index) == count else canvas[index]), index)


def decode_item(item: Item, options: DataOptions) -> DecodedImage | None:
    """The image; None where it is bad and such are skipped."""
    try:
        return decode_image(item.data, item.name, size=options.size, channels=options.channels)
    except UnreadableImage:
        if not options.skip_bad:
            raise
    return None


def allocate(count: int, shape: tuple[int, ...], title: str) -> np.ndarray:
    """An empty array for `count` images, or a clear line where memory does not hold them."""
    try:
        return np.empty((count, *shape), dtype=np.uint8)
    except MemoryError:
        gib = count * int(np.prod(shape)) / 2**30
        raise UserError(f"{title}: {count} images need {gib:.1f} GiB of memory: pass a smaller --size") from None


def filled_in_order(work: Callable[[Chunk], Filled], stream: Iterator[tuple[int, Item]], bar: Bar) -> Iterator[Filled]:
    """What `work` gives for chunks of the stream, in order, so that the first error is told."""
    workers = max(1, min(8, os.cpu_count() or 1))
    pool = ThreadPoolExecutor(workers, thread_name_prefix="hmn-decode")
    pending: deque[Future[Filled]] = deque()
    try:
        while True:
            # Few chunks wait at a time, so that a Parquet shard is not in memory whole.
            while len(pending) < 2 * workers and (chunk := list(islice(stream, IMAGES_PER_TASK))):
                pending.append(pool.submit(work, chunk))
            if not pending:
                return
            yield pending.popleft().result()
            bar.advance(IMAGES_PER_TASK)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def decode_chunk(canvas: np.ndarray, first_name: str, options: DataOptions, chunk: Chunk) -> Filled:
    """Decode a chunk into its places."""
    filled, colour = [], False
    for position, item in chunk:
        if (pixels := decode_item(item, options)) is None:
            continue
        # With skip_bad too: an image of another size is not bad.
        if pixels.array.shape != canvas.shape[1:]:
            height, width = pixels.array.shape[1:]
            expected = f"{canvas.shape[3]} x {canvas.shape[2]} like {first_name}"
            raise UserError(f"{item.name} is {width} x {height}, not {expected}: pass --size to make all equal")
        canvas[position] = pixels.array
        filled.append(position)
        colour |= pixels.colour
    return filled, colour


@final
class Bar(AbstractContextManager["Bar"]):
    """A progress bar on stderr that appears after a second of work.

    progress=None shows it only where stderr is a terminal, True always, False never.
    """

    def __init__(self, title: str, total: int, progress: bool | None) -> None:
        self.wanted = sys.stderr.isatty() if progress is None else progress
        self.title, self.total, self.done = title, total, 0
        self.start = time.monotonic()
        self.bar: Any = None

    def advance(self, count: int) -> None:
        """`count` more images are decoded."""
        self.done = min(self.done + count, self.total)
        if self.wanted and self.bar is None and time.monotonic() - self.start > SECONDS_BEFORE_BAR:
            self.bar = Progress(console=Console(stderr=True), transient=sys.stderr.isatty())
            self.task = self.bar.add_task(f"decoding {self.title}", total=self.total)
            self.bar.start()
        if self.bar is not None:
            self.bar.update(self.task, completed=self.done)

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.stop()
