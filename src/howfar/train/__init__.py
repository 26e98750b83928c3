"""One loop for every family: equal budgets, one schedule, and evaluation."""

from howfar.train.budget import Budget
from howfar.train.evaluate import Answers, evaluate
from howfar.train.loop import Trained, TrainOptions, fit

__all__ = ["Answers", "Budget", "TrainOptions", "Trained", "evaluate", "fit"]
