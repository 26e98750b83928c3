"""One loop for every family: equal budgets, one schedule, and evaluation."""

from howfar.train.budget import Budget
from howfar.train.evaluate import Answers, Judged, evaluate, judge
from howfar.train.loop import Moment, Trained, fit
from howfar.train.options import TrainOptions

__all__ = [
    "Answers",
    "Budget",
    "Judged",
    "Moment",
    "TrainOptions",
    "Trained",
    "evaluate",
    "fit",
    "judge",
]
