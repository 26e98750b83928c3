"""Attention by distance: weights of any model, and the hidden weights of linear recurrences."""

from howfar.measure.attention.hidden import (
    LinearLayer,
    Recurrence,
    hidden_attention,
    linear_attention,
)
from howfar.measure.attention.layers import LayerAttention
from howfar.measure.attention.options import AttentionOptions
from howfar.measure.attention.reach import AttentionReach, attention_reach

__all__ = [
    "AttentionOptions",
    "AttentionReach",
    "LayerAttention",
    "LinearLayer",
    "Recurrence",
    "attention_reach",
    "hidden_attention",
    "linear_attention",
]
