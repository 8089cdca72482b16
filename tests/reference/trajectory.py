"""Along a real run: the product's container gradient against float64 double backward, step by step."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from unittest import mock

import torch
from torch import Tensor

import hmn.condense as loop
from hmn.data.real import RealData
from hmn.data.source import Batch
from hmn.objectives import Match
from hmn.settings import CondenseConfig
from tests.reference.matching import gradient_matching


def container_gradient(state: loop.CondenseState, real: RealData, config: CondenseConfig) -> Tensor:
    """The gradient that one sweep hands to the optimizer, in one vector."""
    groups = list(torch.arange(len(state.members)).split(len(state.members)))
    loop._match_groups(state, real, config, groups)
    return torch.cat([p.grad.flatten() for p in state.container.parameters() if p.grad is not None])


def slow_container_gradient(state: loop.CondenseState, real: RealData, config: CondenseConfig) -> Tensor:
    """The same sweep, the same draws, with container, network and matching in float64 and double backward."""
    doubled = copy.deepcopy(state)
    doubled.container.double()

    def slow(net: torch.nn.Module, real_batch: Batch, generated: Batch, *, distance: str) -> Match:
        return Match(*gradient_matching(net, real_batch, generated, distance=distance))

    with mock.patch.object(loop, "gradient_match", slow):
        return container_gradient(doubled, real, config)


def relative_errors(
    state: loop.CondenseState, real: RealData, config: CondenseConfig, *, steps: int
) -> Iterator[float]:
    """Relative error (2-norm) of the container's gradient in each of the first `steps` sweeps of a run.

    The first of them has a fresh network, and the run goes on from each as it would without being watched.
    """
    errors = []
    sweep = loop._sweep

    def watched(state: loop.CondenseState, real: RealData, config: CondenseConfig) -> Tensor:
        before = state.generator.get_state()
        slow = slow_container_gradient(state, real, config)
        state.generator.set_state(before)
        fast = container_gradient(state, real, config)
        state.generator.set_state(before)
        errors.append(float((fast.double() - slow).norm() / slow.norm()))
        return sweep(state, real, config)

    with mock.patch.object(loop, "_sweep", watched):
        for record in loop.condense(state, real, config):
            if record.phase == "condense":
                yield errors[-1]
                if record.done == steps:
                    return
