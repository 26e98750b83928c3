"""Interaction reach: how far apart two tokens may stand and still be treated jointly."""

from howfar.measure.interaction.options import InteractionOptions
from howfar.measure.interaction.reach import InteractionReach, interaction_reach

__all__ = ["InteractionOptions", "InteractionReach", "interaction_reach"]
