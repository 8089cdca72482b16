"""Objectives: how the generated images should change, given a network and real images."""

from __future__ import annotations

from hmn.condense.objectives.base import Match
from hmn.condense.objectives.distribution import distribution_match
from hmn.condense.objectives.features import feature_match
from hmn.condense.objectives.gradient import gradient_match

__all__ = ["Match", "distribution_match", "feature_match", "gradient_match"]
