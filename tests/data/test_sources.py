"""Sources of every aim: what is in a batch, once an epoch, as a pure function of its number."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from howfar.core.batch import IGNORED
from howfar.core.errors import DataError, UsageError
from howfar.core.protocols import Source
from howfar.data.batch import TextSource
from howfar.data.examples import Corpus, Examples
from howfar.data.mapped import MappedIds, write_ids
from howfar.data.ragged import Ragged
from howfar.data.running import Running
from howfar.data.sources import source_for
from howfar.data.tokenise import train_tokeniser
from howfar.record.comparison import Data

TOKENISER = train_tokeniser("byte", [])
DATA = Data(kind="labels", name="t", unit="byte")
END, MASK = 300, 301
FIRST = 1000  # ids from here on tell rows apart


def rows_of(lengths, first=FIRST):
    """Row i holds only the id first + i."""
    return Ragged.of([np.full(n, first + i) for i, n in enumerate(lengths)])


def examples(aim, lengths):
    ids = rows_of(lengths)
    n = np.arange(len(lengths))
    targets = {
        "classification": lambda: n * 7 % 5,
        "multilabel": lambda: np.stack([n % 2, n % 3 == 0, n * 0], 1).astype(np.float32),
        "regression": lambda: (n / 3).astype(np.float32),
        "tagging": lambda: Ragged.of([np.arange(k) + i for i, k in enumerate(lengths)]),
        "seq2seq": lambda: Ragged.of([np.full((3 * k) % 7, 9) for k in lengths]),
        "lm": lambda: None,
        "masked": lambda: None,
    }[aim]()
    return Examples(ids=ids, targets=targets)


def corpus(aim, train, held=(3, 1, 2, 5), length=10, **more):
    parts = {name: examples(aim, list(n)) for name, n in (("train", train), ("test", held))}
    return Corpus(
        aim=aim,
        validation=parts["test"],
        tokeniser=TOKENISER,
        vocabulary=302,
        length=length,
        data=DATA,
        mask=MASK if aim == "masked" else None,
        **({"end": END} if aim == "seq2seq" else {}),
        **parts,
        **more,
    )


def text(train, held=(60,), length=10, end=None, aim="lm"):
    """Documents whose ids count on, so that a token says where it stands."""

    def part(sizes):
        starts = np.cumsum([0, *sizes])
        return Examples(ids=Ragged.of([np.arange(a, b) for a, b in itertools.pairwise(starts)]))

    return Corpus(
        aim=aim,
        train=part(train),
        validation=part(held),
        test=part(held),
        tokeniser=TOKENISER,
        vocabulary=302,
        length=length,
        data=DATA,
        end=end,
        mask=MASK if aim == "masked" else None,
    )


def epoch(source, which=0, slots=1):
    steps = source.steps_per_epoch * slots
    return [source.batch(number) for number in range(which * steps, (which + 1) * steps)]


def same(a, b):
    for name in ("tokens", "lengths", "targets", "source", "source_lengths"):
        one, two = getattr(a, name), getattr(b, name)
        if (one is None) != (two is None) or (one is not None and not torch.equal(one, two)):
            return False
    return (a.goes_on, a.packed) == (b.goes_on, b.packed)


def split(batch):
    """Rows of a batch: (tokens, targets) without padding."""
    real = batch.targets.is_floating_point()
    per_place = batch.targets.shape == batch.tokens.shape and not real
    if not batch.packed:
        return [
            (row[:n].tolist(), (target[:n] if per_place else target).tolist())
            for row, n, target in zip(batch.tokens, batch.lengths, batch.targets, strict=True)
        ]
    assert batch.tokens.shape == (1, int(batch.lengths.sum()))
    tokens = batch.tokens[0].split(batch.lengths.tolist())
    targets = batch.targets[0].split(batch.lengths.tolist()) if per_place else batch.targets
    return [(a.tolist(), b.tolist()) for a, b in zip(tokens, targets, strict=True)]


WAYS = {"rows": {"rows": 4}, "tokens": {"tokens": 40}, "pack": {"tokens": 40, "pack": True}}
LENGTHS = st.lists(st.integers(0, 30), min_size=1, max_size=60)
ROW_AIMS = ["classification", "multilabel", "regression", "tagging"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("aim", ROW_AIMS)
@settings(deadline=None, max_examples=25)
@given(lengths=LENGTHS, seed=st.integers(0, 3))
def test_every_row_once_with_its_own_target(aim, way, lengths, seed):
    made = corpus(aim, lengths)
    source: Source = source_for(made, seed=seed, **WAYS[way])
    expected = []
    for ids, target in zip(made.train.ids, made.train.targets, strict=True):
        expected.append((ids.tolist(), np.asarray(target).tolist()))
    for which in range(2):
        batches = epoch(source, which)
        assert sum(batch.num_tokens for batch in batches) == source.tokens_per_epoch
        assert sum(lengths) == source.tokens_per_epoch
        assert all(batch.packed == (way == "pack") for batch in batches)
        found = [row for batch in batches for row in split(batch)]
        assert sorted(map(repr, found)) == sorted(map(repr, expected))
        for batch in batches:
            assert batch.tokens.dtype == torch.int64
            real = batch.targets.is_floating_point()
            assert batch.targets.dtype == (torch.float32 if real else torch.int64)
            assert real == (aim in ("multilabel", "regression"))
            if way == "rows":
                assert batch.tokens.shape[1] == max(1, int(batch.lengths.max()))
            if way != "rows":
                assert batch.tokens.numel() <= 40 or len(batch.lengths) == 1
            if way != "pack":
                padding = torch.arange(batch.tokens.shape[1]) >= batch.lengths[:, None]
                assert (batch.tokens[padding] == 0).all()
                if aim == "tagging":
                    assert (batch.targets[padding] == IGNORED).all()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("aim", ROW_AIMS)
def test_evaluation_in_its_order(aim, way):
    made = corpus(aim, [5] * 9, held=[3, 0, 12, 1, 2, 9, 41, 1])
    source = source_for(made, seed=0, **WAYS[way])
    for part in ("validation", "test", "train"):
        order = source.order(part)
        held = made.part(part)
        assert sorted(order.tolist()) == list(range(len(held)))
        found = [row for batch in source.evaluation(part) for row in split(batch)]
        assert found == [
            (held.ids[i].tolist(), np.asarray(held.targets[i]).tolist()) for i in order.tolist()
        ]
    if way != "pack":
        assert source.order("test").tolist() == [1, 3, 7, 4, 0, 5, 2, 6]


SOURCES = {
    "labels": lambda s: source_for(corpus("classification", range(90)), seed=s, rows=4, slots=2),
    "budget": lambda s: source_for(corpus("tagging", range(90)), seed=s, tokens=300, slots=2),
    "packed": lambda s: source_for(corpus("multilabel", range(90)), seed=s, pack=True, slots=2),
    "pairs": lambda s: source_for(corpus("seq2seq", range(1, 90)), seed=s, rows=4, slots=2),
    "masked": lambda s: source_for(corpus("masked", range(90)), seed=s, rows=4, slots=2),
    "masked text": lambda s: source_for(text([3000], aim="masked"), seed=s, rows=4, slots=2),
    "text": lambda s: source_for(text([3000]), seed=s, rows=4, slots=2),
    "documents": lambda s: source_for(text([9] * 300, end=END), seed=s, rows=4, pack=True, slots=2),
    "carried": lambda s: source_for(text([3000]), seed=s, rows=4, carry=True, slots=2),
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_batch_is_a_pure_function_of_seed_and_number(name):
    walked = SOURCES[name](3)
    count = 2 * walked.steps_per_epoch * 2
    batches = [walked.batch(number) for number in range(count)]
    for number in (count - 1, 0, count // 2, 1):
        assert same(SOURCES[name](3).batch(number), batches[number])
        assert same(walked.batch(number), batches[number])
    other = [SOURCES[name](4).batch(number) for number in range(count)]
    changed = sum(not same(a, b) for a, b in zip(batches, other, strict=True))
    assert changed > count / 2
    again = sum(
        not same(a, b) for a, b in zip(batches[: count // 2], batches[count // 2 :], strict=True)
    )
    assert again > count / 4
    for _ in walked.evaluation("test"):
        pass
    assert same(walked.batch(5), batches[5])
    assert same(walked.batch(10**6), SOURCES[name](3).batch(10**6))
    with pytest.raises(ValueError, match="count from 0"):
        walked.batch(-1)


def test_pairs_by_hand():
    made = corpus("seq2seq", [2, 1])  # targets of 6 and 3 ids
    (batch,) = epoch(source_for(made, rows=2, seed=0))
    order = batch.source_lengths.tolist()
    assert sorted(order) == [1, 2]
    long, short = order.index(2), order.index(1)
    assert batch.source[long].tolist() == [FIRST, FIRST]
    assert batch.source[short].tolist() == [FIRST + 1, 0]
    assert batch.lengths[[long, short]].tolist() == [7, 4]
    assert batch.tokens[long].tolist() == [END, 9, 9, 9, 9, 9, 9]
    assert batch.targets[long].tolist() == [9, 9, 9, 9, 9, 9, END]
    assert batch.tokens[short].tolist() == [END, 9, 9, 9, 0, 0, 0]
    assert batch.targets[short].tolist() == [9, 9, 9, END, *[IGNORED] * 3]
    assert source_for(made, rows=2, seed=0).tokens_per_epoch == batch.num_tokens == 14


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=50), st.integers(0, 3))
def test_pairs_keep_their_budget(lengths, seed):
    source = source_for(corpus("seq2seq", lengths), tokens=50, seed=seed)
    batches = epoch(source, 1)
    assert sorted(n for b in batches for n in b.source_lengths.tolist()) == sorted(lengths)
    for batch in batches:
        assert batch.source.numel() + batch.tokens.numel() <= 50 or len(batch.lengths) == 1
        wanted = [(3 * n) % 7 + 1 for n in batch.source_lengths.tolist()]
        assert batch.lengths.tolist() == wanted


@settings(deadline=None)
@given(st.integers(2, 12), st.integers(0, 60), st.integers(1, 5), st.integers(0, 9))
def test_windows_of_an_epoch_do_not_overlap(length, more, rows, seed):
    size = length + 1 + more
    source = source_for(text([size], length=length), rows=rows, seed=seed)
    for which in range(2):
        batches = epoch(source, which)
        for batch in batches:
            assert (batch.targets == batch.tokens + 1).all()
            assert (batch.lengths == length).all()
        targets = torch.cat([batch.targets.flatten() for batch in batches])
        assert len(targets.unique()) == len(targets) == source.tokens_per_epoch
        assert targets.max() < size
        assert size - 1 - len(targets) < 2 * length


def test_window_borders_move_and_a_budget_counts_windows():
    source = source_for(text([1000]), rows=999, seed=0)
    assert len({int(source.batch(n).tokens.min()) for n in range(30)}) > 5
    source = source_for(text([1000]), tokens=35, seed=0)
    assert source.batch(0).tokens.shape == (3, 10)
    assert source_for(text([1000]), tokens=5, seed=0).batch(0).tokens.shape == (1, 10)


def test_evaluation_windows_are_those_of_text_source_but_for_the_first():
    for size, length in itertools.product(range(12, 40), (2, 7, 11)):
        ids = np.arange(size, dtype=np.int32)
        running = Running(
            train=ids, validation=ids, test=ids, tokeniser=TOKENISER, length=length,
            characters_per_token=1.0, data=DATA,
        )  # fmt: skip
        expected = list(TextSource(running, rows=3, seed=0).evaluation("test"))
        found = list(source_for(text([90], [size], length), rows=3, seed=0).evaluation("test"))
        assert len(found) == len(expected)
        expected[0].targets[0] = torch.arange(1, length + 1)
        assert all(same(a, b) for a, b in zip(found, expected, strict=True))


def test_a_part_shorter_than_a_window():
    source = source_for(text([90], [4], 10), seed=0)
    (batch,) = source.evaluation("test")
    assert batch.tokens.tolist() == [[0, 1, 2]]
    assert batch.targets.tolist() == [[1, 2, 3]]
    for sizes in ([1], [0], [0, 0]):
        with pytest.raises(DataError, match="test part") as caught:
            list(source_for(text([90], sizes, 10), seed=0).evaluation("test"))
        assert caught.value.code == "E-TOO-SHORT"
    with pytest.raises(DataError, match="train part has 10 tokens, and needs 11"):
        source_for(text([10], length=10), seed=0)
    assert source_for(text([11], length=10), seed=0).batch(0).targets.max() == 10


@settings(deadline=None)
@given(st.integers(2, 60), st.integers(1, 12), st.integers(1, 5))
def test_carried_or_not_the_same_targets_are_scored(size, length, rows):
    for carry in (False, True):
        source = source_for(text([90], [size], length), rows=rows, carry=carry, seed=0)
        targets = torch.cat([batch.targets.flatten() for batch in source.evaluation("test")])
        assert sorted(targets[targets != IGNORED].tolist()) == list(range(1, size))


def test_documents_are_joined_with_ends():
    source = source_for(text([3, 0, 4], length=8, end=END), seed=0)
    (batch,) = epoch(source)
    assert batch.tokens.tolist() == [[0, 1, 2, END, END, 3, 4, 5]]
    assert batch.targets.tolist() == [[1, 2, END, END, 3, 4, 5, 6]]
    # The last document ends too: 10 tokens, so that windows begin at 0 or 1.
    starts = {int(source.batch(n).tokens[0, 0]) for n in range(40)}
    assert starts == {0, 1}


@pytest.mark.parametrize("end", [None, END])
def test_packed_documents_ask_inside_themselves_alone(end):
    sizes = [5, 1, 0, 23, 10, 11, 2]
    made = text(sizes, sizes, length=10, end=end)
    source = source_for(made, tokens=30, pack=True, seed=0)
    expected = {}
    for ids in made.train.ids:
        whole = [*ids.tolist(), *([] if end is None else [end])]
        expected |= dict(itertools.pairwise(whole))
    if end is not None:
        assert expected.pop(END, None) is None
    for batches in (epoch(source), epoch(source, 1), list(source.evaluation("test"))):
        asked = []
        for batch in batches:
            assert batch.packed
            assert batch.tokens.numel() <= 30
            for tokens, targets in split(batch):
                assert 1 <= len(tokens) <= 10
                assert tokens[1:] == targets[:-1]
                asked += zip(tokens, targets, strict=True)
        assert sorted(asked) == sorted(expected.items())


@pytest.mark.parametrize("slots", [1, 2, 3])
@pytest.mark.parametrize("size", [100, 997])
def test_lanes_go_on(slots, size):
    source = source_for(text([size]), rows=3, carry=True, slots=slots, seed=1)
    steps = source.steps_per_epoch
    offsets = set()
    for which in range(4):
        targets = []
        for slot in range(slots):
            numbers = range(which * steps * slots + slot, (which + 1) * steps * slots, slots)
            batches = [source.batch(number) for number in numbers]
            assert [b.goes_on for b in batches] == [False] + [True] * (steps - 1)
            for before, after in itertools.pairwise(batches):
                assert torch.equal(after.tokens[:, 0], before.targets[:, -1])
            for batch in batches:
                assert batch.tokens.shape == (3, 10)
                assert torch.equal(batch.targets, batch.tokens + 1)
                targets.append(batch.targets.flatten())
        targets = torch.cat(targets)
        assert len(targets.unique()) == len(targets) == source.tokens_per_epoch
        assert targets.max() < size
        assert size - 1 - len(targets) < 10 * 3 * slots
        offsets.add(int(targets.min()))
    assert len(offsets) > 1


def test_lanes_of_short_texts():
    source = source_for(text([13]), rows=4, carry=True, seed=0)
    assert source.batch(0).tokens.tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    short = source_for(text([4], [4]), rows=4, carry=True, seed=0)
    for ask in (
        lambda: short.tokens_per_epoch,
        lambda: short.steps_per_epoch,
        lambda: short.batch(0),
    ):
        with pytest.raises(DataError) as caught:
            ask()
        assert (caught.value.code, caught.value.hint) == ("E-TOO-SHORT", "--rows 3")
    (batch,) = short.evaluation("test")  # which needs no lanes
    assert batch.targets.tolist() == [[1, 2, 3]]
    assert source_for(text([90]), tokens=35, carry=True, seed=0).batch(0).tokens.shape == (3, 10)


@settings(deadline=None)
@given(st.integers(2, 90), st.integers(1, 9), st.integers(1, 12))
def test_evaluation_in_lanes_scores_every_target_once(size, rows, length):
    source = source_for(text([90], [size], length), rows=rows, carry=True, seed=0)
    batches = list(source.evaluation("test"))
    assert [b.goes_on for b in batches] == [False] + [True] * (len(batches) - 1)
    lanes = len(source.order("test"))
    assert 1 <= lanes <= rows
    read = [[] for _ in range(lanes)]
    scored = []
    for batch in batches:
        assert batch.tokens.shape[0] == lanes
        assert batch.tokens.shape[1] <= length
        for lane, (tokens, targets) in zip(read, split(batch), strict=True):
            lane += tokens
            assert targets == [t + 1 for t in tokens]
            scored += targets
        assert batch.num_targets == batch.num_tokens
    assert sorted(scored) == list(range(1, size))
    assert [t for lane in read for t in lane] == list(range(size - 1))


def test_masked_rows_and_their_targets():
    made = corpus("masked", [0, 1, 25, 7], held=[1, 25, 3], length=10)
    source = source_for(made, rows=3, seed=0)
    assert source.tokens_per_epoch == 33
    for batches in (epoch(source), list(source.evaluation("test"))):
        lengths = sorted(n for b in batches for n in b.lengths.tolist())
        assert lengths == (
            [1, 7, 8, 8, 9] if batches[0].num_tokens and 7 in lengths else [1, 3, 8, 8, 9]
        )
        for batch in batches:
            for tokens, targets in split(batch):
                asked = [t for t in targets if t != IGNORED]
                assert len(asked) == max(1, round(0.15 * len(tokens)))
                assert len({t for t in [*tokens, *asked] if t >= FIRST}) == 1
            padding = torch.arange(batch.tokens.shape[1]) >= batch.lengths[:, None]
            assert (batch.targets[padding] == IGNORED).all()
    assert source_for(made, rows=3, seed=0, mask_share=1.0).batch(0).num_targets > 5


def test_masks_change_with_the_epoch_but_not_in_evaluation():
    source = source_for(corpus("masked", [30], held=[30, 30], length=40), rows=1, seed=0)
    assert not same(source.batch(0), source.batch(1))
    for a, b in zip(source.evaluation("test"), source.evaluation("test"), strict=True):
        assert same(a, b)
    first, second = source.evaluation("test")
    assert not torch.equal(first.targets != IGNORED, second.targets != IGNORED)
    # However rows are batched, their masks are the same.
    wide = source_for(corpus("masked", [30], held=[30, 30], length=40), rows=2, seed=0)
    (both,) = wide.evaluation("test")
    assert torch.equal(both.tokens, torch.cat([first.tokens, second.tokens]))


def test_one_long_text_is_masked_in_windows_that_move():
    source = source_for(text([1000], aim="masked"), rows=200, seed=0)
    starts = set()
    for which in range(20):
        (batch,) = epoch(source, which)
        assert (batch.lengths == 10).all()
        original = torch.where(batch.targets != IGNORED, batch.targets, batch.tokens)
        assert (original[:, 1:] == original[:, :-1] + 1).all()
        assert len(original.unique()) == original.numel() == 990
        starts.add(int(original.min()))
    assert len(starts) > 5


def test_from_a_file(tmp_path):
    held = text([1000], [95])
    write_ids(tmp_path / "ids.arrow", [held.train.ids.flat])
    mapped = Examples(ids=Ragged.whole(MappedIds(tmp_path / "ids.arrow")))
    for options in ({}, {"carry": True}, {"pack": True}):
        parts = {"train": mapped, "validation": mapped, "test": mapped}
        whole = dict.fromkeys(parts, held.train)
        fields = {name: getattr(held, name) for name in Corpus.__dataclass_fields__}
        one = source_for(Corpus(**(fields | parts)), rows=4, seed=0, **options)
        two = source_for(Corpus(**(fields | whole)), rows=4, seed=0, **options)
        assert all(same(one.batch(n), two.batch(n)) for n in (0, 1, 50))
        batches = zip(one.evaluation("test"), two.evaluation("test"), strict=True)
        assert all(same(a, b) for a, b in batches)


@pytest.mark.parametrize(
    "options",
    [{"rows": 0}, {"tokens": 0}, {"slots": 0}, {"mask_share": 0.0}, {"mask_share": 1.5},
     {"mask_share": float("nan")}, {"carry": True}],
    ids=str,
)  # fmt: skip
def test_options_out_of_range(options):
    with pytest.raises(UsageError) as caught:
        source_for(corpus("classification", [3, 4]), seed=0, **options)
    assert caught.value.code == "E-OPTION"


def test_what_does_not_go_together():
    with pytest.raises(UsageError, match="not packed"):
        source_for(corpus("seq2seq", [3, 4]), seed=0, pack=True)
    with pytest.raises(UsageError, match="not packed"):
        source_for(text([90]), seed=0, pack=True, carry=True)
    with pytest.raises(DataError) as caught:
        source_for(corpus("classification", []), seed=0)
    assert caught.value.code == "E-EMPTY"
    wrong = Examples(ids=rows_of([1, 2]), targets=np.zeros(1, dtype=np.int64))
    fields = {name: getattr(corpus("tagging", [1]), name) for name in Corpus.__dataclass_fields__}
    with pytest.raises(ValueError, match="Every row"):
        source_for(Corpus(**(fields | {"train": wrong})), seed=0)
    short = Examples(ids=rows_of([1, 2]), targets=Ragged.of([[1], [1]]))
    with pytest.raises(ValueError, match="Every token"):
        source_for(Corpus(**(fields | {"train": short})), seed=0)


@pytest.mark.parametrize("aim", ["classification", "seq2seq", "tagging"])
def test_an_empty_part_has_no_batches(aim):
    source = source_for(corpus(aim, [4, 4], held=[]), seed=0)
    assert list(source.evaluation("test")) == []
    assert len(source.order("test")) == 0


def test_one_row_of_nothing():
    source = source_for(corpus("classification", [0]), seed=0)
    assert source.batch(3).tokens.tolist() == [[0]]
    assert source.batch(3).lengths.tolist() == [0]
    assert (source.steps_per_epoch, source.tokens_per_epoch) == (1, 0)


@pytest.mark.parametrize(("kind", "first"), [("byte", 1), ("char", 2)])
def test_random_tokens_are_drawn_from_the_real_ones(kind, first):
    tokeniser = train_tokeniser(kind, ["abcdef"])
    made = replace(text([50_000, 50_000], length=500, end=END, aim="masked"), tokeniser=tokeniser)
    batch = source_for(made, rows=200, seed=0).batch(0)
    assert batch.num_tokens == 100_000
    original = torch.where(batch.targets != IGNORED, batch.targets, batch.tokens)
    assert END not in original[0].tolist()  # documents are not joined
    assert len(original.unique()) == 100_000
    drawn = batch.tokens[(batch.tokens != original) & (batch.tokens != MASK)]
    assert (drawn.min(), drawn.max()) == (first, tokeniser.vocabulary - 1)


def test_steps_of_an_epoch_count_batches_by_slots():
    made = corpus("classification", [3] * 33)
    for slots, steps in ((1, 9), (2, 5), (9, 1), (10, 1)):
        assert source_for(made, rows=4, seed=0, slots=slots).steps_per_epoch == steps
    assert source_for(made, tokens=12, seed=0, slots=2).steps_per_epoch == 5
    assert source_for(text([991]), rows=9, seed=0, slots=2).steps_per_epoch == 6
    assert source_for(text([991]), rows=7, seed=0, slots=2, carry=True).steps_per_epoch == 7
