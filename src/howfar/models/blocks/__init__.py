"""Parts that the families share. A family imports this package and no other family.

Idea     a family is a mixer (what moves information between positions) in a residual stack
FLOPs    matrix products, convolutions and attention of one forward pass, multiply-add = 2
"""

from howfar.models.blocks.attention import CrossAttention
from howfar.models.blocks.base import (
    FLOAT_BYTES,
    Body,
    Chunking,
    Drawn,
    Packing,
    Sizes,
    Stepping,
    has_padding,
    initialise,
    positive,
    real_positions,
)
from howfar.models.blocks.convolution import Convolution
from howfar.models.blocks.decoder import AdditiveDecoder, CrossDecoder, Decoder
from howfar.models.blocks.heads import head_size, join_heads, split_heads, unit_length
from howfar.models.blocks.linear import Linear
from howfar.models.blocks.minimal import GatedAverage, positive_part
from howfar.models.blocks.placed import PlacedStack, Places
from howfar.models.blocks.positions import (
    Alibi,
    Relative,
    places_of,
    rotate,
    rotate_at,
)
from howfar.models.blocks.recompute import Recomputing, recomputes, set_recompute
from howfar.models.blocks.recurrence import Recurrence, known_choice, known_start
from howfar.models.blocks.recurrent_layers import (
    known_recurrent,
    narrowest_recurrent,
    recurrent_body,
)
from howfar.models.blocks.short_convolution import ShortConvolution
from howfar.models.blocks.stack import FeedForward, Residual, Stack
from howfar.models.blocks.stepped_decay import SteppedDecay

__all__ = [
    "FLOAT_BYTES",
    "AdditiveDecoder",
    "Alibi",
    "Body",
    "Chunking",
    "Convolution",
    "CrossAttention",
    "CrossDecoder",
    "Decoder",
    "Drawn",
    "FeedForward",
    "GatedAverage",
    "Linear",
    "Packing",
    "PlacedStack",
    "Places",
    "Recomputing",
    "Recurrence",
    "Relative",
    "Residual",
    "ShortConvolution",
    "Sizes",
    "Stack",
    "SteppedDecay",
    "Stepping",
    "has_padding",
    "head_size",
    "initialise",
    "join_heads",
    "known_choice",
    "known_recurrent",
    "known_start",
    "narrowest_recurrent",
    "places_of",
    "positive",
    "positive_part",
    "real_positions",
    "recomputes",
    "recurrent_body",
    "rotate",
    "rotate_at",
    "set_recompute",
    "split_heads",
    "unit_length",
]
