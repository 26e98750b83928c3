"""Second differences of random pairs of places, one lag at a time.

Idea     three forward passes a pair: the near span swapped, the far span, both. Where a model has
         a maximum over time, three more with its winners held fixed
Shapes   (S, N): S models, N sequences
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from howfar.core.errors import DataError, shown
from howfar.core.protocols import Predict
from howfar.core.seeds import Seeds
from howfar.measure import probe
from howfar.measure.interaction.options import InteractionOptions
from howfar.measure.interaction.places import even, towards
from howfar.measure.interaction.pooling import Held, over_time

PROFILE_ROWS = 8  # sequences that tell where swaps matter
SCREEN_ROWS = 24  # sequences that look for isolated lags


class Pairs:
    """What was measured so far.

    joint, held: lag -> (S, N) squared second difference, winners free and held.
    fits: lag -> (N,) rows long enough for it. single: (S, N) squared effect of one swap, summed
    over the `tried` (N,) pairs. floor: squared difference that rounding and noise can make.
    pooling: what is held; `holding`: whether anything is.
    """

    def __init__(
        self, models: Sequence[Predict], seqs: probe.Sequences, options: InteractionOptions
    ) -> None:
        self.models = [probe.ask(model, seqs) for model in models]
        self.seqs, self.options = seqs, options
        self.clean = [finite(probe.answers(model, seqs, options.batch)) for model in self.models]
        again = [finite(probe.answers(model, seqs, options.batch)) for model in self.models]
        self.centre = not seqs.tokens.is_floating_point() and self.clean[0].shape[1] > 1
        self.noise = max(
            float((c - a).square().sum(-1).mean()) for c, a in zip(self.clean, again, strict=True)
        )
        step = max(
            8 * model.eps * float(c.abs().amax())
            for model, c in zip(self.models, self.clean, strict=True)
        )
        # Four rounded terms make one difference: 8 units in the last place of the largest output,
        # and twice the noise of a repeat, which is a difference of two.
        self.floor = 2 * self.noise + step**2 * self.clean[0].shape[1]
        self.joint: dict[int, np.ndarray] = {}
        self.held: dict[int, np.ndarray] = {}
        self.fits: dict[int, np.ndarray] = {}
        self.single = np.zeros((len(models), len(seqs.tokens)))
        self.tried = np.zeros(len(seqs.tokens))
        self.rows = 2 * self.single.size  # asked so far
        self.effect_L: np.ndarray | None = None
        self.pooling, self.fixed = self._hold() if options.hold else ("not looked for", [])
        self.holding = bool(self.fixed)

    @property
    def passes(self) -> int:
        """Forward passes over all sequences so far, rounded up."""
        return -(-self.rows // len(self.seqs.tokens))

    def measure(self, lag: int) -> None:
        """Fill in one lag."""
        if lag in self.joint:
            return
        rng = Seeds(self.options.seed).numpy(f"interaction {lag}")
        room_N = self.seqs.lengths.numpy() - lag - self.options.span + 1
        fits_N = room_N >= 1
        joint, held = np.zeros_like(self.single), np.zeros_like(self.single)
        for _ in range(self.options.pairs):
            way = probe.donors(len(self.seqs.tokens), 1, rng)[0]
            given = probe.donor_tokens(self.seqs, way)
            first_N, weight_N = self._first(lag, room_N, rng.random(len(room_N)))
            near, far = self._span(first_N, fits_N), self._span(first_N + lag, fits_N)
            masks = (near, far, near | far)
            weight_N = weight_N * fits_N
            for s, model in enumerate(self.models):
                moved = [self._moved(model, self.clean[s], mask, given) for mask in masks]
                joint[s] += _second(moved) * weight_N / self.options.pairs
                for one in moved[:2]:
                    self.single[s] += one.square().sum(-1).numpy() * weight_N / 2
            held += self._held(masks, given) * weight_N / self.options.pairs
            self.tried += fits_N
        self.joint[lag], self.fits[lag] = joint, fits_N
        if self.holding:
            self.held[lag] = held

    def profile(self) -> None:
        """Measure, on few sequences, how much one swap moves the output at each place."""
        rows = self._spread(PROFILE_ROWS)
        length = self.seqs.tokens.shape[1]
        rng = Seeds(self.options.seed).numpy("interaction places")
        given = probe.donor_tokens(self.seqs, probe.donors(len(self.seqs.tokens), 1, rng)[0])
        each = np.repeat(rows, length)
        first = np.tile(np.arange(length), len(rows))
        fits = first <= self.seqs.lengths.numpy()[each] - self.options.span
        moved = self._changed(each, [self._span(first, fits)], given)[:, 0]
        self.effect_L = moved.square().sum((0, -1)).reshape(len(rows), length).mean(0).numpy()

    def screen(self, lags: Sequence[int]) -> np.ndarray:
        """Squared second difference of few sequences at each lag, in the unit of `joint`: (K,)."""
        rows = self._spread(SCREEN_ROWS)
        found = []
        for lag in lags:
            rng = Seeds(self.options.seed).numpy(f"interaction screen {lag}")
            given = probe.donor_tokens(self.seqs, probe.donors(len(self.seqs.tokens), 1, rng)[0])
            room = self.seqs.lengths.numpy()[rows] - lag - self.options.span + 1
            first, weight = self._first(lag, room, rng.random(len(rows)))
            near, far = self._span(first, room >= 1), self._span(first + lag, room >= 1)
            moved = self._changed(rows, [near, far, near | far], given)
            second = _second([moved[:, 0], moved[:, 1], moved[:, 2]]) * weight
            found.append(second.sum() / max(len(self.models) * int((room >= 1).sum()), 1))
        return np.array(found)

    def _hold(self) -> tuple[str, list[tuple[probe.Asked, Tensor]]]:
        """What can be held, and each model with its winners fixed beside its clean answers."""
        longest = self.seqs.lengths.argsort(descending=True, stable=True)[:2]
        tokens, lengths = self.seqs.tokens[longest], self.seqs.lengths[longest]
        found = [over_time(model.predict, tokens, lengths) for model in self.models]
        said = "; ".join(dict.fromkeys(said for _, said in found))
        if not all(chosen for chosen, _ in found):
            return said, []
        rounds = -(-len(self.seqs.tokens) // self.options.batch)
        fixed = []
        for model, (chosen, _) in zip(self.models, found, strict=True):
            held = replace(model, predict=Held(model.predict, chosen, rounds))
            fixed.append((held, finite(probe.answers(held, self.seqs, self.options.batch))))
            self.rows += len(self.seqs.tokens)
        return said, fixed

    def _held(self, masks: Sequence[Tensor], given: Tensor) -> np.ndarray:
        """Squared second differences with the winners fixed: (S, N)."""
        second = np.zeros_like(self.single)
        try:
            for s, (model, clean) in enumerate(self.fixed):
                second[s] = _second([self._moved(model, clean, mask, given) for mask in masks])
        except Exception as error:  # a stranger's model whose maxima depend on the tokens
            self.fixed, self.held, self.holding = [], {}, False
            self.pooling = f"could not be held on changed texts: {shown(error)}"
        return second

    def _first(
        self, lag: int, room_N: np.ndarray, draw_N: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        if self.effect_L is None:
            return even(room_N, draw_N)
        return towards(self.effect_L, lag, room_N, draw_N)

    def _spread(self, count: int) -> np.ndarray:
        """Up to `count` sequences, evenly spread."""
        num = len(self.seqs.tokens)
        return np.unique(np.linspace(0, num - 1, min(count, num)).round().astype(np.int64))

    def _span(self, first_N: np.ndarray, fits_N: np.ndarray) -> Tensor:
        place_L = torch.arange(self.seqs.tokens.shape[1])[None, :]
        first = torch.from_numpy(first_N)[:, None]
        inside = (place_L >= first) & (place_L < first + self.options.span)
        return inside & torch.from_numpy(fits_N)[:, None]

    def _moved(self, model: probe.Asked, clean_NV: Tensor, mask: Tensor, given: Tensor) -> Tensor:
        swapped = probe.where_tokens(mask, given, self.seqs.tokens)
        part = probe.Sequences(swapped, self.seqs.lengths, self.seqs.targets)
        self.rows += len(swapped)
        moved_NV = finite(probe.answers(model, part, self.options.batch)) - clean_NV
        return moved_NV - moved_NV.mean(-1, keepdim=True) if self.centre else moved_NV

    def _changed(self, rows: np.ndarray, masks: Sequence[Tensor], given: Tensor) -> Tensor:
        """Moves of all models on some rows, one a mask: (S, masks, rows, V)."""
        each = torch.from_numpy(np.tile(rows, len(masks)))
        tokens, seqs = self.seqs.tokens[each], self.seqs
        swapped = probe.where_tokens(torch.cat(list(masks)), given[each], tokens)
        part = probe.Sequences(swapped, seqs.lengths[each], seqs.targets[each])
        moves = []
        for model, clean in zip(self.models, self.clean, strict=True):
            self.rows += len(swapped)
            moved = finite(probe.answers(model, part, self.options.batch)) - clean[each]
            moved = moved - moved.mean(-1, keepdim=True) if self.centre else moved
            moves.append(moved.reshape(len(masks), len(rows), -1))
        return torch.stack(moves)


def finite(answer_NV: Tensor) -> Tensor:
    """The answers, unless one is infinite."""
    if bool(answer_NV.isinf().any()):
        message = "The model's outputs are infinite: differences of them have no value."
        raise DataError("E-OUTPUT", message, "finite logits.")
    return answer_NV


def _second(moved: Sequence[Tensor]) -> np.ndarray:
    """Squared second difference from the three moves."""
    return np.asarray((moved[2] - moved[0] - moved[1]).square().sum(-1))
