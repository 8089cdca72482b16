"""Training on a source, and the evaluation of a source by the networks trained on it."""

from __future__ import annotations

from hmn.train.evaluation import Accuracies, Curve, CurvePoint, Rendered, render, train_and_test
from hmn.train.loop import EpochRecord, Margin, accuracy, learning_rate, margins, total_steps, train

__all__ = [
    "Accuracies",
    "Curve",
    "CurvePoint",
    "EpochRecord",
    "Margin",
    "Rendered",
    "accuracy",
    "learning_rate",
    "margins",
    "render",
    "total_steps",
    "train",
    "train_and_test",
]
