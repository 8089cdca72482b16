"""Named recipes: each published method with its own settings, and short ones for a CPU. Every one states its cost."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from inspect import signature

from hmn.errors import UserError
from hmn.recipes import fast, matching, short, trajectories
from hmn.recipes.parts import ASSUMED_STD, Fitted
from hmn.recipes.settings import Recipe

_PUBLISHED = (
    *(matching.dc, matching.dsa, matching.dm, matching.idc_i, matching.idc),
    *(trajectories.mtt, trajectories.haba, trajectories.linba, matching.hmn, trajectories.ddif),
)
_SMALLER = (
    *(short.dsa_cpu, short.dm_cpu, short.idc_i_cpu, short.idc_cpu),
    *(short.haba_cpu, short.linba_cpu, short.hmn_cpu, short.ddif_cpu),
)
MAKERS: dict[str, Callable[..., Recipe]] = {
    maker.__name__.replace("_", "-"): maker for maker in (fast.fast, short.quick, *_PUBLISHED, *_SMALLER)
}
RECIPES = tuple(MAKERS)
DIALS = tuple(name for name, maker in MAKERS.items() if "minutes" in signature(maker).parameters)
"""Recipes with a dial: they are made for a number of minutes."""
ALIASES = {"paper": "hmn"}
"""Former names, still in recipe.toml files and scripts."""
MAX_MINUTES = 10**6


def recipe(
    name: str,
    *,
    dataset: str,
    ipc: int,
    image_shape: tuple[int, int, int],
    num_classes: int = 10,
    std: Sequence[float] | None = None,
    minutes: float | None = None,
) -> Recipe:
    """A recipe by name, fitted to a data set.

    A method's name (dc, dsa, dm, idc-i, idc, mtt, haba, linba, hmn, ddif) is its container, objective and settings as
    published; with -cpu it is a version of about 20 minutes on one thread for CIFAR-10 at 1 IPC. fast: the most
    accuracy that was found for so many minutes, a quarter of an hour where they are not said. quick: a minute or two on
    small data, to see that everything works.

    Args:
        name: one of RECIPES, or a former name.
        dataset: name of the data, which decides where a method's settings differ between data sets.
        ipc: images per class in budget.
        image_shape: channels, height, width: small images take shallower networks, large ones ResNetAP-10.
        num_classes: of the data; with `ipc` it gives DC's batches and MTT's.
        std: standard deviations by which the pixels are normalised, which convert the learning rates of methods that
            store normalised images (`hmn.recipes.parts.in_pixels`); None for 0.25.
        minutes: what a recipe with a dial is made for; its iterations are then a guess, which
            `hmn.condensation.dial.in_minutes` puts right for this machine.

    Raises:
        UserError: no recipe has this name, or minutes of one that has no dial, or minutes that are no time.
    """
    maker = MAKERS.get(ALIASES.get(name, name))
    if maker is None:
        close = difflib.get_close_matches(name, (*RECIPES, *ALIASES), n=1, cutoff=0.0)[0]
        raise UserError(f"no recipe is called {name!r}: expected one of {', '.join(RECIPES)}; did you mean {close}?")
    fitted = Fitted(
        dataset=dataset, ipc=ipc, image_shape=image_shape, num_classes=num_classes, std=tuple(std or (ASSUMED_STD,))
    )
    if minutes is None:
        return maker(fitted)
    if name not in DIALS:
        raise UserError(f"--minutes {minutes:g}: recipe {name} has no such dial: expected one of {', '.join(DIALS)}.")
    if not 0 < minutes <= MAX_MINUTES:
        raise UserError(f"--minutes {minutes:g}: expected a number above 0, up to {MAX_MINUTES:,}.")
    return maker(fitted, minutes)


DEFAULT_RECIPE = "fast"
