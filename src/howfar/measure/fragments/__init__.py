"""Fragments: which n-grams drive a class, exactly for a TextCNN, by swapping for any model."""

from howfar.measure.fragments.decompose import (
    Decomposition,
    Filters,
    Part,
    Reading,
    decompose,
)
from howfar.measure.fragments.gather import Fragment
from howfar.measure.fragments.kim import Fragments, fragments
from howfar.measure.fragments.options import FragmentsOptions, SwapFragmentsOptions
from howfar.measure.fragments.swap import FragmentSwap, Swapped, fragment_swap
from howfar.measure.fragments.threshold import Threshold, threshold

__all__ = [
    "Decomposition",
    "Filters",
    "Fragment",
    "FragmentSwap",
    "Fragments",
    "FragmentsOptions",
    "Part",
    "Reading",
    "SwapFragmentsOptions",
    "Swapped",
    "Threshold",
    "decompose",
    "fragment_swap",
    "fragments",
    "threshold",
]
