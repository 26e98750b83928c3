"""The source of batches of a corpus, whatever its aim.

Idea     batch number = step x slots + slot, a pure function of (corpus, seed, number): nothing is
         stored to go on, and how many processes share the slots changes nothing
Budget   `rows` rows a batch; or `tokens`, the most padded tokens of a batch, in buckets of like
         length; packed, the most real ones (else rows x length)
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from howfar.core.batch import Batch
from howfar.core.errors import DataError, UsageError
from howfar.data.batches.evaluation import by_budget, by_rows, packed_rows
from howfar.data.batches.lanes import Lanes, evaluation_lanes, lane_edges
from howfar.data.batches.lay import Rows
from howfar.data.batches.masking import Masking, evaluation_rows, training_rows
from howfar.data.batches.order import Epochs, budgeted, filled, pooled, scattered
from howfar.data.batches.pairs import Pairs
from howfar.data.batches.rows import Maker, Targeted
from howfar.data.batches.stream import Stream
from howfar.data.batches.windows import documents_apart, evaluation_windows, training_windows
from howfar.data.examples import Corpus

_FIRST_ID = {"byte": 1}  # of real tokens; 0 is padding and 1 an unknown token, but for bytes


class CorpusSource(Protocol):
    """A `howfar.core.protocols.Source` that knows its size."""

    @property
    def steps_per_epoch(self) -> int:
        """Steps after which all batches of an epoch have come."""
        ...

    @property
    def tokens_per_epoch(self) -> int:
        """Real tokens of an epoch."""
        ...

    def batch(self, number: int) -> Batch:
        """The training batch of this number, counted from 0 over the whole run."""
        ...

    def evaluation(self, part: str) -> Iterator[Batch]:
        """All batches of a part, once, in a fixed order."""
        ...

    def order(self, part: str) -> Rows:
        """(rows,) the row that stands at each place of `evaluation`, batch after batch.

        Rows are those of the part; of running text its windows, and with carried state its lanes.
        """
        ...


def source_for(  # noqa: PLR0913 - by keyword only
    corpus: Corpus,
    *,
    rows: int = 32,
    tokens: int | None = None,
    seed: int,
    carry: bool = False,
    pack: bool = False,
    slots: int = 1,
    mask_share: float = 0.15,
) -> CorpusSource:
    """Batches of a corpus for its aim.

    Args:
        corpus: what to batch.
        rows: of a batch.
        tokens: instead, the most padded tokens of a batch (of seq2seq, of both sequences); a row
            longer than that is a batch of its own.
        seed: of order, offsets and masks.
        carry: for "lm": a batch goes on where that of the step before ended.
        pack: rows one after another without padding, `tokens` or rows x length of them; for "lm"
            each document is then a sequence of its own.
        slots: batches of a step.
        mask_share: of a row's tokens that "masked" asks for.

    Raises:
        UsageError: E-OPTION for a number out of range, or options that do not go together.
        DataError: E-EMPTY for a training part without rows; E-TOO-SHORT for too little text, with
            carry when training asks for its first batch or its size.
    """
    _check(corpus, rows, tokens, slots, mask_share, carry, pack)
    if not len(corpus.train):
        raise DataError("E-EMPTY", "The train part has no rows.", "give more rows")
    if carry:
        lanes = rows if tokens is None else max(1, tokens // corpus.length)
        return LaneSource(corpus, rows=lanes, seed=seed, slots=slots)
    makers = _Makers(corpus, seed, pack, mask_share)
    most = tokens or rows * corpus.length if pack else tokens
    return RowSource(makers, _Batching(rows, most, seed, pack), slots)


@dataclass(frozen=True, slots=True)
class _Batching:
    """Which rows meet: `rows` of them, or what `tokens` allows; packed, `tokens` real ones."""

    rows: int
    tokens: int | None
    seed: int
    pack: bool

    def training(self, maker: Maker) -> Epochs:
        widths = maker.widths
        if maker.alike:
            size = self.rows if self.tokens is None else max(1, self.tokens // int(widths[0, 0]))
            return scattered(len(widths), size, self.seed)
        if self.tokens is None:
            return pooled(widths.sum(1), self.rows, self.seed)
        if self.pack:
            return filled(widths[:, 0], self.tokens, self.seed)
        return budgeted(widths, self.tokens, self.seed)

    def evaluation(self, maker: Maker) -> list[Rows]:
        if self.tokens is None:
            return by_rows(maker.widths, self.rows)
        grouped = packed_rows if self.pack else by_budget
        return grouped(maker.widths, self.tokens)


class RowSource:
    """Batches of rows that do not depend on each other. A `CorpusSource`.

    Args:
        makers: what the aim makes of rows.
        batching: which rows meet.
        slots: batches of a step.
    """

    def __init__(self, makers: "_Makers", batching: _Batching, slots: int) -> None:
        self._makers, self._batching = makers, batching
        self._train = makers.training()
        self._epochs = batching.training(self._train)
        self.steps_per_epoch = -(-self._epochs.batches // slots)
        self.tokens_per_epoch = self._train.tokens

    def batch(self, number: int) -> Batch:
        """The training batch of this number, counted from 0 over the whole run."""
        epoch, rows = self._epochs.rows(number)
        return self._train.batch(rows, epoch)

    def evaluation(self, part: str) -> Iterator[Batch]:
        """All rows of a part, the shortest first; packed in the order of the file."""
        maker = self._makers.evaluation(part)
        for rows in self._batching.evaluation(maker):
            yield maker.batch(rows, 0)

    def order(self, part: str) -> Rows:
        """(rows,) the row that stands at each place of `evaluation`, batch after batch."""
        groups = self._batching.evaluation(self._makers.evaluation(part))
        return np.concatenate([np.empty(0, dtype=np.int64), *groups])


class LaneSource:
    """Running text whose state is carried from batch to batch. A `CorpusSource`.

    A text too short for the lanes of training can be scored: what trains raises E-TOO-SHORT.
    """

    def __init__(self, corpus: Corpus, *, rows: int, seed: int, slots: int) -> None:
        self._corpus, self._rows, self._seed, self._slots = corpus, rows, seed, slots

    @property
    def steps_per_epoch(self) -> int:
        """Steps after which every lane was read."""
        return self._lanes.batches // self._slots

    @property
    def tokens_per_epoch(self) -> int:
        """Tokens of all lanes."""
        return self._lanes.tokens

    @cached_property
    def _lanes(self) -> Lanes:
        stream = _stream(self._corpus, "train")
        return Lanes(stream, self._corpus.length, self._rows, self._slots, self._seed)

    def batch(self, number: int) -> Batch:
        """The training batch of this number, counted from 0 over the whole run."""
        return self._lanes.batch(number)

    def evaluation(self, part: str) -> Iterator[Batch]:
        """One pass over a part, state carried, every target once."""
        return evaluation_lanes(_stream(self._corpus, part), self._corpus.length, self._rows, part)

    def order(self, part: str) -> Rows:
        """(lanes,) the lanes of an evaluation, which stay in their rows."""
        targets = len(_stream(self._corpus, part)) - 1
        return np.arange(len(lane_edges(targets, self._corpus.length, self._rows)) - 1)


class _Makers:
    """The rows of each part, as the aim asks for them."""

    def __init__(self, corpus: Corpus, seed: int, pack: bool, mask_share: float) -> None:
        self._corpus, self._seed, self._pack = corpus, seed, pack
        self._share = mask_share

    def training(self) -> Maker:
        corpus, length = self._corpus, self._corpus.length
        if corpus.aim == "masked":
            return training_rows(
                _stream(corpus, "train", ends=False),
                length,
                self._seed,
                masking=self._masking(),
                pack=self._pack,
            )
        if corpus.aim == "lm" and not self._pack:
            return training_windows(_stream(corpus, "train"), length, self._seed)
        return self.evaluation("train")

    def evaluation(self, part: str) -> Maker:
        corpus, length = self._corpus, self._corpus.length
        if corpus.aim == "seq2seq":
            assert corpus.end is not None
            return Pairs(corpus.part(part), corpus.end)
        if corpus.aim == "masked":
            return evaluation_rows(
                _stream(corpus, part, ends=False),
                length,
                part,
                self._seed,
                masking=self._masking(),
                pack=self._pack,
            )
        if corpus.aim == "lm":
            stream = _stream(corpus, part)
            if self._pack:
                return documents_apart(stream, length, part, pack=True)
            return evaluation_windows(stream, length, part)
        return Targeted(corpus.part(part), pack=self._pack)

    def _masking(self) -> Masking:
        corpus = self._corpus
        assert corpus.mask is not None
        first = _FIRST_ID.get(corpus.tokeniser.kind, 2)
        last = max(first, corpus.tokeniser.vocabulary - 1)
        return Masking(self._share, corpus.mask, first, last)


def _stream(corpus: Corpus, part: str, *, ends: bool = True) -> Stream:
    return Stream(corpus.part(part).ids, corpus.end if ends else None)


def _check(  # noqa: PLR0913 - all options of `source_for`
    corpus: Corpus,
    rows: int,
    tokens: int | None,
    slots: int,
    mask_share: float,
    carry: bool,
    pack: bool,
) -> None:
    for name, value in (("rows", rows), ("slots", slots), ("tokens", tokens)):
        if value is not None and value < 1:
            raise UsageError("E-OPTION", f"{name}={value} is less than 1.", f"--{name} 32")
    if not 0 < mask_share <= 1:
        raise UsageError("E-OPTION", f"mask_share={mask_share} is not in (0, 1].", "0.15")
    if carry and (corpus.aim != "lm" or pack):
        message = "State is carried over running text alone, which is not packed."
        raise UsageError("E-OPTION", message, 'carry=True with aim "lm" and pack=False')
    if pack and corpus.aim == "seq2seq":
        raise UsageError("E-OPTION", "Pairs of sequences are not packed.", "pack=False")
