"""The inner loops of the families: each with a slow twin that is the equation itself.

Idea     a family calls one function here; which form of it runs is decided by `choice`
Forms    NAME: the fast one, gradients included; NAME_slow: the twin; NAME_flops: multiply-adds of
         the sequential form, times two, which is what every budget and price counts
"""

from howfar.models.kernels import graph
from howfar.models.kernels.attention import attention
from howfar.models.kernels.choice import as_graph, compiled, installed, using
from howfar.models.kernels.delta_rule import delta_rule, delta_rule_flops, delta_rule_slow
from howfar.models.kernels.diagonal_scan import (
    diagonal_scan,
    diagonal_scan_flops,
    diagonal_scan_slow,
)
from howfar.models.kernels.elman import elman_scan, elman_scan_flops, elman_scan_slow
from howfar.models.kernels.gru import gru_scan, gru_scan_flops, gru_scan_slow
from howfar.models.kernels.indrnn import indrnn_scan, indrnn_scan_flops, indrnn_scan_slow
from howfar.models.kernels.linear_attention import (
    gated_linear_attention,
    gated_linear_attention_flops,
    gated_linear_attention_slow,
)
from howfar.models.kernels.linear_recurrence import (
    linear_recurrence,
    linear_recurrence_flops,
    linear_recurrence_slow,
)
from howfar.models.kernels.long_convolution import (
    long_convolution,
    long_convolution_flops,
    long_convolution_slow,
)
from howfar.models.kernels.packed_attention import (
    each_document,
    packed_attention,
    packed_attention_flops,
    packed_attention_slow,
)
from howfar.models.kernels.precision import without_autocast
from howfar.models.kernels.product import linear
from howfar.models.kernels.selective_scan import (
    selective_scan,
    selective_scan_flops,
    selective_scan_slow,
)
from howfar.models.kernels.short_convolution import (
    short_convolution,
    short_convolution_flops,
    short_convolution_slow,
)
from howfar.models.kernels.windowed_attention import (
    windowed_attention,
    windowed_attention_flops,
    windowed_attention_slow,
)

__all__ = [
    "as_graph",
    "attention",
    "compiled",
    "delta_rule",
    "delta_rule_flops",
    "delta_rule_slow",
    "diagonal_scan",
    "diagonal_scan_flops",
    "diagonal_scan_slow",
    "each_document",
    "elman_scan",
    "elman_scan_flops",
    "elman_scan_slow",
    "gated_linear_attention",
    "gated_linear_attention_flops",
    "gated_linear_attention_slow",
    "graph",
    "gru_scan",
    "gru_scan_flops",
    "gru_scan_slow",
    "indrnn_scan",
    "indrnn_scan_flops",
    "indrnn_scan_slow",
    "installed",
    "linear",
    "linear_recurrence",
    "linear_recurrence_flops",
    "linear_recurrence_slow",
    "long_convolution",
    "long_convolution_flops",
    "long_convolution_slow",
    "packed_attention",
    "packed_attention_flops",
    "packed_attention_slow",
    "selective_scan",
    "selective_scan_flops",
    "selective_scan_slow",
    "short_convolution",
    "short_convolution_flops",
    "short_convolution_slow",
    "using",
    "windowed_attention",
    "windowed_attention_flops",
    "windowed_attention_slow",
    "without_autocast",
]
