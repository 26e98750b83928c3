r"""Who speaks next in a play: the text so far, up to the place where a heading comes.

Idea      tokens are characters; the answer is the name in the heading that follows

              .. ROMEO:\nWhat, shall I ..\n\nBENVOLIO:\nThe date is ..\n\n   (here) ROMEO
              -                                                          class of ROMEO

          What a reader can see decides: in 59 of 100 turns the next speaker is the one two turns
          back, whose heading stands some hundred characters before
Headings  a line that ends in a colon and follows an empty line. Classes are the `speakers` most
          frequent in the training text; turns of all others are left out as questions, and stay as
          text
Splits    by place: 80 equal pieces, of ten 8 train, 1 validation, 1 test; no window crosses from
          one split to another. Windows that come twice in the play are left out, so that the text
          always tells the answer
Distance  last character - where the answer's name last begins in the window; where it does not
          stand there, the whole window, length - 1
Chance    share of the most frequent class among the test turns of this length
Ladder    the speaker most frequent in training; the last speaker, who rarely goes on; the speaker
          before the last, where both headings stand within the last w characters (alternation);
          who follows the last speaker most often in training; alternation, else that
Oracle    looks the window up in the play
Source    howfar's own, on Tiny Shakespeare, https://github.com/karpathy/char-rnn
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from howfar.core.batch import IGNORED, Batch
from howfar.tasks.base import Rule, Task
from howfar.tasks.plays import HEADING, Play, parts_of, read_play, said_before
from howfar.tasks.rows import nothing_left, number_of, visited
from howfar.tasks.streams import Integers

WINDOWS = (128, 256, 512)


@dataclass(frozen=True, slots=True, kw_only=True)
class WhoSpeaks(Task):
    """The task.

    Args:
        length: characters before the heading.
        path: a play as plain text, or "tinyshakespeare", which is shipped.
        speakers: classes, the most frequent speakers of the training text (at least 2).
    """

    name: ClassVar[str] = "who_speaks"
    idea: ClassVar[str] = "tell who speaks next in a play from the last characters of its text"
    informative: ClassVar[str] = "Real text: its words and names tell about who is on the stage."

    length: int = 512
    path: str = "tinyshakespeare"
    speakers: int = 64

    def __post_init__(self) -> None:
        """Refuse what cannot be made; the text is read when it is needed."""
        Task.__post_init__(self)
        self.require(self.speakers >= 2, "speakers >= 2")

    @property
    def vocabulary(self) -> int:
        """Padding 0, unknown 1, the characters of the training text."""
        return 2 + len(read_play(self.path, self.speakers).alphabet)

    @property
    def outputs(self) -> int:
        """Classes to choose from: the speakers."""
        return self.speakers

    @property
    def symbols(self) -> tuple[str, ...]:
        """The characters; a line end as an escape."""
        alphabet = read_play(self.path, self.speakers).alphabet
        return ("<padding>", "<unknown>", *(c.replace("\n", "\\n") for c in alphabet))

    @property
    def answers(self) -> tuple[str, ...]:
        """The speakers' names."""
        return read_play(self.path, self.speakers).cast

    @property
    def chance(self) -> float:
        """Share of the most frequent class among the test turns."""
        classes = read_play(self.path, self.speakers).classes[_turns(self, "test")]
        return float(np.bincount(classes).max() / len(classes))

    def size(self, split: str) -> int:
        """Different items of a split; later ones repeat them in another order."""
        return len(_turns(self, split))

    def batch(self, indices: Sequence[int], *, split: str = "train") -> Batch:
        """Items `indices` of a split: tokens (B, L), the speaker asked at the last character.

        Raises:
            DataError: E-TOO-FEW for fewer speakers than asked, E-TOO-SHORT for a split without
                turns after enough text.
            DataError, UsageError, EnvironmentFault: where the text cannot be read.
        """
        play, turns = read_play(self.path, self.speakers), _turns(self, split)
        turns_B = turns[visited(self, split, indices, len(turns))]
        tokens_BL = play.ids[play.starts[turns_B][:, None] + np.arange(-self.length, 0)]
        targets_BL, distance_BL = np.full_like(tokens_BL, IGNORED), np.zeros_like(tokens_BL)
        targets_BL[:, -1] = play.classes[turns_B]
        back_B = play.starts[turns_B] - 1 - said_before(self.path, self.speakers)[turns_B]
        distance_BL[:, -1] = np.minimum(back_B, self.length - 1)
        made = (torch.from_numpy(array) for array in (tokens_BL, targets_BL, distance_BL))
        tokens, targets, distances = made
        return Batch(tokens, torch.full((len(turns_B),), self.length), targets, distances)

    def oracle(self, batch: Batch) -> Tensor:
        """The speaker that follows this window in the play: (B,)."""
        follows = _windows(self.path, self.speakers, batch.tokens.shape[1])
        return torch.tensor([follows[row.tobytes()] for row in batch.tokens.numpy()])

    @property
    def shortcuts(self) -> dict[str, Rule]:
        """The ladder, each (B,) classes; every rule falls back on the most frequent speaker."""
        ladder: dict[str, Rule] = {
            "the most frequent speaker": partial(self._guess, window=0),
            "the last speaker": partial(self._guess, last=True),
        }
        for window in (*(w for w in WINDOWS if w < self.length), self.length):
            name = f"the speaker before the last, within {window} characters"
            ladder[name] = partial(self._guess, window=window)
        ladder["who follows the last speaker most often"] = partial(
            self._guess, window=0, follower=True
        )
        return {**ladder, "alternation, else who follows": partial(self._guess, follower=True)}

    def _guess(
        self, batch: Batch, window: int | None = None, last: bool = False, follower: bool = False
    ) -> Tensor:
        """What a rule on the headings in sight says: (B,).

        window: characters in which the speaker before the last is looked for; None: all.
        last: say the last speaker. follower: fall back on who follows the last speaker.
        """
        play = read_play(self.path, self.speakers)
        number = {name: label for label, name in enumerate(play.cast)}
        characters = np.array(["", "\ufffd", *play.alphabet])
        guesses = []
        for row in batch.tokens.numpy():
            text = "".join(characters[row])
            seen = HEADING.findall(text)
            recent = seen if window is None else HEADING.findall(text[max(0, len(text) - window) :])
            wanted = recent[-1:] if last else recent[-2:-1]
            known = [number[name] for name in wanted if name in number]
            if not known and follower:
                known = [play.next[name] for name in seen[-1:] if name in play.next]
            guesses.append(known[0] if known else 0)
        return torch.tensor(guesses)


