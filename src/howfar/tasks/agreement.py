"""Long-distance agreement: singular or plural, after the head noun and other nouns in between.

Idea      sentences of a small grammar up to their verb; the verb has the number of the head noun

              [near the dogs ,] often the KEY to the cabinets gladly that the girl saw  V?
              targets                 |<--------------- d ---------------------------->| singular

          A sentence is [Prep the N ,] the HEAD (Prep the N | that the N Verb)^m, with adverbs
          between the parts to fill it up; verbs of relative clauses are in the past, which has no
          number. Each half of the sentences has a part before the head noun, so that the head is
          not simply the first noun. m is uniform in 0 .. `attractors`; every noun but the head
          has the other number with a probability of `opposite` percent
Distance  d = place of the verb - place of the head noun; tokens are uniform in shortest .. length
Chance    1/2
Ladder    with q = opposite / 100 and A = attractors: the nearest noun (1 + A (1 - q)) / (1 + A);
          the first noun 1 - q / 2; the number most nouns have (ties: the nearest of them)
Source    Linzen, Dupoux & Goldberg 2016, https://arxiv.org/abs/1611.01368; there sentences of a
          corpus, which favour nouns of the same number; here numbers are drawn, and no noun tells
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from howfar.core.batch import IGNORED, Batch
from howfar.tasks.base import Rule, Task
from howfar.tasks.streams import Draws, Integers


def _listed(words: str) -> tuple[str, ...]:
    return tuple(words.split())


NOUNS = _listed(
    "author baker bird cabinet dog doctor driver farmer flower friend garden girl guard house "
    "key king lamp letter painter pilot river teacher tree window"
)
PREPOSITIONS = _listed("above behind beside near to under with")
VERBS = _listed("admired called drew followed found liked noticed saw")
ADVERBS = _listed("again often soon gladly today slowly clearly really perhaps indeed always now")

THE, THAT, COMMA, ASK = 1, 2, 3, 4
_PREPOSITION = 5
_VERB = _PREPOSITION + len(PREPOSITIONS)
_ADVERB = _VERB + len(VERBS)
_SINGULAR = _ADVERB + len(ADVERBS)
_PLURAL = _SINGULAR + len(NOUNS)
_END = _PLURAL + len(NOUNS)
_HEAD = 1  # place of the head noun among the parts of a sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement(Task):
    """The task.

    Args:
        length, shortest: tokens of a sentence up to and with its verb, at most and at least.
        attractors: parts with a noun between head and verb, at most.
        opposite: percent of the other nouns whose number is not that of the head. At 50 no other
            noun tells; at 100 the other number than that of the nearest noun is a good guess.
    """

    name: ClassVar[str] = "agreement"
    idea: ClassVar[str] = "give the verb the number of a head noun d tokens back"
    informative: ClassVar[str] = (
        "Counts of singular and of plural nouns hold the head noun among the others: the rung "
        "'the number most nouns have' says what that is worth."
    )

    length: int = 48
    shortest: int = 24
    attractors: int = 4
    opposite: int = 50

    def __post_init__(self) -> None:
        """Refuse what cannot be made."""
        Task.__post_init__(self)
        self.require(self.attractors >= 0, "attractors >= 0")
        self.require(0 <= self.opposite <= 100, "0 <= opposite <= 100")
        self.require(self.shortest <= self.length, "shortest <= length")
        needed = 7 + 4 * self.attractors
        self.require(needed <= self.shortest, "7 + 4 * attractors <= shortest")

    @property
    def vocabulary(self) -> int:
        """Padding, words, and nouns in both numbers."""
        return _END

    @property
    def outputs(self) -> int:
        """Singular 0, plural 1."""
        return 2

    @property
    def chance(self) -> float:
        """Both numbers are equally likely."""
        return 0.5

    @property
    def symbols(self) -> tuple[str, ...]:
        """Words."""
        plurals = (noun + "s" for noun in NOUNS)
        return "_", "the", "that", ",", "V?", *PREPOSITIONS, *VERBS, *ADVERBS, *NOUNS, *plurals

    @property
    def answers(self) -> tuple[str, ...]:
        """The two numbers."""
        return "singular", "plural"

    @property
    def state_bits(self) -> float:
        """The number of the head noun, once it is known; finding it asks for the last words too."""
        return 1.0

    def batch(self, indices: Sequence[int], *, split: str = "train") -> Batch:
        """Items `indices` of a split, one scored target a row, at the verb."""
        draws = self.draws(split, indices)
        num, rows_B = len(draws), np.arange(len(draws))
        lengths_B = self.shortest + draws.below(self.length - self.shortest + 1, 1)[:, 0]
        plural_B, fronted_B = draws.below(2, 1)[:, 0], draws.below(2, 1)[:, 0]
        parts_B1 = draws.below(self.attractors + 1, 1)
        clause_BA = draws.below(2, self.attractors)
        # Parts of the sentence: the fronted one, the head, then those with an attractor.
        following_BA = np.where(np.arange(self.attractors) < parts_B1, 3 + clause_BA, 0)
        sizes_BP = np.column_stack([4 * fronted_B, np.full(num, 2), following_BA])
        begins_BP = self._placed(draws, lengths_B, parts_B1[:, 0], sizes_BP)
        tokens_BL = _ADVERB + draws.below(len(ADVERBS), self.length)
        for part in range(sizes_BP.shape[1]):
            flipped_B = (draws.below(100, 1)[:, 0] < self.opposite) & (part != _HEAD)
            noun_B = _SINGULAR + len(NOUNS) * (plural_B ^ flipped_B) + _any(draws, NOUNS)
            opening_B, closing_B = _PREPOSITION + _any(draws, PREPOSITIONS), np.full(num, COMMA)
            if part > _HEAD:
                opening_B[clause_BA[:, part - 2] == 1] = THAT
                closing_B = _VERB + _any(draws, VERBS)
            words = [opening_B, np.full(num, THE), noun_B, closing_B]
            for offset, word_B in enumerate(words[1:3] if part == _HEAD else words):
                here = offset < sizes_BP[:, part]
                tokens_BL[rows_B[here], begins_BP[here, part] + offset] = word_B[here]
        tokens_BL[np.arange(self.length) >= lengths_B[:, None]] = 0
        last = (rows_B, lengths_B - 1)
        targets_BL, distance_BL = np.full_like(tokens_BL, IGNORED), np.zeros_like(tokens_BL)
        tokens_BL[last], targets_BL[last] = ASK, plural_B
        distance_BL[last] = lengths_B - 2 - begins_BP[:, 1]
        made = (torch.from_numpy(x) for x in (tokens_BL, lengths_B, targets_BL, distance_BL))
        tokens, lengths, targets, distance = made
        return Batch(tokens, lengths, targets, distance)

    def _placed(
        self, draws: Draws, lengths_B: Integers, parts_B: Integers, sizes_BP: Integers
    ) -> Integers:
        """Where each part begins, with the adverbs spread over the places between: (B, P)."""
        adverbs_B = lengths_B - 1 - sizes_BP.sum(1)
        parts = sizes_BP.shape[1]
        cuts_BP = draws.below(adverbs_B[:, None] + 1, parts)
        # Parts that are not there do not cut.
        cuts_BP[np.arange(parts) >= 2 + parts_B[:, None]] = self.length
        cuts_BP = np.minimum(np.sort(cuts_BP, axis=1), adverbs_B[:, None])
        return np.asarray(cuts_BP + np.cumsum(sizes_BP, axis=1) - sizes_BP, dtype=np.int64)

    def oracle(self, batch: Batch) -> Tensor:
        """The number of the noun that follows no preposition, relative or other: (B,)."""
        return _number(batch.tokens, _free(batch.tokens))

    @property
    def shortcuts(self) -> dict[str, Rule]:
        """Rules that look at the wrong noun, or at all of them, each (B,)."""
        return {
            "always singular": lambda batch: torch.zeros(len(batch.tokens), dtype=torch.int64),
            "the nearest noun": lambda batch: _nearest(batch.tokens),
            "the first noun": lambda batch: _first(batch.tokens),
            "the number most nouns have": _majority,
        }

    def against(self, batch: Batch) -> Tensor:
        """How many nouns between head and verb have the other number: (B,)."""
        head_B1 = _free(batch.tokens).long().argmax(1, keepdim=True)
        plural_B1 = self.oracle(batch)[:, None]
        between_BL = torch.arange(batch.tokens.shape[1]) > head_B1
        other_BL = (batch.tokens >= _PLURAL).long() != plural_B1
        return ((batch.tokens >= _SINGULAR) & between_BL & other_BL).sum(1)


def _any(draws: Draws, words: tuple[str, ...]) -> Integers:
    return draws.below(len(words), 1)[:, 0]


def _free(tokens_BL: Tensor) -> Tensor:
    """Nouns that follow no preposition and no relative: (B, L), the head alone."""
    before_BL = torch.nn.functional.pad(tokens_BL, (2, 0))[:, :-2]
    governed_BL = (before_BL == THAT) | ((before_BL >= _PREPOSITION) & (before_BL < _VERB))
    return (tokens_BL >= _SINGULAR) & ~governed_BL


def _number(tokens_BL: Tensor, chosen_BL: Tensor) -> Tensor:
    """Whether the first chosen token is a plural: (B,)."""
    place_B1 = chosen_BL.long().argmax(1, keepdim=True)
    return (tokens_BL.gather(1, place_B1)[:, 0] >= _PLURAL).long()


def _first(tokens_BL: Tensor) -> Tensor:
    return _number(tokens_BL, tokens_BL >= _SINGULAR)


def _nearest(tokens_BL: Tensor) -> Tensor:
    return _first(tokens_BL.flip(1))


def _majority(batch: Batch) -> Tensor:
    """The number most nouns have; where both are as many, that of the nearest noun."""
    plurals_B = (batch.tokens >= _PLURAL).sum(1)
    singulars_B = (batch.tokens >= _SINGULAR).sum(1) - plurals_B
    more_B = (plurals_B > singulars_B).long()
    return torch.where(plurals_B == singulars_B, _nearest(batch.tokens), more_B)
