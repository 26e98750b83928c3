"""Single-token influence: how far a change of one token is felt."""

from howfar.measure.influence.options import InfluenceOptions
from howfar.measure.influence.reach import Influence, influence_reach

__all__ = ["Influence", "InfluenceOptions", "influence_reach"]
