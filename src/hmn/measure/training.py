"""The trainings behind an accuracy: how networks are trained, and what is reported of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from hmn.data.source import Source
from hmn.measure.candidates import Candidate, of_evaluation
from hmn.nets.build import width_of
from hmn.recipes.protocols import protocol
from hmn.recipes.settings import TrainConfig
from hmn.recipes.values import given_environment
from hmn.runtime.device import choose_device
from hmn.train.evaluation import Accuracies, Curve, train_and_test
from hmn.train.loop import EpochRecord, total_steps

MULTISTEP_LR = 0.1
"""Where the multi-step schedule starts. Source: supplement D.3 of arXiv:2310.07506."""
CURVE_SEED = 0
"""Seed of the choice of test images that curves are taken on."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """How every network is trained: the same for the target and for what it is compared with."""

    net: str
    width: int | None
    seeds: int
    protocol: str
    """As reported."""
    config: TrainConfig
    steps: int
    curve_points: int = 0
    """Points of training at which the accuracy is taken as well."""
    curve_images: int = 0
    """Test images that they are taken on, at most."""

    def evaluate(
        self,
        source: Source,
        test: Source,
        seeds: Sequence[int],
        *,
        on_epoch: Callable[[int, EpochRecord], None] | None = None,
        curve: Curve | None = None,
    ) -> Accuracies:
        """Train a network a seed on `source` and test it, on this run's device."""
        how: dict[str, Any] = {"net": self.net, "width": self.width, "config": self.config}
        return train_and_test(source, test, seeds=seeds, device=choose_device(), on_epoch=on_epoch, curve=curve, **how)

    @property
    def network(self) -> dict[str, Any]:
        """The network as it is reported, with the width that it has."""
        return {"net": self.net, "width": width_of(self.net, self.width)}

    def curve_on(self, test: Any) -> Curve | None:
        """Where and on what the accuracies on the way are taken; None without points."""
        if not self.curve_points:
            return None
        order = torch.randperm(len(test), generator=torch.Generator().manual_seed(CURVE_SEED))
        return Curve(points=self.curve_points, test=test.subset(order[: self.curve_images]))


def choose_training(
    target: Candidate,
    given: Mapping[str, Any],
    steps: int | None,
    *,
    schedule: Literal["cosine", "multistep"] | None = None,
    curve: int = 0,
    curve_images: int = 0,
) -> Training:
    """Flags, else environment variables, else the target's recipe, else the default recipe of such data.

    The steps are fixed to what the target needs, so that all sources train equally long.

    Args:
        target: what is evaluated.
        given: settings given as flags; None where not.
        steps, schedule: in the place of the protocol's.
        curve: points of training at which accuracies are taken as well, on `curve_images` test images at most.
    """
    changed = of_evaluation(given_environment()) | {name: value for name, value in given.items() if value is not None}
    if "net" in changed and "width" not in changed:
        changed["width"] = None  # a width belongs to its network: another network has its own
    settings = replace(target.settings, **changed)
    config = protocol(settings.protocol, target.data, target.ipc)
    name = settings.protocol if steps is None else f"{settings.protocol} at {steps} steps"
    if schedule is not None and schedule != config.schedule:
        config = replace(config, schedule=schedule, lr=MULTISTEP_LR if schedule == "multistep" else config.lr)
        name = f"{name}, {schedule}"
    # From here on in steps: sources of other sizes train as long as the target.
    steps = steps or total_steps(config, len(target.source))
    network: dict[str, Any] = {"net": settings.net, "width": settings.width, "seeds": settings.seeds}
    how: dict[str, Any] = {"protocol": name, "config": replace(config, steps=steps), "steps": steps}
    return Training(curve_points=curve, curve_images=curve_images, **network, **how)
