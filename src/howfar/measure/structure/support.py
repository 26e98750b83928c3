"""Numeric support: which inputs can move an output at all, found by swapping.

Idea     everything before place p comes from another text; if one answer of any text changes by
         as much as a bit, some input before p is seen. The smallest such p is found by bisection,
         and every octave beyond is asked once more; the same from the other end. float64, so that
         what is not seen is exactly zero
Shapes   tokens (N, L) or (N, L, D); outputs (N, O, V), or (N, V) of a whole text
Units    tokens
Limits   inputs that no text of the sample lets through a ReLU or a maximum are missed: the support
         is a lower bound. Under an FFT everything moves by rounding: `tolerance`
Source   the support of the map; compare `field`, which must agree on plain stacks
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from howfar.core.errors import DataError, UsageError
from howfar.core.protocols import Predict
from howfar.core.seeds import Seeds
from howfar.measure import probe
from howfar.measure.watch import quiet


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """Inputs first .. last can move output `output`, all counted from 0.

    outputs: how many outputs a text has; 0: one for the whole text. first is None where no input
    moves it. moved: place p -> (N,) whether swapping what stands before p moved each text's answer.
    """

    output: int
    outputs: int
    first: int | None
    last: int | None
    rounding: bool
    moved: dict[int, np.ndarray] = field(repr=False)
    passes: int

    @property
    def seen(self) -> tuple[int, int] | None:
        """First and last input that can move the output; None: none can."""
        return None if self.first is None or self.last is None else (self.first, self.last)


def support(
    predict: Predict,
    tokens: Tensor,
    *,
    output: int = -1,
    donors: int = 2,
    tolerance: float = 0.0,
    seed: int = 0,
) -> Support:
    """Find the first and last input that can move one output.

    Args:
        predict: `predict(tokens, lengths)`; an nn.Module is copied to float64.
        tokens: integer (N, L), or real (N, L) or (N, L, D): full rows, each other's donors.
        output: which output; negative: from the end.
        donors: other texts a text.
        tolerance: changes up to this are none.
        seed: of the donors.

    Raises:
        UsageError: E-SHAPE. DataError: E-OUTPUT where the model answers NaN.
    """
    seqs = probe.sequences(tokens, None, "last")
    asked = _Asked(*exact(predict, seqs.tokens), output)
    rng = Seeds(seed).numpy("support donors")
    given = [asked.tokens[way] for way in probe.donors(len(tokens), donors, rng)]
    length = tokens.shape[1]

    def moves(mask_L: Tensor) -> np.ndarray:
        return np.asarray(np.max([asked.moves(mask_L, each) for each in given], axis=0))

    place_L = torch.arange(length)
    before: dict[int, np.ndarray] = {}
    after: dict[int, np.ndarray] = {}
    first = _edge(before, lambda p: moves(place_L < p), length, tolerance)
    last = _edge(after, lambda p: moves(place_L >= length - p), length, tolerance)
    size = float(asked.clean.abs().max())
    small = [
        float(effects[edge].max()) for effects, edge in ((before, first), (after, last)) if edge
    ]
    return Support(
        output=asked.output,
        outputs=asked.outputs,
        first=None if first is None else first - 1,
        last=None if last is None else length - last,
        rounding=any(step <= 8 * asked.eps * size for step in small),
        moved={p: effect > tolerance for p, effect in before.items()},
        passes=asked.passes,
    )


def _edge(
    effects: dict[int, np.ndarray],
    moves: Callable[[int], np.ndarray],
    length: int,
    tolerance: float,
) -> int | None:
    """Smallest number of swapped places from one end that moves any answer; None: none does."""

    def moved(p: int) -> bool:
        if p not in effects:
            effects[p] = moves(p)
        return bool(effects[p].max() > tolerance)

    if not moved(length):
        return None
    high = length  # swapping `high` places moves an answer
    while True:
        low = 0  # swapping none moves nothing
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if moved(middle) else (middle, high)
        # Effects can cancel: ask again at each octave of fewer places.
        fewer = [p for p in (high - 2**j for j in range(length.bit_length())) if p > 0]
        found = [p for p in fewer if moved(p)]
        if not found:
            return high
        high = min(found)


class _Asked:
    """One model, its clean answers at one output, and how to change the texts."""

    def __init__(self, predict: Predict, tokens: Tensor, output: int) -> None:
        self.predict, self.tokens = predict, tokens
        self.lengths = torch.full((len(tokens),), tokens.shape[1])
        self.passes = 0
        whole = self._run(tokens)
        if whole.ndim not in (2, 3) or len(whole) != len(tokens):
            message = f"A model must return (B, L, V), (B, L) or (B, C), got {tuple(whole.shape)}."
            raise UsageError("E-SHAPE", message, "wrap the model in a function that does.")
        seqs = probe.Sequences(tokens, self.lengths, self.lengths - 1)
        square = whole.ndim == 2 and whole.shape[1] == tokens.shape[1] > 1
        reals = square and probe.ask(predict, seqs).everywhere
        self.outputs = whole.shape[1] if whole.ndim == 3 or reals else 0
        self.output = range(self.outputs)[output] if self.outputs else 0
        self.clean = self._cut(whole)
        if bool(self.clean.isnan().any()):
            message = "The model's output is not a number."
            raise DataError("E-OUTPUT", message, "check the model for overflow.")
        self.eps = torch.finfo(whole.dtype).eps

    def moves(self, mask_L: Tensor, given: Tensor) -> np.ndarray:
        """Largest change of each text's answer when the masked places are swapped: (N,)."""
        mask = mask_L[None].expand(self.tokens.shape[:2])
        changed = self._cut(self._run(probe.where_tokens(mask, given, self.tokens)))
        # A class that is ruled out in both has not moved; one that is in only one of them has.
        apart = torch.where(changed == self.clean, 0.0, (changed - self.clean).abs())
        return np.asarray(apart.amax(1))

    def _cut(self, whole: Tensor) -> Tensor:
        if not self.outputs:
            return whole.double()
        return whole[:, self.output].reshape(len(whole), -1).double()

    def _run(self, tokens: Tensor) -> Tensor:
        self.passes += 1
        with torch.no_grad(), quiet(self.predict):
            return self.predict(tokens, self.lengths)


def exact(predict: Predict, tokens: Tensor) -> tuple[Predict, Tensor]:
    """A module's float64 copy and tokens to match; any other callable as it is."""
    if not isinstance(predict, nn.Module):
        return predict, tokens
    double = copy.deepcopy(predict).double()
    return double, tokens.double() if tokens.is_floating_point() else tokens
