"""Objectives: how the generated images should change, given a network and real images."""

from hmn.objectives.base import Match
from hmn.objectives.distribution import distribution_match
from hmn.objectives.features import feature_match
from hmn.objectives.gradient import gradient_match

__all__ = ["Match", "distribution_match", "feature_match", "gradient_match"]