@lru_cache(maxsize=16)
def _turns(task: WhoSpeaks, split: str) -> Integers:
    """The turns that are asked in a split, in the play's order."""
    play, wanted = read_play(task.path, task.speakers), number_of(split)
    follows = _windows(task.path, task.speakers, task.length)
    size = len(play.ids)
    inside_W = parts_of(np.arange(size), size) == wanted
    since_W = np.concatenate([[0], np.cumsum(inside_W)])  # characters of the split before a place
    starts = play.starts
    whole = since_W[starts] - since_W[np.maximum(starts - task.length, 0)] == task.length
    asked = whole & inside_W[starts] & (play.classes >= 0)
    turns = [
        turn
        for turn in np.flatnonzero(asked).tolist()
        if _window(play, turn, task.length) in follows
    ]
    if not turns:
        why = f"no turn of its text comes after length = {task.length} other characters"
        raise nothing_left(task, split, why)
    return np.array(turns, dtype=np.int64)


@lru_cache(maxsize=4)
def _windows(path: str, speakers: int, length: int) -> dict[bytes, int]:
    """The class after each window that stands before one turn only."""
    play = read_play(path, speakers)
    turns = np.flatnonzero(play.starts >= length).tolist()
    windows = [_window(play, turn, length) for turn in turns]
    once = Counter(windows)
    return {
        window: int(play.classes[turn])
        for turn, window in zip(turns, windows, strict=True)
        if once[window] == 1
    }


def _window(play: Play, turn: int, length: int) -> bytes:
    return play.ids[play.starts[turn] - length : play.starts[turn]].tobytes()
