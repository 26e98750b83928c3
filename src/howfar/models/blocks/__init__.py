"""Parts that the families share. A family imports this package and no other family.

Idea     a family is a mixer (what moves information between positions) in a residual stack
FLOPs    matrix products, convolutions and attention of one forward pass, multiply-add = 2
"""

from howfar.models.blocks.base import (
    FLOAT_BYTES,
    Body,
    Chunking,
    Drawn,
    Sizes,
    Stepping,
    has_padding,
    initialise,
    positive,
    real_positions,
)
from howfar.models.blocks.convolution import Convolution
from howfar.models.blocks.recurrence import Recurrence, known_start
from howfar.models.blocks.stack import FeedForward, Residual, Stack

__all__ = [
    "FLOAT_BYTES",
    "Body",
    "Chunking",
    "Convolution",
    "Drawn",
    "FeedForward",
    "Recurrence",
    "Residual",
    "Sizes",
    "Stack",
    "Stepping",
    "has_padding",
    "initialise",
    "known_start",
    "positive",
    "real_positions",
]
