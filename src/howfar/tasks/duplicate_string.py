"""Duplicate a string: the symbols again, twice.

Idea      n even symbols, then 2 n markers; answer j is symbol j modulo n

              tokens    1  2  2  >  >  >  >  >  >
              targets   -  -  -  1  2  2  1  2  2

Lengths   in tokens, 3 n of them; the last answers of other lengths are not asked
Distance  n in the first copy, 2 n in the second
Chance    1 / kinds
Shortcut  always the same symbol; the most frequent symbol; sources within the last w tokens, which
          are all those of short strings and none of long ones; the string as it is, right in the
          first copy, and the last symbol from there on
Source    duplicate string of Deletang et al. 2022, arXiv 2207.02098 (two symbols, strings of 1-40,
          asked up to 500): a queue or a tape solves it, a stack does not
"""

from dataclasses import dataclass
from typing import ClassVar

from howfar.tasks.transduced import Places, Transduced


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateString(Transduced):
    """The task. Its settings are those of every rewritten string."""

    name: ClassVar[str] = "duplicate_string"
    idea: ClassVar[str] = "give a string back twice"
    times: ClassVar[int] = 2

    length: int = 120

    def place(self, answer: Places, count: Places) -> Places:
        """From the first symbol to the last, twice."""
        return answer % count
