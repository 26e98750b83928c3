"""Gradient reach: how many of the last tokens hold the output's local sensitivity."""

from howfar.measure.gradient.decay import DecayFit, fit_decay
from howfar.measure.gradient.options import GradientOptions
from howfar.measure.gradient.reach import GradientReach, gradient_reach

__all__ = ["DecayFit", "GradientOptions", "GradientReach", "fit_decay", "gradient_reach"]
