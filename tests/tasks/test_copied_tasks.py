"""Tasks whose answer stands earlier in the row, against slow rules written by hand.

A slow task reads a row (a list without padding) and lists (asked position, source position).
"""

import math
from collections import Counter

import pytest
import torch

from howfar.core.batch import IGNORED
from howfar.core.errors import UsageError
from howfar.tasks.base import distances, scored
from howfar.tasks.compression import Compression
from howfar.tasks.copy import Copy
from howfar.tasks.duplicate_string import DuplicateString
from howfar.tasks.odds_first import OddsFirst
from howfar.tasks.repeat_previous import RepeatPrevious
from howfar.tasks.reverse_string import ReverseString
from howfar.tasks.selective_copy import SelectiveCopy


def slow_copy(made, row):
    data = made.data
    first = row.index(made.kinds + 1) + 1
    return [(first + number, number) for number in range(data)]


def slow_selective(made, row):
    data = [place for place, token in enumerate(row) if 1 <= token <= made.kinds]
    marks = [place for place, token in enumerate(row) if token == made.vocabulary - 1]
    return list(zip(marks, data, strict=True))


def slow_repeat(made, row):
    back, start = (row[0] - made.kinds, 1) if made.drawn else (made.back, 0)
    return [(place, place - back) for place in range(start + back, len(row))]


def slow_compression(made, row):
    mark = row.index(made.kinds + 1)
    return [(place, row[place] - made.kinds - 2) for place in range(mark + 1, len(row))]


def slow_string(order):
    def read(made, row):
        data = [place for place, token in enumerate(row) if token <= made.kinds]
        marks = [place for place, token in enumerate(row) if token == made.kinds + 1]
        wanted = order(data)
        assert len(wanted) - len(marks) in (0, 1, 2)
        return list(zip(marks, wanted, strict=False))

    return read


MADE = [
    (Copy(), slow_copy),
    (Copy(length=3, data=1, kinds=2), slow_copy),
    (Copy(length=300, data=16, kinds=20), slow_copy),
    (SelectiveCopy(length=96), slow_selective),
    (SelectiveCopy(length=96, noise=3), slow_selective),
    (SelectiveCopy(length=8, data=4), slow_selective),
    (SelectiveCopy(length=2, data=1), slow_selective),
    (RepeatPrevious(), slow_repeat),
    (RepeatPrevious(length=2, back=1), slow_repeat),
    (RepeatPrevious(length=40, back=32, drawn=True), slow_repeat),
    (RepeatPrevious(length=3, back=1, drawn=True), slow_repeat),
    (Compression(), slow_compression),
    (Compression(length=3, asks=1), slow_compression),
    (Compression(length=129, asks=64, kinds=3), slow_compression),
    (ReverseString(), slow_string(lambda data: data[::-1])),
    (ReverseString(length=2), slow_string(lambda data: data[::-1])),
    (ReverseString(kinds=7).at_length(301), slow_string(lambda data: data[::-1])),
    (DuplicateString(), slow_string(lambda data: data + data)),
    (DuplicateString(length=3), slow_string(lambda data: data + data)),
    (DuplicateString(kinds=7).at_length(301), slow_string(lambda data: data + data)),
    (OddsFirst(), slow_string(lambda data: data[::2] + data[1::2])),
    (OddsFirst(length=4), slow_string(lambda data: data[::2] + data[1::2])),
    (OddsFirst(kinds=7).at_length(301), slow_string(lambda data: data[::2] + data[1::2])),
]
NAMES = [f"{made.name}-{number}" for number, (made, _) in enumerate(MADE)]
every = pytest.mark.parametrize(("made", "slow"), MADE, ids=NAMES)


def rows_of(batch):
    """Each row without padding."""
    pairs = zip(batch.tokens.tolist(), batch.lengths.tolist(), strict=True)
    return [row[:length] for row, length in pairs]


@every
def test_targets_distances_and_oracle(made, slow):
    batch = made.batch(range(200), split="test")
    targets, away = [], []
    for number, row in enumerate(rows_of(batch)):
        asked = slow(made, row)
        assert all(0 <= source < place for place, source in asked)
        assert (batch.targets[number] != IGNORED).nonzero()[:, 0].tolist() == [p for p, _ in asked]
        targets += [row[source] - 1 for _, source in asked]
        away += [place - source for place, source in asked]
        assert not any(batch.tokens[number, len(row) :])
    assert scored(batch).tolist() == targets
    assert distances(batch).tolist() == away
    assert int((batch.distance > 0).sum()) == len(away)
    assert torch.equal(made.oracle(batch), scored(batch))
    assert int(batch.tokens.max()) < made.vocabulary == len(made.symbols)
    assert set(targets) <= set(range(made.kinds))


