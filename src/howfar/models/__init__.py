"""Model families: each is one file and one line in `MODELS`; `build` makes a model of one.

Rooms    blocks: parts that families share; kernels: inner loops, each with a slow twin
"""

from howfar.models.blocks import Body, Sizes, Stack
from howfar.models.building import build, build_seq2seq, fit_width
from howfar.models.catalogue import MODELS, USUAL, families, named
from howfar.models.family import Family
from howfar.models.model import Model
from howfar.models.seq2seq import Seq2Seq

__all__ = [
    "MODELS",
    "USUAL",
    "Body",
    "Family",
    "Model",
    "Seq2Seq",
    "Sizes",
    "Stack",
    "build",
    "build_seq2seq",
    "families",
    "fit_width",
    "named",
]
