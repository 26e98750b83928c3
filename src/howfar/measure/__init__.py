"""A callable and tokens in, a curve, one number and its doubt out. Knows no model of ours.

`MEASURES` names them all; each lives in a folder or file of its own and stands alone.
"""

from howfar.measure.attention import AttentionOptions, AttentionReach, attention_reach
from howfar.measure.audit import Audit, AuditOptions, audit
from howfar.measure.context import ContextOptions, ContextReach, context_curve
from howfar.measure.distance import accuracy_by_distance, task_reach
from howfar.measure.fragments import Fragments, FragmentsOptions, fragments
from howfar.measure.gradient import GradientOptions, GradientReach, gradient_reach
from howfar.measure.influence import Influence, InfluenceOptions, influence_reach
from howfar.measure.interaction import InteractionOptions, InteractionReach, interaction_reach
from howfar.measure.retention import Retention, RetentionOptions, retention
from howfar.measure.structure import Structure, StructureOptions, structure
from howfar.measure.swap import SwapOptions, SwapReach, swap_reach

MEASURES = {
    "swap": swap_reach,
    "interaction": interaction_reach,
    "gradient": gradient_reach,
    "influence": influence_reach,
    "context": context_curve,
    "attention": attention_reach,
    "retention": retention,
    "fragments": fragments,
    "structure": structure,
    "audit": audit,
}

__all__ = [
    "MEASURES",
    "AttentionOptions",
    "AttentionReach",
    "Audit",
    "AuditOptions",
    "ContextOptions",
    "ContextReach",
    "Fragments",
    "FragmentsOptions",
    "GradientOptions",
    "GradientReach",
    "Influence",
    "InfluenceOptions",
    "InteractionOptions",
    "InteractionReach",
    "Retention",
    "RetentionOptions",
    "Structure",
    "StructureOptions",
    "SwapOptions",
    "SwapReach",
    "accuracy_by_distance",
    "attention_reach",
    "audit",
    "context_curve",
    "fragments",
    "gradient_reach",
    "influence_reach",
    "interaction_reach",
    "retention",
    "structure",
    "swap_reach",
    "task_reach",
]
