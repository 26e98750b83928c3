"""Large texts give what small ones give, in pieces: same parts, same ids, bounded memory."""

import gzip
import json
import os
import random
import subprocess
import sys

import numpy as np
import pytest

from howfar.core.errors import DataError, EnvironmentFault, StoreError, UsageError
from howfar.data import decode, large, stretches, token_files, units
from howfar.data.large import is_large, load_large
from howfar.data.mapped import MappedIds
from howfar.data.running import cut_text, load_running
from howfar.data.stretches import LargeText, line_break

KINDS = ["byte", "char", "word", "bpe", "unigram"]
PARTS = ("train", "validation", "test")


def words(count, seed=0, ends=" \n"):
    draws = random.Random(seed)
    known = ["".join(draws.choices("abcd\u00e9\u4e2d", k=draws.randint(1, 7))) for _ in range(300)]
    return "".join(draws.choice(known) + draws.choice(ends) for _ in range(count))


@pytest.fixture
def tiny_pieces(monkeypatch):
    """Pieces of 50 bytes, so that every border is met."""
    monkeypatch.setattr(decode, "_CHUNK", 50)
    monkeypatch.setattr(units, "_CHUNK", 7)


def quiet(_):
    pass


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_those_of_a_small_text(tmp_path, tiny_pieces, kind):
    path = tmp_path / "text.txt"
    path.write_text(words(3000), encoding="utf-8", newline="")
    whole = load_running(path, tokens=kind, length=8)
    corpus = load_large(path, tokens=kind, length=8, folder=tmp_path / "tokens")
    for part in PARTS:
        assert isinstance(corpus.part(part).ids.flat, MappedIds)
        np.testing.assert_array_equal(corpus.part(part).ids[0], getattr(whole, part))
    assert corpus.tokeniser.to_json() == whole.tokeniser.to_json()
    assert corpus.data == whole.data
    assert (corpus.aim, corpus.length, corpus.vocabulary) == ("lm", 8, whole.data.vocabulary)
    assert corpus.end is None
    assert len(corpus.train) == 1
    assert sorted(file.name for file in (tmp_path / "tokens").iterdir()) == [
        "MANIFEST.json",
        "test.arrow",
        "tokenizer.json",
        "train.arrow",
        "validation.arrow",
    ]


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 10, 99, 100, 101, 990, 1500, 4000])
@pytest.mark.parametrize(
    "ends", [" ", " \n", " " * 40 + "\n", ["\r\n", " "], ["\r", "\r\n", "\n", "\n\r"]]
)
@pytest.mark.usefixtures("tiny_pieces")
def test_parts_are_cut_where_the_whole_text_would_be(tmp_path, size, ends):
    path = tmp_path / "text.txt"
    text = ("x" + words(size, seed=size, ends=ends))[: size + 1]
    path.write_text(text, encoding="utf-8", newline="")
    read = LargeText(path, None, "strict", quiet)
    found = dict.fromkeys(PARTS, "")
    order = []
    for part, piece in read.parts(quiet):
        found[part] += piece
        order.append(PARTS.index(part))
    clean = text.replace("\r\n", "\n").replace("\r", "\n")
    assert tuple(found.values()) == cut_text(clean)
    assert order == sorted(order)
    assert read.characters == len(clean)
    assert bool(read.notes) == (clean != text)


def test_the_nearest_line_break():
    assert line_break("ab\ncdef", 4, 3) == 3
    assert line_break("ab\ncd\nef", 5, 3) == 6
    assert line_break("abcdef", 3, 2) == 3
    assert line_break("a\nbcdefg", 6, 3) == 6


