"""The next token from the logits: greedy, or drawn from what temperature, top-k and top-p leave.

Idea     in this order: ids that are no text are ruled out; p = softmax(logits / temperature); the
         `top_k` most likely stay; of these the fewest that hold `top_p` of what is left stay (at
         least one). Of equally likely ids the lower one stands first, so exactly k stay
Draw     one uniform number a token, looked up in the cumulative sum, in float64 on the CPU: the
         same seed gives the same text on every device whose logits are the same
Source   top-k: Fan et al. 2018, https://arxiv.org/abs/1805.04833, section 5; nucleus (top-p):
         Holtzman et al. 2020, https://arxiv.org/abs/1904.09751, section 3.1
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from howfar.core.errors import StoreError, in_range

Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the next token is chosen.

    temperature: 0 takes the most likely token; 1 draws as the model says; more is more random.
    top_k, top_p: see the header; None: all.

    Raises:
        UsageError: E-OPTION for a value out of its range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        checks = {
            "temperature": 0 <= self.temperature <= 100,
            "top_k": self.top_k is None or self.top_k >= 1,
            "top_p": self.top_p is None or 0 < self.top_p <= 1,
        }
        in_range(self, checks, "temperature 0 to 100, top_k 1 or more, 0 < top_p <= 1")


def choose(logits_V: Reals, how: Sampling, draws: np.random.Generator) -> int:
    """One id; -inf is never chosen.

    Raises:
        StoreError: E-NAN where the model answered nan, or no id at all can be chosen.
    """
    if np.isnan(logits_V).any() or logits_V.max() == -np.inf:
        message = "The model's answer is not a number: its weights are of no use."
        raise StoreError("E-NAN", message, "train it again with a lower learning rate")
    if how.temperature == 0:
        return int(logits_V.argmax())
    p_V = probabilities(logits_V, how)
    sum_V = p_V.cumsum()
    place = int(np.searchsorted(sum_V, draws.random() * sum_V[-1], side="right"))
    # Rounding may carry the draw onto the total itself: the last id that can be meant.
    return min(place, int(np.flatnonzero(p_V)[-1]))


def probabilities(logits_V: Reals, how: Sampling) -> Reals:
    """(V,) what `choose` draws from at a temperature above 0; sums to 1."""
    shifted_V = logits_V - logits_V.max()  # before dividing: a small temperature must not overflow
    p_V: Reals = np.exp(shifted_V / how.temperature)
    p_V /= p_V.sum()
    if how.top_k is None and how.top_p in (None, 1.0):
        return p_V
    order_V = np.argsort(-p_V, kind="stable")[: how.top_k]
    sorted_K = p_V[order_V]
    if how.top_p is not None:
        before_K = sorted_K.cumsum() - sorted_K
        # What stands before it is less than top_p of what is left: it is needed.
        order_V = order_V[before_K < how.top_p * sorted_K.sum() * (1 - 1e-12)]
    kept_V: Reals = np.zeros_like(p_V)
    kept_V[order_V] = p_V[order_V] / p_V[order_V].sum()
    return kept_V
