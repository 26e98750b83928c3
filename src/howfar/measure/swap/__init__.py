"""Swap reach: how many of the last tokens carry what the input does to the output."""

from howfar.measure.swap.classes import frequency_bands, matching, token_class
from howfar.measure.swap.options import SwapOptions
from howfar.measure.swap.reach import swap_reach
from howfar.measure.swap.result import Card, Own, Share, SwapReach
from howfar.measure.swap.sides import SwapSides, swap_sides

__all__ = [
    "Card",
    "Own",
    "Share",
    "SwapOptions",
    "SwapReach",
    "SwapSides",
    "frequency_bands",
    "matching",
    "swap_reach",
    "swap_sides",
    "token_class",
]
