"""Who speaks next: the turns of the play, windows that stay in their split, and the ladder."""

import gzip
from collections import Counter

import numpy as np
import pytest
import torch

from howfar.core.batch import IGNORED
from howfar.core.errors import DataError, UsageError
from howfar.data.shipped import resolve
from howfar.tasks.base import distances, scored
from howfar.tasks.plays import read_play
from howfar.tasks.who_speaks import WhoSpeaks

TEXT = gzip.decompress(resolve("tinyshakespeare").read_bytes()).decode()


def headings(text):
    """(place, name) of every heading, line by line."""
    found, place, before = [], 0, ""
    for number, line in enumerate(text.split("\n")):
        alone = before == "" and number != 1  # the second line has one line end before it
        name = line[:-1]
        if alone and line.endswith(":") and name and ":" not in name and not name[0].isspace():
            found.append((place, name))
        place, before = place + len(line) + 1, line
    return found


TURNS = headings(TEXT)
SPOKEN = []  # without those right after a heading that has no speech
for turn in TURNS:
    if not SPOKEN or turn[0] != SPOKEN[-1][0] + len(SPOKEN[-1][1]) + 3:
        SPOKEN.append(turn)


def texts(task, tokens):
    characters = ["", "\ufffd", *(c.replace("\\n", "\n") for c in task.symbols[2:])]
    return ["".join(characters[token] for token in row) for row in tokens.tolist()]


def test_the_turns_are_those_known():
    """7,222 headings; 7,110 turns of 303 speakers where no speech is empty, 58.7 % alternate."""
    play = read_play("tinyshakespeare", 64)
    assert list(zip(play.starts.tolist(), play.names, strict=True)) == TURNS
    assert len(TURNS) == 7222
    assert len(SPOKEN) == 7110
    assert len({name for _, name in SPOKEN}) == 303
    again = [a == b for (_, a), (_, b) in zip(SPOKEN, SPOKEN[2:], strict=False)]
    assert np.mean(again) == pytest.approx(0.587, abs=5e-4)


@pytest.mark.parametrize(
    ("sight", "want"), [(0, 0.032), (64, 0.055), (128, 0.183), (256, 0.363), (1024, 0.571)]
)
def test_what_is_seen_decides(sight, want):
    """The rule "two turns back, where visible, else the most frequent" on all turns of the play."""
    common = Counter(name for _, name in SPOKEN).most_common(1)[0][0]
    hits = 0
    for turn, (place, name) in enumerate(SPOKEN):
        visible = turn >= 2 and SPOKEN[turn - 2][0] >= place - sight
        hits += name == (SPOKEN[turn - 2][1] if visible else common)
    assert hits / len(SPOKEN) == pytest.approx(want, abs=6e-4)