@pytest.mark.parametrize("suffix", [".txt", ".txt.gz"])
def test_the_second_time_is_reused(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"text{suffix}"
    opener = gzip.open if suffix.endswith("gz") else open
    with opener(path, "wt", encoding="utf-8") as file:
        file.write(words(2000))
    load = {"tokens": "char", "length": 8, "folder": tmp_path / "tokens"}
    first = load_large(path, **load)

    def never(*_):
        raise AssertionError("written again")

    with monkeypatch.context() as patch:
        patch.setattr(large, "write_token_files", never)
        again = load_large(path, **load)
        assert again.data == first.data
        np.testing.assert_array_equal(again.train.ids[0], first.train.ids[0])
        os.utime(path, (1, 1))  # the same bytes, touched
        assert load_large(path, **load).data == first.data
        assert load_large(path, **{**load, "length": 16}).length == 16
        for change in ({"tokens": "byte"}, {"max_vocabulary": 50}, {"encoding": "utf-8"}):
            with pytest.raises(AssertionError, match="written again"):
                load_large(path, **{**load, **change})
    with opener(path, "wt", encoding="utf-8") as file:
        file.write(words(2000, seed=1))
    assert load_large(path, **load).data.sha256 != first.data.sha256
    # The first corpus still reads the files that it opened.
    np.testing.assert_array_equal(first.train.ids[0], again.train.ids[0])


@pytest.mark.parametrize("name", ["train.arrow", "tokenizer.json", "MANIFEST.json", "test.arrow"])
@pytest.mark.parametrize("how", ["flip", "cut", "remove"])
def test_damaged_token_files_are_written_again(tmp_path, name, how):
    path = tmp_path / "text.txt"
    path.write_text(words(2000), encoding="utf-8")
    first = load_large(path, length=8, folder=tmp_path / "tokens")
    want = first.train.ids[0]
    broken = tmp_path / "tokens" / name
    data = bytearray(broken.read_bytes())
    data[len(data) // 2] ^= 4
    if how == "remove":
        broken.unlink()
    else:
        broken.write_bytes(data if how == "flip" else data[:-5])
    again = load_large(path, length=8, folder=tmp_path / "tokens")
    np.testing.assert_array_equal(again.train.ids[0], want)
    said = any("damaged" in note for note in again.data.notes)
    assert said == (not (how == "remove" and name == "MANIFEST.json"))


def test_a_later_version_is_not_overwritten(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(words(2000), encoding="utf-8")
    load_large(path, length=8, folder=tmp_path / "tokens")
    manifest = tmp_path / "tokens" / "MANIFEST.json"
    from howfar.core import manifest as rules

    document = json.loads(manifest.read_text())
    del document["seal"]
    manifest.write_bytes(rules._sealed({**document, "schema": 99}))
    with pytest.raises(StoreError) as caught:
        load_large(path, length=8, folder=tmp_path / "tokens")
    assert caught.value.code == "E-VERSION"


BAD = {
    "E-EMPTY": b" \n\r\n ",
    "E-ENCODING": b"good\n" * 30 + b"caf\xe9\n",
    "E-NUL": b"one\ntwo\r\nthree\0\n",
    "E-TOO-SHORT": b"a few words\n",
    "E-ARCHIVE": b"\x1f\x8b\x08\0",
}


@pytest.mark.parametrize("code", BAD)
@pytest.mark.usefixtures("tiny_pieces")
def test_bad_texts_are_said(tmp_path, code):
    path = tmp_path / "text.txt"
    path.write_bytes(BAD[code])
    with pytest.raises(DataError) as caught:
        load_large(path, folder=tmp_path / "tokens", length=8)
    assert caught.value.code == code
    assert "too short" in str(caught.value) or "text.txt" in str(caught.value)
    row = {"E-ENCODING": "text.txt:31", "E-NUL": "text.txt:3"}
    assert row.get(code, "") in str(caught.value)


def test_bad_options_are_refused(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(words(10), encoding="utf-8")
    for wrong in ({"length": 1}, {"tokens": "chars"}, {"max_vocabulary": 2}):
        with pytest.raises(UsageError) as caught:
            load_large(path, folder=tmp_path / "tokens", **wrong)
        assert caught.value.code == "E-OPTION"
    with pytest.raises(UsageError, match="is not an encoding"):
        load_large(path, folder=tmp_path / "other", encoding="none")
    with pytest.raises(UsageError):
        load_large(tmp_path / "none.txt", folder=tmp_path / "tokens")
    (tmp_path / "table.csv").write_text("a,b\n")
    with pytest.raises(DataError, match="no running text"):
        load_large(tmp_path / "table.csv", folder=tmp_path / "tokens")
    assert not (tmp_path / "tokens").exists()


def test_another_encoding(tmp_path):
    text = words(2000).replace("\u4e2d", "\u00fc")
    (tmp_path / "utf8.txt").write_text(text, encoding="utf-8")
    (tmp_path / "latin.txt").write_text(text, encoding="latin-1")
    one = load_large(tmp_path / "utf8.txt", folder=tmp_path / "one", length=8)
    two = load_large(tmp_path / "latin.txt", folder=tmp_path / "two", length=8, encoding="latin-1")
    np.testing.assert_array_equal(one.train.ids[0], two.train.ids[0])
    three = load_large(
        tmp_path / "latin.txt", folder=tmp_path / "three", length=8, encoding_errors="replace"
    )
    assert any("replaced by U+FFFD" in note for note in three.data.notes)


def test_unknown_tokens_are_counted(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("ab\n" * 900 + "xb\n" * 100, encoding="utf-8")
    corpus = load_large(path, folder=tmp_path / "tokens", length=8)
    assert corpus.data.unknown_tokens == 100
    assert corpus.vocabulary == 2 + 3
    capped = load_large(path, folder=tmp_path / "tokens", length=8, max_vocabulary=4)
    assert capped.vocabulary == 4
    # "b" is unknown too, in training as well, which does not count.
    assert capped.data.unknown_tokens == 100 + 200


def test_words_of_a_large_text_are_learned_from_a_sample(tmp_path, tiny_pieces, monkeypatch):
    monkeypatch.setattr(token_files, "SAMPLE", 500)
    path = tmp_path / "text.txt"
    path.write_text(words(4000), encoding="utf-8")
    corpus = load_large(path, tokens="word", folder=tmp_path / "tokens", length=8)
    (note,) = corpus.data.notes
    assert note.startswith("The words were learned from 500 of the ")
    again = load_large(path, tokens="word", folder=tmp_path / "tokens", length=8)
    assert again.data.notes == corpus.data.notes


def test_a_sample_is_spread_evenly():
    pieces = [str(i) for i in range(100)]
    assert list(token_files._spread(pieces, 1.5)) == pieces
    taken = [int(piece) for piece in token_files._spread(pieces, 0.1)]
    assert len(taken) == 10
    assert set(np.diff(taken)) <= {9, 10, 11}


def test_progress_grows_to_one(tmp_path, tiny_pieces):
    path = tmp_path / "text.txt"
    path.write_text(words(1000), encoding="utf-8")
    seen = []
    for _ in range(2):
        load_large(path, folder=tmp_path / "tokens", length=8, progress=seen.append)
        assert seen[-1] == 1.0
    first = seen[:-1]
    assert first == sorted(first)
    assert min(first) < 0.15
    assert len(first) > 20


def test_a_file_that_grows_meanwhile_is_refused(tmp_path, tiny_pieces):
    path = tmp_path / "text.txt"
    path.write_text(words(1000), encoding="utf-8")

    def grow(share):
        if 0.5 < share < 1:  # while the ids are written
            with path.open("a") as file:
                file.write("more\n")

    with pytest.raises(DataError) as caught:
        load_large(path, folder=tmp_path / "tokens", length=8, progress=grow)
    assert caught.value.code == "E-CHANGED"
    assert not (tmp_path / "tokens" / "MANIFEST.json").exists()
    load_large(path, folder=tmp_path / "tokens", length=8)


def test_what_a_killed_run_left_is_replaced(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(words(2000), encoding="utf-8")
    code = (
        "import sys; from pathlib import Path; from howfar.data.large import load_large;"
        "load_large(sys.argv[1], folder=Path(sys.argv[2]), length=8)"
    )
    for place in (3, 5, 7):  # after two probes: three parts, tokeniser, manifest
        environment = os.environ | {
            "HOWFAR_TESTING": "1",
            "HOWFAR_FAULT": f"kill@file:after_fsync:{place}",
        }
        done = subprocess.run(
            [sys.executable, "-c", code, path, tmp_path / "tokens"],
            env=environment,
            check=False,
            capture_output=True,
        )
        assert done.returncode == -9
    corpus = load_large(path, folder=tmp_path / "tokens", length=8)
    assert corpus.data.notes == ()
    assert len(list((tmp_path / "tokens").iterdir())) == 5


def test_no_room_is_said_before_anything_is_written(tmp_path, monkeypatch):
    from howfar.core import disk

    monkeypatch.setattr(disk, "free_bytes", lambda _: 100)
    path = tmp_path / "text.txt"
    path.write_text(words(2000), encoding="utf-8")
    with pytest.raises(EnvironmentFault) as caught:
        load_large(path, folder=tmp_path / "tokens", length=8)
    assert caught.value.code == "E-DISK"
    assert "free 100 bytes" in str(caught.value)


def test_a_folder_that_cannot_be_is_said_at_once(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(words(2000), encoding="utf-8")
    seen = []
    with pytest.raises(EnvironmentFault, match=r"text\.txt"):
        load_large(path, folder=path / "tokens", length=8, progress=seen.append)
    assert not seen


def test_which_files_are_large(tmp_path, monkeypatch):
    monkeypatch.setattr(large, "LARGE", 100)
    sizes = {"a.txt": 99, "b.txt": 100, "c": 500, "d.csv": 500, "e.txt.gz": 25, "f.zip": 500}
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(b"x" * size)
    found = {name for name in sizes if is_large(tmp_path / name)}
    assert found == {"b.txt", "c", "e.txt.gz"}
    assert not is_large(tmp_path)
    assert not is_large(tmp_path / "none")
    assert not is_large("-")
    assert not is_large("hf:imdb")
    assert not is_large("a\0b")


_MEMORY = """
import sys, threading, time
from pathlib import Path
import psutil
from howfar.data.large import load_large
from howfar.data.tokenise import train_tokeniser
start = most = psutil.Process().memory_info().rss
done = threading.Event()
def watch():
    global most
    while not done.wait(0.02):
        most = max(most, psutil.Process().memory_info().rss)
watcher = threading.Thread(target=watch)
watcher.start()
load_large(sys.argv[1], folder=Path(sys.argv[2]))
done.set()
watcher.join()
print((most - start) >> 20)
"""


def test_memory_does_not_grow_with_the_text(tmp_path):
    path = tmp_path / "text.txt"
    block = "the cat sat on the mat\n" * 50_000
    with path.open("w") as file:
        for _ in range(100):  # 115 MB
            file.write(block)
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY, str(path), str(tmp_path / "tokens")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 100


def test_cuts_agree_with_those_of_small_texts():
    from howfar.data import running

    assert stretches.CUTS == running.CUTS
