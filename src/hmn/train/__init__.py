"""Training on a source, and the evaluation of a source by the networks trained on it."""

from hmn.train.evaluation import Evaluation, Rendered, evaluate, render
from hmn.train.loop import EpochRecord, accuracy, learning_rate, total_steps, train

__all__ = [
    "EpochRecord",
    "Evaluation",
    "Rendered",
    "accuracy",
    "evaluate",
    "learning_rate",
    "render",
    "total_steps",
    "train",
]