@pytest.mark.parametrize("length", [64, 300, 2048])
def test_windows_answers_and_distances(length):
    task = WhoSpeaks(length=512).at_length(length)
    known = set(task.symbols) | {"\n"}
    text = "".join(c if c in known else "\ufffd" for c in TEXT)
    where = {text[place - length : place]: (place, name) for place, name in TURNS}
    size, total = len(TEXT), 0
    for split, kinds in (("train", range(8)), ("validation", [8]), ("test", [9])):
        batch = task.batch(range(task.size(split)), split=split)
        assert torch.equal(task.oracle(batch), scored(batch))
        assert (batch.targets[:, :-1] == IGNORED).all()
        assert batch.tokens.max() < task.vocabulary == len(task.symbols)
        windows = texts(task, batch.tokens)
        assert len(set(windows)) == len(windows)
        total += len(windows)
        made = zip(windows, scored(batch).tolist(), distances(batch).tolist(), strict=True)
        for window, label, back in list(made)[::9]:  # the search is slow
            place, name = where[window]
            assert name == task.answers[label]
            pieces = range((place - length) * 80 // size, place * 80 // size + 1)
            assert all(piece % 10 in kinds for piece in pieces)
            seen = [at for at, other in TURNS if place - length <= at < place and other == name]
            assert back == (place - 1 - seen[-1] if seen else length - 1)
    assert total < len(TURNS)


def test_classes_are_the_most_frequent_speakers_of_training():
    task = WhoSpeaks(speakers=10)
    parts = [place * 80 // len(TEXT) % 10 for place, _ in TURNS]
    counts = Counter(name for part, (_, name) in zip(parts, TURNS, strict=True) if part < 8)
    best = sorted(counts, key=lambda name: (-counts[name], name))[:10]
    assert list(task.answers) == best
    assert task.outputs == 10
    labels = scored(task.batch(range(task.size("test")), split="test")).tolist()
    assert task.chance == Counter(labels).most_common(1)[0][1] / len(labels)


def test_the_ladder_against_a_slow_twin():
    task = WhoSpeaks(length=300, speakers=40)
    batch = task.batch(range(task.size("test")), split="test")
    said = {name: rule(batch).tolist() for name, rule in task.shortcuts.items()}
    parts = [place * 80 // len(TEXT) % 10 < 8 for place, _ in TURNS]
    follow = Counter()
    for (_, a), (_, b), p, q in zip(TURNS, TURNS[1:], parts, parts[1:], strict=False):
        if p and q and b in task.answers:
            follow[a, b] += 1
    for row, window in enumerate(texts(task, batch.tokens)):

        def rule(sight, turn, text=window):
            seen = [name for _, name in headings("\n\n"[:0] + text[300 - sight :])]
            name = seen[turn] if len(seen) >= -turn else None
            return task.answers.index(name) if name in task.answers else None

        last = [name for _, name in headings(window)][-1:]
        ranked = sorted((-follow[a, b], task.answers.index(b)) for a, b in follow if last == [a])
        after = ranked[0][1] if ranked else None
        first = lambda *ways: next((way for way in ways if way is not None), 0)  # noqa: E731
        assert said["the most frequent speaker"][row] == 0
        assert said["the last speaker"][row] == first(rule(300, -1))
        for w in (128, 256, 300):
            name = f"the speaker before the last, within {w} characters"
            assert said[name][row] == first(rule(w, -2))
        assert said["who follows the last speaker most often"][row] == first(after)
        assert said["alternation, else who follows"][row] == first(rule(300, -2), after)
    score = {name: np.mean(np.array(g) == scored(batch).numpy()) for name, g in said.items()}
    assert score["the last speaker"] < 0.1
    assert score["alternation, else who follows"] > 0.4


def test_items_do_not_depend_on_their_batch():
    task = WhoSpeaks(length=100)
    together = task.batch(range(14)).tokens
    for shards in (2, 7):
        for first in range(shards):
            assert torch.equal(task.batch(range(first, 14, shards)).tokens, together[first::shards])
    assert not torch.equal(together, WhoSpeaks(length=100, seed=1).batch(range(14)).tokens)
    assert not torch.equal(together, task.batch(range(14), split="test").tokens)


def test_windows_that_come_twice_are_left_out(tmp_path):
    """Speakers of one letter after the same words: only longer windows tell who follows."""
    path = tmp_path / "play.txt"
    names = [chr(65 + turn * turn % 7) for turn in range(400)]
    path.write_text("\n\n".join(f"{name}:\nso {turn}" for turn, name in enumerate(names)))
    task = WhoSpeaks(path=str(path), speakers=3, length=9)
    for split in ("train", "validation", "test"):
        batch = task.batch(range(30), split=split)
        assert torch.equal(task.oracle(batch), scored(batch))
    with pytest.raises(DataError, match="no train items"):
        task.at_length(2).batch([0])  # an empty line comes before every turn
    with pytest.raises(DataError, match="length = 4000"):
        task.at_length(4000).batch([0])


def test_what_will_not_do_is_refused(tmp_path):
    with pytest.raises(UsageError, match="speakers >= 2"):
        WhoSpeaks(speakers=1)
    with pytest.raises(UsageError, match="length >= 1"):
        WhoSpeaks(length=0)
    with pytest.raises(UsageError, match="'dev'"):
        WhoSpeaks().batch([0], split="dev")
    with pytest.raises(DataError, match="fewer than speakers=300"):
        WhoSpeaks(speakers=300).batch([0])
    prose = tmp_path / "prose.txt"
    prose.write_text("No headings here.\n")
    with pytest.raises(DataError, match="0 speakers"):
        _ = WhoSpeaks(path=str(prose)).vocabulary
    with pytest.raises(UsageError, match="No file"):
        WhoSpeaks(path=str(tmp_path / "none.txt")).batch([0])
