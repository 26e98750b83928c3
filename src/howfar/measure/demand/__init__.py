"""Demand: how far back the data reaches, whatever the model."""

from howfar.measure.demand.labels import LabelDemand, LabelOptions, label_demand
from howfar.measure.demand.mutual import Mutual, MutualOptions, mutual_information
from howfar.measure.demand.predictability import Predictability, PredictOptions, predictability

__all__ = [
    "LabelDemand",
    "LabelOptions",
    "Mutual",
    "MutualOptions",
    "PredictOptions",
    "Predictability",
    "label_demand",
    "mutual_information",
    "predictability",
]
