"""Multi-query associative recall: a list of keys and values, then every key is asked once.

Idea      N pairs, then each key again somewhere behind; at the key its value is asked for. The
          value is not shown after the question

              k7 3  k2 5  .1 .4  k2 .9  .0 .6  k7 .2
              <-- list -->       5             3        targets
              |<------- d ------------------->|         distance of the answer 3

Distance  d = position of the question - position of the key in the list
Chance    1 / values; one of the values of the list: 1 / pairs
Shortcut  remembering the later half of the list: (pairs // 2 + 1) / pairs; seeing w tokens
State     log2(values) bits a pair
Source    Arora, Eyuboglu et al. 2023, https://arxiv.org/abs/2312.04927 (zoology). Keys and values
          differ from one another within a row, as there. Not as there: slots are uniform unless
          asked otherwise (with its power law of 0.01 the median distance at 1,024 tokens and 4
          pairs is about 46, uniformly 513), are given to pairs at random, and filler has symbols of
          its own (drawn from all symbols it shows keys with other values)
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from howfar.tasks.listed import Listed
from howfar.tasks.pairs import distinct
from howfar.tasks.streams import Draws, Integers


@dataclass(frozen=True, slots=True, kw_only=True)
class Mqar(Listed):
    """The task.

    Args:
        length: tokens a sequence, at least 4 * pairs.
        pairs: pairs of a key and a value, each asked once.
        keys: number of key symbols; values: number of value symbols (each at least pairs).
        filler: number of symbols between the questions; 0 leaves blanks.
        placing: "uniform", or "zoology" with its power law.
        power: 0 .. 1, for "zoology" alone.
    """

    name: ClassVar[str] = "mqar"
    idea: ClassVar[str] = "name the value that stood behind each key in a list of pairs"

    def __post_init__(self) -> None:
        """Refuse what cannot be made."""
        Listed.__post_init__(self)
        self.require(self.keys >= self.pairs, "keys >= pairs")
        self.require(self.values >= self.pairs, "values >= pairs")
        self.require(4 * self.pairs <= self.length, "4 * pairs <= length")

    def stated(self, draws: Draws) -> tuple[Integers, Integers, Integers]:
        """Different keys, different values; statement n answers pair n."""
        keys_BS = 1 + distinct(draws, self.keys, self.pairs)
        class_BS = distinct(draws, self.values, self.pairs)
        answers_BN = np.broadcast_to(np.arange(self.pairs), class_BS.shape)
        return keys_BS[:, :, None], class_BS, answers_BN
