"""Odds first: the first, third, fifth ... symbol of a string, then the second, fourth ...

Idea      n even symbols, then n markers; with h = ceil(n / 2), answer j < h is symbol 2 j (counted
          from 0), answer j >= h is symbol 2 (j - h) + 1

              tokens    1  2  2  1  1  >  >  >  >  >
              targets   -  -  -  -  -  1  2  1  2  1

Lengths   in tokens, 2 n of them; of an odd length the last answer is not asked
Distance  n - j for the first half, n + 2 h - 1 - j for the second
Chance    1 / kinds
Shortcut  always the same symbol; the most frequent symbol; sources within the last w tokens; the
          string as it is, right for sure in the first answer (and in the last where n is even)
Source    odds first of Deletang et al. 2022, arXiv 2207.02098 (two symbols, strings of 1-40, up
          to 500). As their text and examples have it; their code gives the second symbol first
"""

from dataclasses import dataclass
from typing import ClassVar

from howfar.tasks.transduced import Places, Transduced


@dataclass(frozen=True, slots=True, kw_only=True)
class OddsFirst(Transduced):
    """The task. Its settings are those of every rewritten string."""

    name: ClassVar[str] = "odds_first"
    idea: ClassVar[str] = "give the odd-numbered symbols of a string back, then the even-numbered"

    def place(self, answer: Places, count: Places) -> Places:
        """Every other symbol from the first, then from the second."""
        odds = (count + 1) // 2
        return answer * 2 - (answer >= odds) * (odds * 2 - 1)
