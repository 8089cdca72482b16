"""Along a real run: the product's container gradient against float64 double backward, step by step."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor

import hmn.condense.loop as loop
from hmn.condense.objectives import Match
from hmn.data.real import RealData
from hmn.data.source import Batch
from hmn.recipes.settings import CondenseConfig
from tests.reference.matching import gradient_matching


def container_gradient(state: loop.CondenseState, real: RealData, config: CondenseConfig) -> Tensor:
    """The gradient that one sweep hands to the optimizer, in one vector."""
    groups = list(torch.arange(len(state.members)).split(len(state.members)))
    loop._match_groups(state, real, config, groups)
    return torch.cat([p.grad.flatten() for p in state.container.parameters() if p.grad is not None])


def slow_container_gradient(
    state: loop.CondenseState,
    real: RealData,
    config: CondenseConfig,
    *,
    dtype: torch.dtype = torch.float64,
    masks_of_float32: bool = False,
) -> Tensor:
    """The same sweep, the same draws, with container, network and matching in `dtype` and double backward."""
    raised = copy.deepcopy(state)
    raised.container.to(dtype)

    def slow(net: torch.nn.Module, real_batch: Batch, generated: Batch, *, distance: str) -> Match:
        return Match(
            *gradient_matching(
                net, real_batch, generated, distance=distance, dtype=dtype, masks_of_float32=masks_of_float32
            )
        )

    with mock.patch.object(loop, "gradient_match", slow):
        return container_gradient(raised, real, config)


class Errors(NamedTuple):
    """Relative errors (2-norm) of a sweep's whole container gradient against float64 double backward."""

    same_masks: float
    """Of the product, where float64 holds the ReLU masks that float32 found."""
    free_masks: float
    """Of the product, where float64 finds its own masks."""
    plain_float32: float
    """Of double backward in float32, where float64 finds its own masks: what rounding alone does."""


def relative_errors(
    state: loop.CondenseState, real: RealData, config: CondenseConfig, *, steps: int
) -> Iterator[Errors]:
    """The errors in each of the first `steps` sweeps of a run.

    The first of them has a fresh network, and the run goes on from each as it would without being watched.
    """
    errors = []
    sweep = loop._sweep

    def watched(state: loop.CondenseState, real: RealData, config: CondenseConfig) -> Tensor:
        before = state.generator.get_state()

        def again(gradient: Callable[..., Tensor], **options: Any) -> Tensor:
            state.generator.set_state(before)
            return gradient(state, real, config, **options).double()

        product = again(container_gradient)
        single = again(slow_container_gradient, dtype=torch.float32)
        free = again(slow_container_gradient)
        held = again(slow_container_gradient, masks_of_float32=True)
        errors.append(
            Errors(
                *(
                    float((found - exact).norm() / exact.norm())
                    for found, exact in ((product, held), (product, free), (single, free))
                )
            )
        )
        state.generator.set_state(before)
        return sweep(state, real, config)

    with mock.patch.object(loop, "_sweep", watched):
        for record in loop.condense(state, real, config):
            if record.phase == "condense":
                yield errors[-1]
                if record.done == steps:
                    return


def free_errors(state: loop.CondenseState, real: RealData, config: CondenseConfig, *, steps: int) -> Iterator[float]:
    """Errors.free_masks alone, which takes less than half of the time."""
    errors = []
    sweep = loop._sweep

    def watched(state: loop.CondenseState, real: RealData, config: CondenseConfig) -> Tensor:
        before = state.generator.get_state()
        found = container_gradient(state, real, config).double()
        state.generator.set_state(before)
        exact = slow_container_gradient(state, real, config)
        errors.append(float((found - exact).norm() / exact.norm()))
        state.generator.set_state(before)
        return sweep(state, real, config)

    with mock.patch.object(loop, "_sweep", watched):
        for record in loop.condense(state, real, config):
            if record.phase == "condense":
                yield errors[-1]
                if record.done == steps:
                    return
