"""Structure: what could matter, by arithmetic and by swapping; effective field; path length."""

from howfar.measure.structure.effective import (
    Effective,
    EffectiveOptions,
    effective_field,
    sigma_of_uniform,
)
from howfar.measure.structure.field import (
    Branches,
    Field,
    Layer,
    everything,
    receptive_field,
    window,
)
from howfar.measure.structure.path import (
    Path,
    attention,
    convolution,
    first_layer,
    pooling,
    recurrence,
    shortest,
)
from howfar.measure.structure.support import Support, support
from howfar.measure.structure.whole import Structure, StructureOptions, structure

__all__ = [
    "Branches",
    "Effective",
    "EffectiveOptions",
    "Field",
    "Layer",
    "Path",
    "Structure",
    "StructureOptions",
    "Support",
    "attention",
    "convolution",
    "effective_field",
    "everything",
    "first_layer",
    "pooling",
    "receptive_field",
    "recurrence",
    "shortest",
    "sigma_of_uniform",
    "structure",
    "support",
    "window",
]
