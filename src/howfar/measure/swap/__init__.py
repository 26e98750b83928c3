"""Swap reach: how many of the last tokens carry what the input does to the output."""

from howfar.measure.swap.options import SwapOptions
from howfar.measure.swap.reach import SwapReach, swap_reach

__all__ = ["SwapOptions", "SwapReach", "swap_reach"]