def slow_rung(name, made, row, asked):
    """The answers of one row to one rung, in plain Python."""
    read = [row[source] - 1 for _, source in asked]
    data = [token for token in row if 1 <= token <= made.kinds]
    most = max(sorted(set(data)), key=Counter(data).__getitem__) - 1
    if name == "always the same symbol":
        return [0] * len(asked)
    if name == "the most frequent symbol":
        return [most] * len(asked)
    if name.startswith("sees the last"):
        window = int(name.split()[3])
        return [
            answer if source in range(place - window + 1, place + 1) else 0
            for answer, (place, source) in zip(read, asked, strict=True)
        ]
    if name in ("remembers the last symbol", "the last symbol"):
        last = data[-1] - 1
        kept = [source == row.index(data[-1]) for _, source in asked]
        if made.name == "compression":
            return [last] * len(kept)
        return [0] * (len(asked) - 1) + [last]
    if name == "remembers the last half":
        forgotten = made.data // 2
        kept = sorted(source for _, source in asked)[forgotten:]
        if made.name == "compression":
            kept = range(forgotten, made.data)
        pairs = zip(read, asked, strict=True)
        return [answer if source in kept else 0 for answer, (_, source) in pairs]
    if name == "repeats the string as it is":
        return [data[min(number, len(data) - 1)] - 1 for number in range(len(asked))]
    assert name == "the symbol nearest to the usual place"
    return [usual(made, row, number) for number in range(made.data)]


def usual(made, row, number):
    slots = len(row) - made.data
    place = (number + 1) * (slots + 1) // (made.data + 1) - 1
    for away in range(slots):
        for at in (place - away, place + away):  # the first of two
            if 0 <= at < slots and 1 <= row[at] <= made.kinds:
                return row[at] - 1
    return None


@every
def test_rungs(made, slow):
    batch = made.batch(range(120))
    rows = rows_of(batch)
    asked = [slow(made, row) for row in rows]
    for name, rule in made.shortcuts.items():
        found = rule(batch).tolist()
        assert len(found) == sum(map(len, asked))
        pairs = zip(rows, asked, strict=True)
        if name == "the symbol just read":
            wanted = [[row[place] - 1 for place, _ in places] for row, places in pairs]
        else:
            wanted = [slow_rung(name, made, row, places) for row, places in pairs]
        assert found == [answer for row in wanted for answer in row], name


def test_other_rungs_by_hand():
    """Rows written out: 5 kinds, marker 6."""
    made = SelectiveCopy(length=11, data=3, kinds=5)
    batch = made.batch([0])
    batch.tokens[0] = torch.tensor([0, 4, 2, 0, 0, 0, 0, 5, 6, 6, 6])
    usual = made.shortcuts["the symbol nearest to the usual place"]
    assert made.oracle(batch).tolist() == [3, 1, 4]
    assert usual(batch).tolist() == [3, 1, 4]  # usual places 1, 3, 5; 5 is nearer to 7 than to 2
    batch.tokens[0] = torch.tensor([4, 0, 2, 0, 0, 0, 0, 5, 6, 6, 6])
    assert usual(batch).tolist() == [3, 1, 4]  # place 1 lies between two: the first of them
    assert made.shortcuts["remembers the last half"](batch).tolist() == [0, 1, 4]
    odd = OddsFirst(length=10, kinds=5)
    batch = odd.at_length(10).batch([0])
    batch.tokens[0] = torch.tensor([1, 2, 3, 4, 5, 6, 6, 6, 6, 6])
    assert odd.oracle(batch).tolist() == [0, 2, 4, 1, 3]
    assert odd.shortcuts["repeats the string as it is"](batch).tolist() == [0, 1, 2, 3, 4]
    twice = DuplicateString(length=9, kinds=5).at_length(9)
    batch = twice.batch([0])
    batch.tokens[0] = torch.tensor([3, 1, 2, 6, 6, 6, 6, 6, 6])
    assert twice.oracle(batch).tolist() == [2, 0, 1, 2, 0, 1]
    assert twice.shortcuts["repeats the string as it is"](batch).tolist() == [2, 0, 1, 1, 1, 1]


def share(made, rule, count=3000):
    batch = made.batch(range(count), split="test")
    right = (rule(batch) == scored(batch)).double()
    return float(right.mean()), 4 * 0.5 / math.sqrt(count)  # rows are independent, answers not


def test_closed_forms():
    copy = Copy()
    for name, kept in (("remembers the last symbol", 1), ("remembers the last half", 5)):
        found, error = share(copy, copy.shortcuts[name])
        assert found == pytest.approx(kept / 10 + (1 - kept / 10) / 8, abs=error)
        selective = SelectiveCopy(length=50, data=10, kinds=8)
        found, error = share(selective, selective.shortcuts[name])
        assert found == pytest.approx(kept / 10 + (1 - kept / 10) / 8, abs=error)
    for made in (copy, SelectiveCopy(length=64), RepeatPrevious(), Compression(), ReverseString()):
        found, _ = share(made, made.shortcuts["always the same symbol"])
        assert found == pytest.approx(made.chance, abs=0.012)
    last = Compression()
    found, error = share(last, last.shortcuts["the last symbol"])
    assert found == pytest.approx(1 / 32 + 31 / 32 / 16, abs=error)
    back = RepeatPrevious(length=300, back=16, drawn=True)  # 7 of 16 lags are seen
    batch = back.batch(range(2000))
    seen = back.shortcuts["sees the last 8 tokens"](batch) == scored(batch)
    assert bool(seen[distances(batch) < 8].all())
    assert float(seen[distances(batch) >= 8].double().mean()) == pytest.approx(0.25, abs=0.01)


