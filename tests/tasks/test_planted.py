"""A planted marker in real text: the text around it is the file's, and only the marker tells."""

import gzip
import math
import re

import pytest
import torch

from howfar.core.batch import IGNORED
from howfar.core.errors import DataError, UsageError
from howfar.data.shipped import resolve
from howfar.tasks.base import distances, scored
from howfar.tasks.planted import Planted

SMALL = "One two three. Four five six! Seven eight nine? Ten one two, three four. " * 5
TEXT = gzip.decompress(resolve("tinyshakespeare").read_bytes()).decode().lower()


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(SMALL)
    return str(path)


def named(task, row):
    return [task.symbols[token] for token in row]


def test_items_of_length_two_and_three_by_hand(corpus):
    task = Planted(path=corpus, length=2, markers=3, words=20)
    batch = task.batch(range(30))
    for row, target in zip(batch.tokens.tolist(), scored(batch).tolist(), strict=True):
        assert named(task, row) == [f"<{target}>", "<?>"]
    assert (distances(batch) == 1).all()
    longer = task.at_length(3)
    starts = {"one", "four", "seven", "ten"}
    seen = set()
    for row in longer.batch(range(200)).tokens.tolist():
        names = named(task, row)
        word = next(name for name in names if not name.startswith("<"))
        assert word in starts
        seen.add(names.index(word))
    assert seen == {0, 1}


@pytest.mark.parametrize("length", [2, 3, 17, 128, 1024])
def test_oracle_distance_and_the_text_between(length):
    """Without marker and question every row is a stretch of its split's words, by a slow search."""
    task = Planted(length=64, words=500).at_length(length)
    text = re.findall(r"\w+|[^\w\s]", TEXT)
    cuts = [0, 8 * len(text) // 10, 9 * len(text) // 10, len(text)]
    ids = {name: number for number, name in enumerate(task.symbols) if not name.startswith("<")}
    for number, split in enumerate(("train", "validation", "test")):
        batch = task.batch(range(40), split=split)
        assert torch.equal(task.oracle(batch), scored(batch))
        own = [ids.get(word, 1 + task.markers) for word in text[cuts[number] : cuts[number + 1]]]
        joined = "," + ",".join(map(str, own)) + ","
        for row, target, back in zip(
            batch.tokens.tolist(), scored(batch).tolist(), distances(batch).tolist(), strict=True
        ):
            assert row[-1] == task.vocabulary - 1 == len(task.symbols) - 1
            marked = [t for t, token in enumerate(row) if 1 <= token <= task.markers]
            assert marked == [length - 1 - back]
            assert row[marked[0]] - 1 == target
            between = row[: marked[0]] + row[marked[0] + 1 : -1]
            assert "," + "".join(f"{token}," for token in between) in joined
        assert (batch.targets[:, :-1] == IGNORED).all()
        assert (batch.distance[:, :-1] == 0).all()


def test_the_ladder_has_the_scores_of_the_header():
    task, count = Planted(length=100, markers=5), 6000
    batch = task.batch(range(count), split="test")
    slow = {"always": [], 8: [], 32: []}
    for row, target in zip(batch.tokens.tolist(), scored(batch).tolist(), strict=True):
        slow["always"].append(target == 0)
        for w in (8, 32):
            seen = [token - 1 for token in row[-w:] if 1 <= token <= 5]
            slow[w].append(target == (seen[0] if seen else 0))
    wants = {"always": task.chance}
    wants |= {w: (s := math.log(w) / math.log(100)) + (1 - s) / 5 for w in (8, 32)}
    assert len(task.shortcuts) == 3
    for (key, hits), rule in zip(slow.items(), task.shortcuts.values(), strict=True):
        assert (rule(batch) == scored(batch)).tolist() == hits
        want = wants[key]
        assert abs(sum(hits) / count - want) < 3.5 * math.sqrt(want * (1 - want) / count)
    assert task.chance == 1 / 5
    assert task.state_bits == pytest.approx(math.log2(6))


def test_rare_words_share_an_id_and_a_short_text_leaves_some_unused(corpus):
    few = Planted(path=corpus, length=8, words=2)
    assert few.symbols[-4:] == ("<unknown>", ".", "four", "<?>")  # of five alike, by letter
    many = Planted(path=corpus, length=8, words=50)
    assert many.symbols.count("<unused>") == 50 - 14
    assert len(many.symbols) == many.vocabulary == 61
    assert many.at_length(20).symbols == many.symbols


def test_a_text_is_used_to_its_last_word(corpus):
    """The test part has 10 of 95 words, and its first one, amid a sentence, starts an item."""
    task = Planted(path=corpus, length=12, words=20)
    names = [
        name for name in named(task, task.batch([0], split="test").tokens[0]) if name[0] != "<"
    ]
    assert " ".join(names) == "eight nine ? ten one two , three four ."[: len(" ".join(names))]
    assert len(names) == 10
    with pytest.raises(DataError, match="length - 2 = 11 words"):
        task.at_length(13).batch([0], split="test")


def test_items_do_not_depend_on_their_batch():
    task = Planted(length=40)
    together = task.batch(range(14)).tokens
    for shards in (2, 7):
        for first in range(shards):
            assert torch.equal(task.batch(range(first, 14, shards)).tokens, together[first::shards])
    assert not torch.equal(together, task.batch(range(14), split="test").tokens)
    assert not torch.equal(together, Planted(length=40, seed=1).batch(range(14)).tokens)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"length": 1}, "length >= 2"),
        ({"markers": 1}, "markers >= 2"),
        ({"words": 0}, "words >= 1"),
    ],
)
def test_bad_settings_are_named(settings, match):
    with pytest.raises(UsageError, match=match):
        Planted(**settings)


def test_texts_that_will_not_do_are_refused(tmp_path, corpus):
    short = Planted(path=corpus, length=14, words=9)  # a tenth of the text: 9 of 90 words
    short.batch([0])
    with pytest.raises(DataError, match="length - 2 = 12 words"):
        short.batch([0], split="test")
    with pytest.raises(UsageError, match="'dev'"):
        short.batch([0], split="dev")
    with pytest.raises(UsageError, match="No file"):
        Planted(path=str(tmp_path / "none.txt")).batch([0])
    with pytest.raises(UsageError, match="tinyshakespeare"):
        Planted(path="tinyshakespear").batch([0])
    blank = tmp_path / "blank.txt"
    blank.write_text(" \n")
    with pytest.raises(DataError, match="no text"):
        Planted(path=str(blank)).batch([0])
    one = tmp_path / "one.txt"
    one.write_text("word")
    with pytest.raises(DataError, match="no train items"):
        Planted(path=str(one)).batch([0])
