"""Retention: what each layer and each time step still holds, and what survives each pooling."""

from howfar.measure.retention.options import RetentionOptions
from howfar.measure.retention.pooling import Chosen, survivors
from howfar.measure.retention.reach import retention
from howfar.measure.retention.result import Loss, Retention
from howfar.measure.retention.survival import Stage, Survival, SurvivalOptions, survival

__all__ = [
    "Chosen",
    "Loss",
    "Retention",
    "RetentionOptions",
    "Stage",
    "Survival",
    "SurvivalOptions",
    "retention",
    "survival",
    "survivors",
]
