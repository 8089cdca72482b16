"""What several verbs say of a container's sizes, and of what a run with them takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from hmn.containers.shape import BITS_PER_VALUE, Shape, bytes_of
from hmn.recipes.kinds import OBJECTIVES
from hmn.recipes.settings import Recipe
from hmn.runtime.console import duration, print_table, results, size

if TYPE_CHECKING:  # it imports torch
    from hmn.condensation.cost.price import Estimate


def memory_size(num_bytes: int | None) -> str:
    """Bytes as text, where the machine tells them."""
    return "unknown" if num_bytes is None else size(num_bytes)


def shape_facts(shape: Shape) -> dict[str, Any]:
    """The sizes and the ledger of a container, as JSON shows them."""
    account = shape.ledger()
    return {
        "num_classes": shape.num_classes,
        "image_shape": list(shape.image_shape),
        "container": shape.kind,
        **shape.facts(),
        "images": shape.num_images,
        "images_per_class": shape.images_each(),
        "parts": [part._asdict() for part in account.parts],
        "budget": account.budget,
        "floats": account.num_floats,
        "stored_floats": account.stored_floats,
        "bytes": {dtype: account.num_bytes(dtype) for dtype in BITS_PER_VALUE},
    }


def print_ledger(title: str, shape: Shape) -> None:
    """The ledger as a table on stdout."""
    account = shape.ledger()
    table = Table(header_style="cyan")
    table.add_column("part")
    for column in ("floats", "share", *(f"bytes {dtype}" for dtype in BITS_PER_VALUE)):
        table.add_column(column, justify="right")
    for part in account.parts:
        stored = (f"{bytes_of(part.stored_floats, dtype):,}" for dtype in BITS_PER_VALUE)
        table.add_row(part.name, f"{part.num_floats:,}", f"{part.num_floats / account.budget:.1%}", *stored)
    table.add_section()
    totals = (f"{account.num_bytes(dtype):,}" for dtype in BITS_PER_VALUE)
    share = f"{account.num_floats / account.budget:.1%}"
    table.add_row("total", f"{account.num_floats:,}", share, *totals, style="bold")
    left = account.budget - account.num_floats
    allowed = (f"{bytes_of(account.budget, dtype):,}" for dtype in BITS_PER_VALUE)
    table.add_row("budget", f"{account.budget:,}", "", *allowed)
    table.add_row("left", f"{left:,}", f"{left / account.budget:.1%}")
    print_table(title, table)
    channels, height, width = shape.image_shape
    each = shape.images_each()
    many = f"{each:,}" if isinstance(each, int) else f"{min(each):,} to {max(each):,}"
    results().print(
        f"{many} images per class, {shape.num_images:,} in all, of {channels} x {height} x {width}; {shape.in_words()}",
        markup=False,
        soft_wrap=True,
    )


def price_facts(priced: Estimate, recipe: Recipe) -> dict[str, str]:
    """What a run takes, in words."""
    unit = OBJECTIVES.load(recipe.condense.objective).unit
    matching = f"{recipe.condense.num_sweeps:,} {unit}s of {priced.seconds_per_sweep:.3g} s"
    if priced.update_seconds:
        matching += f" ({priced.update_seconds:.2g} s of it the network's own training)"
    experts = {"experts": duration(priced.expert_seconds)} if priced.expert_seconds else {}
    return {
        "fitting": duration(priced.start_seconds),
        **experts,
        "matching": matching,
        "time in all": f"about {duration(priced.total_seconds)}",
        "peak memory": memory_size(priced.peak_memory_bytes),
        "operations": f"{priced.operations_per_sweep:.3g} of one {unit}, {priced.total_operations:.3g} in all "
        "(convolutions and matrix products, a multiply-add counted as two)",
    }
