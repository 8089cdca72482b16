"""Objectives: how the generated images should change, given a network and real images."""

from hmn.objectives.base import Match
from hmn.objectives.features import feature_match
from hmn.objectives.gradient import gradient_match

__all__ = ["Match", "feature_match", "gradient_match"]
