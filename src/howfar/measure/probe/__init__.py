"""Ask a model: at each row's target, or position block by position block, and compare."""

from howfar.measure.probe.asking import (
    DIVERGENCES,
    Asked,
    Sequences,
    answers,
    answers_everywhere,
    ask,
    diverge,
    divergence_kind,
    donor_tokens,
    donors,
    resolution,
    sequences,
    where_tokens,
)
from howfar.measure.probe.labels import check_labels, extra_nats
from howfar.measure.probe.segments import Block, Changed, Segment
from howfar.measure.probe.stream import Stream, look
from howfar.measure.probe.walk import Walk

__all__ = [
    "DIVERGENCES",
    "Asked",
    "Block",
    "Changed",
    "Segment",
    "Sequences",
    "Stream",
    "Walk",
    "answers",
    "answers_everywhere",
    "ask",
    "check_labels",
    "diverge",
    "divergence_kind",
    "donor_tokens",
    "donors",
    "extra_nats",
    "look",
    "resolution",
    "sequences",
    "where_tokens",
]