def test_published_copy_losses():
    """The baselines that the papers print for all positions, at T = 100 and T = 500."""
    assert Copy(length=120).delay == 100
    assert Copy(length=120).memoryless_loss == pytest.approx(0.17329, abs=5e-6)
    assert Copy(length=520).memoryless_loss == pytest.approx(0.03999, abs=5e-6)
    assert Copy(length=1020).memoryless_loss == pytest.approx(0.0204, abs=5e-5)
    assert Copy(length=120).loss_over_all(0.0) == 0
    assert Copy(length=120).accuracy_over_all(1 / 8) == pytest.approx(0.927, abs=5e-4)
    assert Copy(length=1020).accuracy_over_all(1 / 8) == pytest.approx(0.991, abs=5e-4)


def test_copy_row():
    made = Copy(length=10, data=3, kinds=8)
    batch = made.batch([5])
    row = batch.tokens[0].tolist()
    assert row[3:] == [0, 0, 0, 9, 9, 9, 9]
    assert batch.targets[0].tolist() == [IGNORED] * 7 + [token - 1 for token in row[:3]]
    assert batch.distance[0].tolist() == [0] * 7 + [7] * 3


def test_selective_places_are_even():
    """Every slot is taken equally often, the last one too, and place j has its known mean."""
    made = SelectiveCopy(length=20, data=5)
    batch = made.batch(range(6000))
    taken = (batch.tokens[:, :15] > 0).double().mean(0)
    assert float((taken - 1 / 3).abs().max()) < 4 * math.sqrt(2 / 9 / 6000)
    place = 15 + torch.arange(5) - distances(batch).reshape(-1, 5)
    for number in range(5):
        mean = (number + 1) * 16 / 6 - 1
        assert float(place[:, number].double().mean()) == pytest.approx(mean, abs=0.15)
    sets = Counter(map(tuple, SelectiveCopy(length=6, data=2).batch(range(6000)).distance.tolist()))
    assert len(sets) == 6  # 2 of 4 slots
    assert min(sets.values()) > 1000 - 4 * math.sqrt(6000 * 5 / 36)


def test_lengths_are_even_and_held():
    made = ReverseString(length=7, shortest=4)
    counts = Counter(made.batch(range(4000)).lengths.tolist())
    assert set(counts) == {4, 5, 6, 7}
    assert min(counts.values()) > 1000 - 4 * math.sqrt(750)
    for kind in (ReverseString, DuplicateString, OddsFirst):
        assert set(kind().at_length(77).batch(range(50)).lengths.tolist()) == {77}


def test_state_bits():
    assert Copy().state_bits == 30
    assert SelectiveCopy().state_bits == 64
    assert RepeatPrevious(back=16, kinds=4).state_bits == 32
    assert RepeatPrevious(back=2, kinds=4, drawn=True).state_bits == pytest.approx(math.log2(20))
    assert Compression().state_bits == 128
    assert ReverseString(length=80).state_bits == DuplicateString(length=120).state_bits == 40


@every
def test_items_do_not_depend_on_their_batch(made, slow):
    whole = made.batch(range(42))
    for shards in (2, 7):
        for shard in range(shards):
            part = made.batch(range(shard, 42, shards))
            assert torch.equal(part.tokens, whole.tokens[shard::shards])
            assert torch.equal(part.targets, whole.targets[shard::shards])


@pytest.mark.parametrize("made", [pair[0] for pair in MADE if pair[0].length > 40])
def test_splits_and_seeds_differ(made):
    first = made.batch(range(40)).tokens
    assert not torch.equal(first, made.batch(range(40), split="test").tokens)
    assert not torch.equal(
        first, type(made)(**{**made.settings, "seed": 1}).batch(range(40)).tokens
    )


@pytest.mark.parametrize(
    ("build", "inequality"),
    [
        (lambda: Copy(length=20), r"2 \* data \+ 1 <= length; got length=20, data=10"),
        (lambda: Copy(data=0), "data >= 1"),
        (lambda: Copy(kinds=1), "kinds >= 2"),
        (lambda: SelectiveCopy(length=31), r"2 \* data <= length"),
        (lambda: SelectiveCopy(noise=-1), "noise >= 0"),
        (lambda: RepeatPrevious(length=16), r"back \+ drawn < length"),
        (lambda: RepeatPrevious(back=0), "back >= 1"),
        (lambda: Compression(length=16), r"2 \* asks \+ 1 <= length"),
        (lambda: Compression(length=300), r"length - asks - 1 <= places"),
        (lambda: Compression(asks=0), "asks >= 1"),
        (lambda: ReverseString(shortest=1), "shortest >= 2"),
        (lambda: ReverseString(length=10, shortest=11), "shortest <= length"),
        (lambda: OddsFirst(seed=-1), "seed >= 0"),
    ],
)
def test_refusals(build, inequality):
    with pytest.raises(UsageError, match=inequality):
        build()
