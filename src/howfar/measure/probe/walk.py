"""Walk along a model's outputs, clean and changed rows side by side, and keep none of them.

Idea     a segment is a range of positions to compare. A streaming model walks it chunk by chunk
         with a carried state, and what comes before it runs once: the changed rows go on from
         their own state or, where their past is another row's own past, from that row's. Any other
         callable answers whole batches, small enough to stay within a budget
Why      N x L x V outputs are never held: 16,384 positions of 50,000 symbols are 3 GB a row
Shapes   each block is (rows, P, V) float64 for P positions
Units    `passes` in forward passes over all rows: tokens asked, by N L
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from howfar.core.protocols import Predict, State
from howfar.measure.probe.asking import (
    Asked,
    Sequences,
    ask,
    check,
    diverge,
    misfit,
    not_everywhere,
)
from howfar.measure.probe.segments import Block, Segment
from howfar.measure.probe.stream import Advancing, look
from howfar.measure.watch import quiet

TOKENS = 2**16  # a batch of a plain callable
NUMBERS = 2**24  # outputs at once
BLOCK = 2**18  # outputs at once in float64, of which a divergence makes about ten copies
STATE = 2**28  # bytes of states at once
CHUNK = 2**12  # tokens of a streaming model at once: what caches hold
CHUNKS = (64, 256)  # of each row at least and at most


class Walk:
    """One model over all rows.

    asked, width: what a look told of it, V numbers a position. spent: tokens asked so far.

    Args:
        predict: the model.
        seqs: the clean rows.
        batch: rows a forward pass at most.

    Raises:
        UsageError: E-SHAPE for a model that gives one answer a row.
    """

    def __init__(self, predict: Predict, seqs: Sequences, batch: int) -> None:
        self.predict, self.seqs, self.batch, self.spent = predict, seqs, batch, 0
        self.looked: tuple[Tensor, Tensor, Tensor] | None = None
        self.stream = look(predict, seqs)
        if self.stream is not None:
            self.asked, self.width = self.stream.asked, self.stream.width
            self.spent += self.stream.spent
        else:
            self.asked, self.width = self._look()

    def _look(self) -> tuple[Asked, int]:
        """The model as its answer to two rows shows it, and V."""
        answers: list[tuple[Tensor, Tensor, Tensor]] = []

        def remembering(tokens: Tensor, lengths: Tensor, /) -> Tensor:
            answer = self._whole(tokens, lengths)
            answers.append((tokens, lengths, answer))
            return answer

        with quiet(self.predict):
            found = ask(remembering, self.seqs)
        if not found.everywhere:
            raise not_everywhere()
        self.looked = answers[0]
        return Asked(self.predict, True, found.dtype), self.looked[2][0, 0].numel()

    @property
    def passes(self) -> float:
        """Forward passes over all rows so far."""
        return self.spent / self.seqs.tokens.shape[0] / self.seqs.tokens.shape[1]

    def compare(self, segments: Sequence[Segment]) -> Iterator[Block]:
        """Every segment's blocks, clean beside changed, segments in rising order of `begin`."""
        walk = self._whole_batches if self.stream is None else self._in_chunks
        with torch.no_grad(), quiet(self.predict):
            yield from walk(segments)

    def noise(self, kind: str, begin: int, end: int) -> float:
        """What asking twice moves: the mean divergence over what `repeat` asks."""
        total, count = 0.0, 0
        for block in self.repeat(begin, end):
            moved = diverge(kind, block.clean, block.other)
            total, count = total + float(moved.sum()), count + moved.size
        return total / count

    def repeat(self, begin: int, end: int) -> Iterator[Block]:
        """A small share of the answers at positions begin .. end - 1 asked once more.

        The two rows that were looked at, once; of a streaming model a sixteenth of the tokens.
        """
        with torch.no_grad(), quiet(self.predict):
            if self.looked is not None:
                tokens, lengths, answer = self.looked
                rows = self.seqs.lengths.argsort(descending=True, stable=True)[: len(tokens)]
                one, two = answer[:, begin:end], self._whole(tokens, lengths)[:, begin:end]
                self.looked = None
            else:
                rows = torch.arange(self._rows_at_once(self.seqs.tokens.shape[1], 3))
                part = self.seqs.tokens[rows, : min(max(1, end // 16), self._chunk(len(rows)))]
                begin = 0
                one, two = (self._chunked(part, None)[0] for _ in range(2))
            yield from self._blocks(rows, (0, 0), begin, one, two)

    def _whole_batches(self, segments: Sequence[Segment]) -> Iterator[Block]:
        num, length = self.seqs.tokens.shape[:2]
        size = min(self.batch, TOKENS // length, NUMBERS // (length * self.width))
        for rows in _parts(torch.arange(num), size):
            clean = self._answer(self.seqs.tokens[rows], rows)
            for s, segment in enumerate(segments):
                here = slice(segment.begin, segment.end)
                for c, changed in enumerate(segment.changed):
                    other = self._answer(changed.tokens(self.seqs.tokens, rows), rows)
                    yield from self._blocks(
                        rows, (s, c), segment.begin, clean[:, here], other[:, here]
                    )

    def _in_chunks(self, segments: Sequence[Segment]) -> Iterator[Block]:
        """Rows in the order of the first donors, so that most of them share a batch with theirs."""
        kinds = 1 + max(len(segment.changed) for segment in segments)
        size = self._rows_at_once(segments[-1].end, 2 * kinds)
        order = _chain(segments[0].changed[0].donor, len(self.seqs.tokens))
        for rows in _parts(order, size):
            needed = self._needed(rows, segments)
            state: State | None = None
            place = 0
            for s, segment in enumerate(segments):
                state = self._advance(self.seqs.tokens[needed, place : segment.begin], state)
                place = segment.begin
                yield from self._side_by_side(rows, needed, state, s, segment)

    def _needed(self, rows: Tensor, segments: Sequence[Segment]) -> Tensor:
        """The rows whose clean past is wanted: these, and donors where states can be given."""
        assert self.stream is not None
        donors = [c.donor[rows] for g in segments for c in g.changed if c.donor is not None]
        if not donors or not self.stream.exchangeable:
            return rows
        others = torch.unique(torch.cat(donors))
        return torch.cat([rows, others[~torch.isin(others, rows)]])

    def _side_by_side(
        self, rows: Tensor, needed: Tensor, state: State | None, s: int, segment: Segment
    ) -> Iterator[Block]:
        """One segment of some rows; `state` is that of `needed` before it."""
        assert self.stream is not None
        states = [self._given(state, needed, rows)]
        tokens = [self.seqs.tokens[rows]]
        for changed in segment.changed:
            tokens.append(changed.tokens(self.seqs.tokens, rows))
            if changed.donor is None:
                states.append(states[0])
            elif self.stream.exchangeable:
                states.append(self._given(state, needed, changed.donor[rows]))
            else:
                states.append(self._advance(tokens[-1][:, : segment.begin], None))
        step = self._chunk(len(rows))
        for first in range(segment.begin, segment.end, step):
            here = slice(first, min(first + step, segment.end))
            clean, states[0] = self._chunked(tokens[0][:, here], states[0])
            for c in range(1, len(tokens)):
                other, states[c] = self._chunked(tokens[c][:, here], states[c])
                yield from self._blocks(rows, (s, c - 1), first, clean, other)

    def _given(self, state: State | None, needed: Tensor, rows: Tensor) -> State | None:
        """The state of `rows` out of that of `needed`."""
        assert self.stream is not None
        if state is None or torch.equal(rows, needed):
            return state
        place = torch.empty(len(self.seqs.tokens), dtype=torch.long)
        place[needed] = torch.arange(len(needed))
        return self.stream.taken(state, place[rows])

    def _advance(self, tokens: Tensor, state: State | None) -> State | None:
        """The state after further tokens; None where there are none yet."""
        step = self._chunk(len(tokens))
        for first in range(0, tokens.shape[1], step):
            part = tokens[:, first : first + step]
            if isinstance(self.predict, Advancing):
                self.spent += part.shape[0] * part.shape[1]
                state = self.predict.advance(part, state)
            else:
                state = self._chunked(part, state)[1]
        return state

    def _chunked(self, tokens: Tensor, state: State | None) -> tuple[Tensor, State]:
        assert self.stream is not None
        self.spent += tokens.shape[0] * tokens.shape[1]
        output, after = self.stream.model.chunk(tokens, state)
        if output.shape[:2] != tokens.shape[:2]:
            raise misfit(tuple(output.shape), tokens.shape[1])
        return output, after

    def _answer(self, tokens: Tensor, rows: Tensor) -> Tensor:
        """A plain callable's whole answer to some rows."""
        lengths = self.seqs.lengths[rows]
        output = self._whole(tokens, lengths)
        wide = (tokens.shape[1], int(lengths.max()))
        if len(output) != len(rows) or output.ndim not in (2, 3) or output.shape[1] not in wide:
            raise misfit(tuple(output.shape), tokens.shape[1])
        return output

    def _whole(self, tokens: Tensor, lengths: Tensor, /) -> Tensor:
        self.spent += tokens.shape[0] * tokens.shape[1]
        return self.predict(tokens, lengths)

    def _blocks(
        self, rows: Tensor, which: tuple[int, int], first: int, clean: Tensor, other: Tensor
    ) -> Iterator[Block]:
        step = max(1, BLOCK // max(1, clean[:, :1].numel()))
        for start in range(0, clean.shape[1], step):
            here = slice(start, start + step)
            one, two = (_exact(part[:, here], rows) for part in (clean, other))
            yield Block(rows, *which, first + start, one, two)

    def _rows_at_once(self, length: int, states: int) -> int:
        assert self.stream is not None
        held = states * max(1.0, self.stream.state_bytes(length))
        return min(self.batch, len(self.seqs.tokens), max(1, int(STATE / held)))

    def _chunk(self, rows: int) -> int:
        step = max(CHUNKS[0], min(CHUNKS[1], CHUNK // rows))
        return max(1, min(step, NUMBERS // (rows * self.width)))


def _parts(rows: Tensor, size: int) -> Iterator[Tensor]:
    for first in range(0, len(rows), max(1, size)):
        yield rows[first : first + max(1, size)]


def _chain(donor_N: Tensor | None, num: int) -> Tensor:
    """All rows, each next to the one that gives to it, as far as donors lead."""
    if donor_N is None:
        return torch.arange(num)
    giver, order, seen = donor_N.tolist(), [], set()
    for row in range(num):
        while row not in seen:
            seen.add(row)
            order.append(row)
            row = giver[row]
    return torch.tensor(order)


def _exact(answer: Tensor, rows: Tensor) -> Tensor:
    """Answers in float64 on the CPU, (R, P, V), refused where they are no numbers."""
    exact = answer.reshape(*answer.shape[:2], -1).double().cpu()
    check(exact, rows)
    return exact
