"""Beam search: the most likely answer to a source, several candidates at a time.

Idea     `beams` hypotheses a source; at each step every one is continued by every id and the
         `beams` most likely of all stay. One that has ended stays in the beam as it is, and keeps
         its place while it is likely enough. With one beam this is greedy search
Score    log p / n**penalty, n its tokens with `end`, over what is in the beam at last: ended, or
         cut at `most`. penalty 0: the likeliest; 1: the likeliest by the token
Shapes   source (S, L) -> S answers; the K beams of a source are rows s * K .. s * K + K - 1
Source   Sutskever et al. 2014, https://arxiv.org/abs/1409.3215, section 3.2; normalisation: Wu et
         al. 2016, https://arxiv.org/abs/1609.08144, section 7, with n in place of (5 + n) / 6
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from howfar.core.errors import in_range
from howfar.core.protocols import State
from howfar.models import Seq2Seq


@dataclass(frozen=True, slots=True, kw_only=True)
class Beams:
    """How an answer is searched. most: tokens of an answer, `end` included.

    Raises:
        UsageError: E-OPTION for a value out of its range.
    """

    beams: int = 1
    penalty: float = 1.0
    most: int = 200

    def __post_init__(self) -> None:
        checks = {
            "beams": 1 <= self.beams <= 1000,
            "penalty": 0 <= self.penalty <= 10,
            "most": self.most >= 1,
        }
        in_range(self, checks, "1 to 1000 beams, a penalty of 0 to 10, at least one token")


@dataclass(frozen=True, slots=True)
class Found:
    """One answer. ids: without `end`. log_p: of all of it, `end` included."""

    ids: tuple[int, ...]
    log_p: float
    score: float
    ended: bool


@dataclass(frozen=True, slots=True)
class _Beam:
    """ids (R, n), log_p (R,) float64, ended (R,), lengths (R,) with `end`; R = S * K rows."""

    ids: Tensor
    log_p: Tensor
    ended: Tensor
    lengths: Tensor


@torch.no_grad()
def search(
    model: Seq2Seq,
    source_SL: Tensor,
    lengths: Tensor,
    *,
    end: int,
    banned: Tensor,
    how: Beams,
) -> list[Found]:
    """The best answer to each source.

    Args:
        model: in eval mode.
        source_SL: integer ids, padding on the right.
        lengths: (S,) real tokens.
        end: the id that begins and ends an answer.
        banned: ids that are never answered, on the CPU.
        how: beams, penalty and the most tokens.
    """
    sources, device = len(source_SL), source_SL.device
    row_R = torch.arange(sources).repeat_interleave(how.beams)
    state = taken(model.start(source_SL, lengths), row_R.to(device))
    # The beams begin alike: one of them alone, or each would find the same.
    first_R = torch.arange(len(row_R)) % how.beams == 0
    beam = _Beam(
        torch.empty(len(row_R), 0, dtype=torch.long),
        torch.where(first_R, 0.0, -torch.inf).double(),
        torch.zeros(len(row_R), dtype=torch.bool),
        torch.zeros(len(row_R), dtype=torch.long),
    )
    token_R = torch.full((len(row_R),), end)
    for _ in range(how.most):
        logits_RV, state = model.step(token_R.to(device), state)
        # On the CPU, as not every device has float64.
        logits_RV = logits_RV.cpu().double().index_fill(1, banned, -torch.inf)
        beam, kept_R = _next(beam, logits_RV, how.beams, end)
        state = taken(state, kept_R.to(device))
        token_R = beam.ids[:, -1]
        if bool(beam.ended.all()):
            break
    return _best(beam, how, sources)


def _next(beam: _Beam, logits_RV: Tensor, beams: int, end: int) -> tuple[_Beam, Tensor]:
    """The beam one token longer, and the row that each of its rows goes on from."""
    gain_RV = logits_RV.log_softmax(-1)
    # What has ended has one continuation: itself.
    gain_RV[beam.ended] = -torch.inf
    gain_RV[beam.ended, end] = 0.0
    vocabulary = gain_RV.shape[1]
    total_SX = (beam.log_p[:, None] + gain_RV).view(-1, beams * vocabulary)
    best_SK, place_SK = total_SX.topk(beams, dim=1)
    row_SK = torch.arange(len(total_SX))[:, None] * beams
    kept_R = (row_SK + place_SK // vocabulary).flatten()
    token_R = (place_SK % vocabulary).flatten()
    was_R = beam.ended[kept_R]
    after = _Beam(
        torch.cat([beam.ids[kept_R], token_R[:, None]], dim=1),
        best_SK.flatten(),
        # A beam that found nothing is over too: the rest of its row decides when to stop.
        was_R | (token_R == end) | (best_SK.flatten() == -torch.inf),
        beam.lengths[kept_R] + (~was_R).long(),
    )
    return after, kept_R


def _best(beam: _Beam, how: Beams, sources: int) -> list[Found]:
    score_R = beam.log_p / beam.lengths.double() ** how.penalty
    row_S = score_R.view(sources, how.beams).argmax(1).tolist()
    found = []
    for source, place in enumerate(row_S):
        row = source * how.beams + place
        length, ended = int(beam.lengths[row]), bool(beam.ended[row])
        ids = beam.ids[row, : length - ended].tolist()
        found.append(Found(tuple(ids), float(beam.log_p[row]), float(score_R[row]), ended))
    return found


def taken(state: State, row_R: Tensor) -> State:
    """The state of chosen rows; every tensor of a state has its rows first."""
    if isinstance(state, Tensor):
        return state[row_R]
    return tuple(taken(part, row_R) for part in state)
