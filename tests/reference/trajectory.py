"""Along a real run: the product's container gradient against float64 double backward, step by step."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor

from hmn.condensation.loop import condensing
from hmn.condensation.objectives import gradient as product
from hmn.condensation.objectives.matching import Match, Matching
from hmn.condensation.state import CondenseState
from hmn.data.source import Batch
from tests.reference.matching import gradient_matching


def container_gradient(state: CondenseState) -> Tensor:
    """The gradient that one sweep hands to the optimizer, in one vector."""
    groups = list(torch.arange(len(state.members)).split(len(state.members)))
    state.objective.match_groups(state, groups)
    return torch.cat([p.grad.flatten() for p in state.container.parameters() if p.grad is not None])


def slow_container_gradient(
    state: CondenseState,
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

    with mock.patch.object(product, "gradient_match", slow):
        return container_gradient(raised)


class Errors(NamedTuple):
    """Relative errors (2-norm) of a sweep's whole container gradient against float64 double backward."""

    same_masks: float
    """The product's, where float64 holds the ReLU masks that float32 found."""
    free_masks: float
    """The product's, where float64 finds its own masks."""
    plain_float32: float
    """Double backward's in float32, where float64 finds its own masks: what rounding alone does."""


def relative_errors(state: CondenseState, *, steps: int) -> Iterator[Errors]:
    """The errors in each of the first `steps` sweeps of a run.

    The first of them has a fresh network, and the run goes on from each as it would without being watched.
    """
    errors = []
    sweep = Matching.sweep

    def watched(self: Matching, state: CondenseState) -> Tensor:
        before = state.generator.get_state()

        def again(gradient: Callable[..., Tensor], **options: Any) -> Tensor:
            state.generator.set_state(before)
            return gradient(state, **options).double()

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
        return sweep(self, state)

    with mock.patch.object(Matching, "sweep", watched):
        for record in condensing(state):
            if record.phase == "condense":
                yield errors[-1]
                if record.done == steps:
                    return


def free_errors(state: CondenseState, *, steps: int) -> Iterator[float]:
    """Errors.free_masks alone, which takes less than half of the time."""
    errors = []
    sweep = Matching.sweep

    def watched(self: Matching, state: CondenseState) -> Tensor:
        before = state.generator.get_state()
        found = container_gradient(state).double()
        state.generator.set_state(before)
        exact = slow_container_gradient(state)
        errors.append(float((found - exact).norm() / exact.norm()))
        state.generator.set_state(before)
        return sweep(self, state)

    with mock.patch.object(Matching, "sweep", watched):
        for record in condensing(state):
            if record.phase == "condense":
                yield errors[-1]
                if record.done == steps:
                    return
