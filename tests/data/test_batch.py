"""Batches: a pure function of the step, each row once an epoch, each target scored once."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from howfar.core.batch import IGNORED
from howfar.core.errors import DataError, UsageError
from howfar.core.protocols import Source
from howfar.data.batch import LabelSource, TextSource, cut_windows
from howfar.data.labelled import Labelled, Part
from howfar.data.running import Running
from howfar.data.tokenise import train_tokeniser
from howfar.record.comparison import Data

TOKENISER = train_tokeniser("byte", [])


def part(lengths, first=1):
    """Row i holds only the id first + i, so that a row can be known by its tokens."""
    ids = tuple(np.full(n, first + i, dtype=np.int32) for i, n in enumerate(lengths))
    labels = np.asarray([(first + i) * 7 % 5 for i in range(len(lengths))], dtype=np.int64)
    return Part(ids, labels, tuple("" for _ in lengths))


def labelled(train, validation=(3, 1, 2), test=(5,)):
    return Labelled(
        train=part(train),
        validation=part(validation, 500),
        test=part(test, 900),
        label_names=tuple("abcde"),
        tokeniser=TOKENISER,
        length=50,
        data=Data(kind="labels", name="t", unit="byte"),
    )


def running(train=1000, held=200, length=10):
    return Running(
        train=np.arange(train, dtype=np.int32),
        validation=np.arange(held, dtype=np.int32),
        test=np.arange(held, dtype=np.int32),
        tokeniser=TOKENISER,
        length=length,
        characters_per_token=1.0,
        data=Data(kind="text", name="t", unit="byte"),
    )


def same(a, b):
    return all(
        torch.equal(getattr(a, name), getattr(b, name)) for name in ("tokens", "lengths", "targets")
    )


LENGTHS = st.lists(st.integers(0, 30), min_size=1, max_size=90)


def test_both_are_sources():
    source: Source = LabelSource(labelled([1, 2]), seed=0)
    assert source.batch(0).num_tokens == 3
    source = TextSource(running(), seed=0)
    assert source.batch(0).num_tokens == 320


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 9), st.integers(0, 5))
def test_every_row_once_an_epoch_with_its_own_label(lengths, rows, seed):
    source = LabelSource(labelled(lengths), rows=rows, seed=seed)
    assert source.steps_per_epoch == -(-len(lengths) // rows)
    for epoch in range(2):
        steps = range(epoch * source.steps_per_epoch, (epoch + 1) * source.steps_per_epoch)
        batches = [source.batch(step) for step in steps]
        seen = sorted(n for batch in batches for n in batch.lengths.tolist())
        assert seen == sorted(lengths)
        assert sum(batch.num_tokens for batch in batches) == sum(lengths)
        names = []
        for batch in batches:
            assert batch.tokens.dtype == batch.targets.dtype == torch.int64
            assert batch.tokens.shape[1] == max(1, int(batch.lengths.max()))
            for row, n, target in zip(batch.tokens, batch.lengths, batch.targets, strict=True):
                assert (row[n:] == 0).all()
                assert len(set(row[:n].tolist())) <= 1
                if n:
                    names.append(int(row[0]))
                    assert target == names[-1] * 7 % 5
        assert sorted(names) == [i + 1 for i, n in enumerate(lengths) if n]


def test_rows_of_like_length_go_together():
    lengths = np.random.Generator(np.random.Philox(1)).integers(1, 200, size=800).tolist()
    source = LabelSource(labelled(lengths), rows=10, seed=0)
    padded = sum(source.batch(step).tokens.numel() for step in range(80))
    assert padded < 1.15 * sum(lengths)
    # Batches are shuffled: lengths do not only grow within a pool.
    longest = [int(source.batch(step).lengths.max()) for step in range(8)]
    assert longest != sorted(longest)


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: LabelSource(labelled(range(1, 50)), rows=8, seed=seed),
        lambda seed: TextSource(running(), rows=8, seed=seed),
    ],
    ids=["labels", "text"],
)
def test_a_batch_is_a_pure_function_of_seed_and_step(make):
    walked = make(3)
    batches = [walked.batch(step) for step in range(38)]
    assert same(make(3).batch(37), batches[37])
    assert same(walked.batch(0), batches[0])
    assert not same(make(4).batch(0), batches[0])
    assert not same(batches[0], batches[walked.steps_per_epoch])
    for _ in walked.evaluation("test"):
        pass
    assert same(walked.batch(5), batches[5])
    with pytest.raises(ValueError, match="count from 0"):
        walked.batch(-1)


def test_evaluation_of_rows_and_their_order():
    source = LabelSource(labelled([1], validation=[3, 1, 2, 1, 9]), rows=2, seed=0)
    assert source.order("validation").tolist() == [1, 3, 2, 0, 4]
    batches = list(source.evaluation("validation"))
    assert [batch.lengths.tolist() for batch in batches] == [[1, 1], [2, 3], [9]]
    firsts = [int(row[0]) - 500 for batch in batches for row in batch.tokens]
    assert firsts == source.order("validation").tolist()
    targets = torch.cat([batch.targets for batch in batches])
    back = torch.empty_like(targets)
    back[source.order("validation")] = targets
    assert back.tolist() == part([3, 1, 2, 1, 9], 500).labels.tolist()


@settings(deadline=None)
@given(st.integers(2, 12), st.integers(0, 60), st.integers(1, 5), st.integers(0, 9))
def test_windows_of_an_epoch_do_not_overlap(length, more, rows, seed):
    size = 2 * length + 1 + more
    source = TextSource(running(train=size, length=length), rows=rows, seed=seed)
    for epoch in range(2):
        steps = range(epoch * source.steps_per_epoch, (epoch + 1) * source.steps_per_epoch)
        batches = [source.batch(step) for step in steps]
        for batch in batches:
            assert (batch.targets == batch.tokens + 1).all()
            assert batch.tokens.shape[1] == length
        targets = torch.cat([batch.targets.flatten() for batch in batches])
        assert len(targets.unique()) == len(targets) == source.windows_per_epoch * length
        assert targets.max() < size
        # At most one window's worth of targets is left out at either end.
        assert size - 1 - len(targets) < 2 * length


def test_window_borders_move_from_epoch_to_epoch():
    source = TextSource(running(length=10), rows=99, seed=0)
    offsets = {int(source.batch(epoch).tokens[0, 0]) % 10 for epoch in range(30)}
    assert len(offsets) > 5


@settings(deadline=None)
@given(st.integers(2, 13), st.integers(0, 60), st.integers(1, 5))
def test_each_target_is_scored_once_with_half_a_window_before_it(length, more, rows):
    size = length + 1 + more
    source = TextSource(running(held=size, length=length), rows=rows, seed=0)
    scored = []
    for batch in source.evaluation("test"):
        assert batch.tokens.shape == batch.targets.shape
        assert ((batch.targets == IGNORED) | (batch.targets == batch.tokens + 1)).all()
        for tokens, targets in zip(batch.tokens, batch.targets, strict=True):
            for column in (targets != IGNORED).nonzero().flatten().tolist():
                assert column + 1 >= length // 2
                assert targets[column] - tokens[0] >= length // 2
                scored.append(int(targets[column]))
    # Tokens are their own positions.
    assert scored == list(range(length - length // 2 + 1, size))
    assert source.eval_positions("test").tolist() == scored


def test_evaluation_by_hand():
    # 8 tokens, windows of 4: starts 0, 2 and 3, the last one for the last target alone.
    source = TextSource(running(held=8, length=4), rows=2, seed=0)
    batches = list(source.evaluation("validation"))
    assert [batch.tokens.tolist() for batch in batches] == [
        [[0, 1, 2, 3], [2, 3, 4, 5]],
        [[3, 4, 5, 6]],
    ]
    assert [batch.targets.tolist() for batch in batches] == [
        [[-100, -100, 3, 4], [-100, -100, 5, 6]],
        [[-100, -100, -100, 7]],
    ]


def test_windows_to_measure_on():
    source = TextSource(running(), seed=0)
    few = source.windows("train", 90, 10, seed=1)
    assert few.shape == (90, 11)
    assert few.dtype == np.int64
    assert len(np.unique(few)) == few.size
    assert (source.windows("train", 90, 10, seed=1) == few).all()
    assert (source.windows("train", 90, 10, seed=2) != few).any()
    many = source.windows("test", 500, 10, seed=1)
    assert many.shape == (500, 11)
    assert (np.diff(many, axis=1) == 1).all()
    assert many.max() < 200
    with pytest.raises(DataError) as caught:
        source.windows("test", 1, 200, seed=1)
    assert caught.value.code == "E-TOO-SHORT"
    source.windows("test", 1, 199, seed=1)


def test_cut_windows_and_bad_sizes():
    assert cut_windows(np.arange(9, dtype=np.int32), np.asarray([0, 3]), 2).tolist() == [
        [0, 1, 2],
        [3, 4, 5],
    ]
    with pytest.raises(UsageError):
        LabelSource(labelled([1]), rows=0, seed=0)
    short = replace(running(), validation=np.arange(5, dtype=np.int32))
    with pytest.raises(DataError):
        list(TextSource(short, seed=0).evaluation("validation"))
