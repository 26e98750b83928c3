"""Context length: how the loss grows when a model is given the last c tokens alone."""

from howfar.measure.context.options import ContextOptions
from howfar.measure.context.reach import ContextReach, context_curve

__all__ = ["ContextOptions", "ContextReach", "context_curve"]
