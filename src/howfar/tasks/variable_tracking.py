"""Variable tracking: chains of assignments; which value has this variable in the end?

Idea      some variables get a value, others copy a variable; noise between; the questions come last

              SET a 5  ..  SET b 2  ..  SET c a  ..  SET d b  ASK  c  d
          targets                                                  5  2

          Every one of `chains` chains is a value, a variable set to it, and `hops` variables each
          copied from the one before. One variable of every chain is asked, its hop uniform in
          0 .. hops, the chains in random order. The order of statements is random but for that of a
          chain, and so are their places
Distance  place of the question - place of the value at the chain's root
Chance    1 / values
Ladder    always the same value; the last value in the text, chains^-1 + (1 - chains^-1) / values;
          the last value before the variable is set; follows at most h copies, right with
          s + (1 - s) / values for s = (h + 1) / (hops + 1)
Source    RULER's variable tracking, Hsieh et al. 2024, https://arxiv.org/abs/2404.06654: there all
          variables with a value are named in words; here the value of a variable is asked, so that
          one token answers and the distance is known
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from howfar.core.batch import IGNORED, Batch
from howfar.tasks.base import Rule, Task, scored

_STATEMENT = 3  # tokens: SET, a name, a value or a name
_SET, _ASK = 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class VariableTracking(Task):
    """The task.

    Args:
        length: tokens a sequence, questions included.
        chains: values to follow, each asked once (at least 1). hops: copies a chain (at least 0).
        names, values, noise: symbols of each kind.
    """

    name: ClassVar[str] = "variable_tracking"
    idea: ClassVar[str] = "follow a variable through copies to its value"

    informative: ClassVar[str] = (
        "The values in the text are counted easily, and the answer is one of them: a share "
        "1 / chains and more."
    )

    length: int = 128
    chains: int = 4
    hops: int = 3
    names: int = 64
    values: int = 16
    noise: int = 16

    def __post_init__(self) -> None:
        """Refuse what cannot be made."""
        Task.__post_init__(self)
        self.require(self.chains >= 1, "chains >= 1")
        self.require(self.hops >= 0, "hops >= 0")
        self.require(self.values >= 2, "values >= 2")
        self.require(self.noise >= 1, "noise >= 1")
        self.require(self._statements <= self.names, "chains * (hops + 1) <= names")
        needed = _STATEMENT * self._statements + 1 + self.chains
        self.require(needed <= self.length, "3 * chains * (hops + 1) + 1 + chains <= length")

    @property
    def _statements(self) -> int:
        return self.chains * (self.hops + 1)

    @property
    def _too_few(self) -> range:
        return range(self.hops)

    @property
    def _first_value(self) -> int:
        return 3 + self.names

    @property
    def vocabulary(self) -> int:
        """Padding 0, SET, ASK, names, values, noise."""
        return self._first_value + self.values + self.noise

    @property
    def outputs(self) -> int:
        """The values."""
        return self.values

    @property
    def chance(self) -> float:
        """Values are equally likely, each chain's on its own."""
        return 1 / self.values

    @property
    def symbols(self) -> tuple[str, ...]:
        """Names begin with v, values are numbers, noise a dot with its number."""
        names = (f"v{number}" for number in range(self.names))
        values = (str(number) for number in range(self.values))
        return "_", "SET", "ASK", *names, *values, *(f".{number}" for number in range(self.noise))

    def batch(self, indices: Sequence[int], *, split: str = "train") -> Batch:
        """Items `indices` of a split: tokens (B, L), `chains` scored targets a row at the end."""
        draws = self.draws(split, indices)
        num, links = len(draws), self.hops + 1
        rows_B1 = np.arange(len(draws))[:, None]
        value_BC = draws.below(self.values, self.chains)
        name_BS = 3 + draws.chosen(self.names, self._statements)  # chain c has c * links ..
        asked_BC = np.arange(self.chains) * links + draws.below(links, self.chains)
        order_BC = draws.orders(self.chains)
        # Chains take their turns in random order; their own links come one after another.
        turn_BS = draws.orders(self._statements) // links
        number_BS = np.argsort(np.argsort(turn_BS, axis=1, kind="stable"), axis=1)
        # number_BS: which link of which chain, as c * links + link, stands at each turn.
        text = self.length - 1 - self.chains
        gaps = text - _STATEMENT * self._statements
        places_BS = np.sort(draws.chosen(gaps + self._statements, self._statements), axis=1)
        places_BS += (_STATEMENT - 1) * np.arange(self._statements)
        tokens_BL = self._first_value + self.values + draws.below(self.noise, self.length)
        copied_BS = np.take_along_axis(name_BS, np.maximum(number_BS - 1, 0), axis=1)
        chain_BS = number_BS // links
        root_BS = number_BS % links == 0
        root_value_BS = self._first_value + value_BC[rows_B1, chain_BS]
        tokens_BL[rows_B1, places_BS] = _SET
        tokens_BL[rows_B1, places_BS + 1] = np.take_along_axis(name_BS, number_BS, axis=1)
        tokens_BL[rows_B1, places_BS + 2] = np.where(root_BS, root_value_BS, copied_BS)
        tokens_BL[:, text] = _ASK
        question_C = text + 1 + np.arange(self.chains)
        tokens_BL[:, question_C] = name_BS[rows_B1, asked_BC[rows_B1, order_BC]]
        at_BC = np.zeros((num, self.chains), dtype=np.int64)
        rows_N, turns_N = np.nonzero(root_BS)
        at_BC[rows_N, chain_BS[rows_N, turns_N]] = places_BS[rows_N, turns_N] + 2
        targets_BL, distance_BL = np.full_like(tokens_BL, IGNORED), np.zeros_like(tokens_BL)
        targets_BL[:, question_C] = value_BC[rows_B1, order_BC]
        distance_BL[:, question_C] = question_C - at_BC[rows_B1, order_BC]
        made = (torch.from_numpy(array) for array in (tokens_BL, targets_BL, distance_BL))
        tokens, targets, distance = made
        return Batch(tokens, torch.full((num,), self.length), targets, distance)

    def oracle(self, batch: Batch) -> Tensor:
        """The values, by following the copies: (N,)."""
        return self._followed(batch, self.hops)

    @property
    def shortcuts(self) -> dict[str, Rule]:
        """Rules that follow too few copies, or none, each (N,)."""
        rungs: dict[str, Rule] = {
            "always the same value": lambda batch: torch.zeros(
                len(batch.tokens) * self.chains, dtype=torch.int64
            ),
            "the last value": self._last,
            "the last value before it is set": self._before,
        }
        for hops in self._too_few:
            plural = "copy" if hops == 1 else "copies"
            name = f"follows at most {hops} {plural}" if hops else "follows no copy"
            rungs[name] = partial(self._followed, hops=hops)
        return rungs

    def hops_asked(self, batch: Batch) -> Tensor:
        """Copies between each asked variable and its value: (N,)."""
        still_named = [
            self._followed_ids(batch, hops) < self._first_value for hops in self._too_few
        ]
        return torch.stack([torch.zeros_like(scored(batch)), *still_named]).sum(0)

    def _set_to(self, tokens_BL: Tensor) -> Tensor:
        """What each id was set to, itself where it was not: (B, vocabulary)."""
        set_BV = torch.arange(self.vocabulary).repeat(len(tokens_BL), 1)
        rows_N, places_N = (tokens_BL == _SET).nonzero(as_tuple=True)
        set_BV[rows_N, tokens_BL[rows_N, places_N + 1]] = tokens_BL[rows_N, places_N + 2]
        return set_BV

    def _followed_ids(self, batch: Batch, hops: int) -> Tensor:
        set_BV = self._set_to(batch.tokens)
        ids_BC = batch.tokens[:, -self.chains :]
        for _ in range(hops + 1):
            ids_BC = set_BV.gather(1, ids_BC)
        return ids_BC.reshape(-1)

    def _followed(self, batch: Batch, hops: int) -> Tensor:
        """The value after `hops` copies at most, 0 where a name is still there: (N,)."""
        return (self._followed_ids(batch, hops) - self._first_value).clamp(min=0)

    def _latest(self, tokens_BL: Tensor) -> Tensor:
        """At each place the value that stood last, 0 before the first: (B, L)."""
        is_value_BL = self._is_value(tokens_BL)
        places_BL = torch.arange(tokens_BL.shape[1]) * is_value_BL
        held_BL = tokens_BL.gather(1, places_BL.cummax(1).values)
        return torch.where(self._is_value(held_BL), held_BL - self._first_value, 0)

    def _is_value(self, ids_BL: Tensor) -> Tensor:
        return (ids_BL >= self._first_value) & (ids_BL < self._first_value + self.values)

    def _last(self, batch: Batch) -> Tensor:
        return self._latest(batch.tokens)[:, -1].repeat_interleave(self.chains)

    def _before(self, batch: Batch) -> Tensor:
        """The value that stood last when the asked variable was set, its own included."""
        tokens_BL = batch.tokens
        latest_BL = self._latest(tokens_BL)
        rows_N, places_N = (tokens_BL == _SET).nonzero(as_tuple=True)
        held_BV = torch.zeros(len(tokens_BL), self.vocabulary, dtype=torch.int64)
        held_BV[rows_N, tokens_BL[rows_N, places_N + 1]] = latest_BL[rows_N, places_N + 2]
        return held_BV.gather(1, tokens_BL[:, -self.chains :]).reshape(-1)
