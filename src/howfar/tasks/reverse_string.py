"""Reverse a string: the symbols again, the last one first.

Idea      n even symbols, then n markers; answer j is symbol n - 1 - j

              tokens    1  2  2  >  >  >
              targets   -  -  -  2  2  1

Lengths   in tokens, 2 n of them; of an odd length the first symbol is not asked
Distance  2 j + 1 at answer j
Chance    1 / kinds
Shortcut  always the same symbol; the most frequent symbol; sources within the last w tokens, which
          are the first w / 2 answers of a row; the string as it is, of which only the middle of an
          odd n is right more often than chance
Source    reverse string of Deletang et al. 2022, arXiv 2207.02098 (two symbols, strings of 1-40,
          asked up to 500): a stack solves it, a finite state does not
"""

from dataclasses import dataclass
from typing import ClassVar

from howfar.tasks.transduced import Places, Transduced


@dataclass(frozen=True, slots=True, kw_only=True)
class ReverseString(Transduced):
    """The task. Its settings are those of every rewritten string."""

    name: ClassVar[str] = "reverse_string"
    idea: ClassVar[str] = "give a string back in reverse"

    def place(self, answer: Places, count: Places) -> Places:
        """From the last symbol to the first."""
        return count - 1 - answer
