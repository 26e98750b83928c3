"""From which answer on a filter has seen something: Jacovi's threshold by purity.

Idea     max pooling acts as a threshold: of the n-grams that won for a filter, those of texts in
         the filter's own class (the one its weight favours most) should answer strongest

             purity(t) = share of n-grams answering t or more whose class is the filter's

         the lowest t with purity(t) >= 0.75 parts informative n-grams from accidental ones
Limits   purity does not fall steadily, and by chance few strong n-grams may all match
Source   Jacovi, Sar Shalom & Goldberg 2018, https://arxiv.org/abs/1809.08037, section 5
"""

from dataclasses import dataclass

import numpy as np

PURITY = 0.75


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """One filter's threshold.

    value: lowest answer with purity enough; None: no threshold is pure enough, all accidental.
    purity: at the threshold. informative: share of the n-grams at or above it.
    label: the filter's class. width: tokens.
    """

    value: float | None
    purity: float
    informative: float
    label: int
    width: int


def threshold(
    scores_N: np.ndarray,
    matches_N: np.ndarray,
    *,
    label: int = 0,
    width: int = 0,
    purity: float = PURITY,
) -> Threshold:
    """Find a filter's threshold from the n-grams that won for it.

    Args:
        scores_N: their answers.
        matches_N: whether each one's text is of the filter's class.
        label: the filter's class, kept in the result.
        width: tokens, kept in the result.
        purity: share that must match.
    """
    order = np.argsort(-scores_N, kind="stable")
    score_N, right_N = scores_N[order], np.cumsum(matches_N[order])
    # Equal answers stand or fall together: a threshold ends behind the last of them.
    last_N = np.append(score_N[1:] != score_N[:-1], True)[: len(score_N)]
    pure = [
        int(place) for place in np.flatnonzero(last_N) if right_N[place] / (place + 1) >= purity
    ]
    if not pure:
        return Threshold(value=None, purity=0.0, informative=0.0, label=label, width=width)
    place = pure[-1]
    return Threshold(
        value=float(score_N[place]),
        purity=float(right_N[place] / (place + 1)),
        informative=float((place + 1) / len(score_N)),
        label=label,
        width=width,
    )
