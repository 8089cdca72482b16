"""Checks of a whole recipe before anything is read, written or deleted on its behalf."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch

from hmn.containers.container import container_class
from hmn.errors import UserError
from hmn.nets import build_net
from hmn.recipes.protocols import PROTOCOLS
from hmn.recipes.ranges import Range
from hmn.recipes.settings import CondenseConfig, Recipe
from hmn.recipes.values import objective_settings
from hmn.train.augment import operations


def check_recipe(recipe: Recipe, *, image_shape: tuple[int, int, int], num_classes: int) -> None:
    """Refuse settings that a run could not begin or end with.

    Both networks are built once, which costs less than a second.

    Args:
        recipe: with every setting resolved.
        image_shape: channels, height, width of the real images.
        num_classes: their classes.

    Raises:
        UserError: a number out of its range or not finite, an unknown augmentation, network or protocol, a network
            that does not take such images, or nothing to do.
    """
    settings = leaves(objective_settings(recipe), f"{recipe.condense.objective}.")
    for path, kind, value in (*leaves(recipe), *settings):
        _check_value(path, kind, value)
    _check_work(recipe.condense)
    why = container_class(recipe.container).shape_class.not_learned_as_stored
    if recipe.condense.learned_as != "float32" and why is not None:
        what = f"condense.learned_as {recipe.condense.learned_as}"
        raise UserError(f"{what}: {why}; expected float32, or another --container.")
    # Then what only its own table knows: protocols, augmentations, networks.
    network, evaluate = recipe.condense.network, recipe.evaluate
    if evaluate.protocol not in PROTOCOLS:
        what = f"evaluate.protocol {evaluate.protocol!r}: unknown training protocol"
        raise UserError(f"{what}; expected one of {', '.join(PROTOCOLS)}.")
    try:
        operations(recipe.condense.augment.strategy)
    except UserError as error:
        raise UserError(f"condense.augment.strategy: {error}") from None
    _check_net("condense.network", network.name, network.width, image_shape, num_classes)
    _check_net("evaluate.net", evaluate.net, evaluate.width, image_shape, num_classes)


def leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Path, annotation and value of every setting in a tree of them."""
    hints = get_type_hints(type(config), include_extras=True)
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value):
            yield from leaves(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, hints[field.name], value


def _check_value(path: str, kind: Any, value: Any) -> None:
    """One of the choices, or a number in the range, that its annotation has; other values pass."""
    if get_origin(kind) is Literal and value not in get_args(kind):
        raise UserError(f"{path} {value!r}: expected one of {', '.join(map(str, get_args(kind)))}.")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    marks = [mark for part in (kind, *get_args(kind)) for mark in getattr(part, "__metadata__", ())]
    limits = next((mark for mark in marks if isinstance(mark, Range)), Range())
    if expected := limits.expected(value, whole=isinstance(value, int)):
        raise UserError(f"{path} {value}: expected {expected}.")


def _check_work(config: CondenseConfig) -> None:
    """Reconstruction alone (no epochs) is a run; nothing at all is a mistake."""
    if config.epochs and not config.inner_steps:
        raise UserError(f"condense.inner_steps 0: expected at least 1 sweep for each of {config.epochs:,} epochs.")
    if not config.epochs and (config.start.kind == "noise" or not config.start.steps):
        raise UserError(
            "condense.epochs 0: leaves nothing to do; expected at least 1, or condense.start.kind real "
            "with condense.start.steps of at least 1, which reconstructs real images and no more."
        )


def _check_net(path: str, name: str, width: int | None, image_shape: tuple[int, int, int], num_classes: int) -> None:
    generator = torch.Generator().manual_seed(0)
    try:
        build_net(name, num_classes=num_classes, image_shape=image_shape, width=width, generator=generator)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (RuntimeError, MemoryError) as error:  # torch's allocator raises the former
        raise UserError(f"{path}: {name} of width {width} cannot be built here ({error}).") from None
