"""Tokenisers: exact round trips, ids equal to the library's own, nothing special from user text."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from howfar.core.errors import DataError, StoreError, UsageError
from howfar.data import unigram, units, vocabularies
from howfar.data.tokenise import Tokeniser, default_kind, script_note, train_tokeniser
from howfar.data.unigram import ALPHABET, learn_pieces, word_counts

KINDS = ["byte", "char", "word", "bpe", "unigram"]
TRAIN = ["the cat sat on the mat\nthe dog [PAD] sat", "A Cat, a [PAD] dog!\n\n  two  spaces [PAD]"]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
TOKENISERS = {kind: train_tokeniser(kind, TRAIN, min_count=1) for kind in KINDS}


def test_ids_by_hand():
    assert TOKENISERS["byte"].encode(["a\0\u00e9"])[0].tolist() == [98, 1, 0xC3 + 1, 0xA9 + 1]
    # b and a twice, c once: most frequent first, then by code point.
    char = train_tokeniser("char", ["ab", "bac"])
    assert char.encode(["abc?"])[0].tolist() == [2, 3, 4, 1]
    # "the" four times, then "cat", "a" and "," by the alphabet.
    word = train_tokeniser("word", ["The the THE cat", "a cat, the, a"])
    assert word.encode(["the , a cat dog"])[0].tolist() == [2, 3, 4, 5, 1]
    assert [t.vocabulary for t in (TOKENISERS["byte"], char, word)] == [257, 5, 6]
    assert [TOKENISERS[kind].unit for kind in KINDS] == [
        "byte",
        "character",
        "word",
        "piece",
        "piece",
    ]


def test_words_seen_once_are_unknown():
    word = train_tokeniser("word", ["once twice twice"])
    assert word.encode(["once twice"])[0].tolist() == [1, 2]
    assert word.decode([1, 2, 0]) == "\ufffd twice"
    assert word.count_unknown(np.asarray([1, 2, 1])) == 2


@settings(deadline=None)
@given(TEXT)
def test_bytes_and_pieces_come_back_exactly(text):
    for kind in ("byte", "bpe", "unigram"):
        (ids,) = TOKENISERS[kind].encode([text])
        assert TOKENISERS[kind].decode(ids) == text
        assert ids.dtype == np.int32
        assert ids.size == 0 or (ids.min() >= 1 and ids.max() < TOKENISERS[kind].vocabulary)


@settings(deadline=None)
@given(TEXT)
def test_characters_come_back_exactly(text):
    char = train_tokeniser("char", [text, "x"])
    (ids,) = char.encode([text])
    assert len(ids) == len(text)
    assert char.decode(ids) == text


@settings(deadline=None)
@given(TEXT)
def test_words_are_stable_under_decoding(text):
    word = train_tokeniser("word", [text, "x"], min_count=1)
    (ids,) = word.encode([text])
    assert word.encode([word.decode(ids)])[0].tolist() == ids.tolist()


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None)
@given(
    text=st.one_of(
        TEXT, st.sampled_from(["[PAD]", "[ padding ]", "[ unknown ]", "\u03a3\u0399\u03a3"])
    )
)
def test_ids_equal_the_librarys_and_are_never_special(kind, text):
    ours = TOKENISERS[kind]
    library = Tokenizer.from_str(ours.library.to_str())
    (ids,) = ours.encode([text])
    assert ids.tolist() == library.encode(text, add_special_tokens=False).ids
    assert 0 not in ids
    if kind in ("bpe", "unigram"):
        assert 1 not in ids


def test_special_names_in_training_text_stay_text():
    texts = ["[ padding ][ padding ] [ unknown ]"] * 50
    for kind in KINDS:
        made = train_tokeniser(kind, texts)
        (ids,) = made.encode(texts[:1])
        assert ids.min() >= (1 if kind == "byte" else 2)
        if kind != "word":
            assert made.decode(ids) == texts[0]


@pytest.mark.parametrize("kind", KINDS)
def test_save_and_load(tmp_path, kind):
    TOKENISERS[kind].save(tmp_path / "tokenizer.json")
    loaded = Tokeniser.load(tmp_path / "tokenizer.json")
    assert loaded.kind == kind
    assert loaded.vocabulary == TOKENISERS[kind].vocabulary
    text = "the cat \u00e9\u4e2d [PAD]\n"
    assert loaded.encode([text])[0].tolist() == TOKENISERS[kind].encode([text])[0].tolist()


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"model": {"vocab": {}}}'])
def test_foreign_tokenisers_are_refused(tmp_path, content):
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(StoreError) as caught:
        Tokeniser.load(path)
    assert caught.value.code == "E-TOKENISER"
    with pytest.raises(StoreError):
        Tokeniser.load(tmp_path / "none.json")


@pytest.mark.parametrize("kind", ["word", "bpe", "unigram"])
@settings(deadline=None)
@given(text=st.text(st.sampled_from("ab \n\t.\u00e9\u2028"), max_size=60))
@example(text="aaaa\n\naaaa")
@example(text="aaaa \n aaaa")
@example(text="aaaa.\n.aaaa")
@example(text="aaaa aaaa  aaaa")
def test_cutting_long_text_changes_nothing(kind, text):
    ours = TOKENISERS[kind]
    whole = ours.library.encode(text, add_special_tokens=False).ids
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(units, "_CHUNK", 3)
        assert "".join(units.pieces(text, kind)) == text
        assert ours.encode([text])[0].tolist() == whole
        assert len(ours.offsets(text)) == len(whole)
        stretches = list(units.streamed([text[at : at + 5] for at in range(0, 60, 5)], kind))
        assert "".join(stretches) == text
        assert np.concatenate(ours.encode(["", *stretches])).tolist() == whole


def test_text_really_is_cut(monkeypatch):
    monkeypatch.setattr(units, "_CHUNK", 3)
    assert len(list(units.pieces("abcd\nefgh\nijkl", "bpe"))) == 3
    assert list(units.pieces("abcd efgh", "bpe")) == ["abcd", " efgh"]
    assert list(units.pieces("abcd efgh", "word")) == ["abcd ", "efgh"]
    assert list(units.pieces("abcd efgh", "char")) == ["abcd efgh"]
    assert len(list(units.streamed(["abcd e", "fgh i", "jkl"], "unigram"))) == 3
    monkeypatch.setattr(units, "_LONGEST", 10)
    assert list(units.streamed(["abcd"] * 6, "word")) == ["abcd" * 3, "abcd" * 3]


def test_many_texts_keep_their_order():
    texts = [f"the cat {i} \n" * (i % 3) for i in range(600)]
    for kind in KINDS:
        encoded = TOKENISERS[kind].encode(texts)
        assert len(encoded) == 600
        assert all(
            ids.tolist() == TOKENISERS[kind].encode([text])[0].tolist()
            for ids, text in zip(encoded[::37], texts[::37], strict=True)
        )


@pytest.mark.parametrize("kind", KINDS)
def test_lone_surrogates_are_refused(kind):
    with pytest.raises(DataError) as caught:
        TOKENISERS[kind].encode(["a\ud800"])
    assert caught.value.code == "E-ENCODING"


@pytest.mark.parametrize("kind", KINDS)
def test_vocabulary_is_capped(kind):
    text = "".join(chr(0x4E00 + i % 3000) + " " for i in range(6000))
    assert train_tokeniser(kind, [text], max_vocabulary=300).vocabulary <= 300
    with pytest.raises(UsageError):
        train_tokeniser(kind, [text], max_vocabulary=2)


def test_unknown_kinds_and_ids():
    with pytest.raises(UsageError, match="Did you mean 'char'"):
        train_tokeniser("chars", ["a"])
    with pytest.raises(ValueError, match="outside 0 to 256"):
        TOKENISERS["byte"].decode([257])


def test_no_special_rule_is_saved():
    for made in TOKENISERS.values():
        assert json.loads(made.library.to_str())["added_tokens"] == []


CHINESE = "\u6211\u4eec\u4f4f\u5728\u8fd9\u5bb6\u9152\u5e97\uff0c\u975e\u5e38\u6ee1\u610f"


def test_scripts_without_spaces_are_said():
    word = TOKENISERS["word"]
    assert "W-SCRIPT: 2 of 3 texts" in script_note(word, [CHINESE, CHINESE, "plain words"])
    assert script_note(word, [CHINESE, "plain words"]) is None
    assert script_note(word, ["\u6211\u4eec \u4f4f \u5728 \u9152\u5e97"] * 3) is None
    assert script_note(word, ["caf\xe9 \u043f\u0440\u0438\u0432\u0435\u0442"]) is None
    assert script_note(TOKENISERS["char"], [CHINESE]) is None


def test_the_default_kind():
    assert default_kind(["plain words", CHINESE]) == ("word", None)
    assert default_kind([]) == ("word", None)
    kind, note = default_kind([CHINESE, CHINESE, "plain words"])
    assert kind == "char"
    assert note.startswith("2 of 3 texts are in a script without spaces")
    japanese = "\u79c1\u306f\u6771\u4eac\u306b\u4f4f\u3093\u3067\u3044\u307e\u3059"
    thai = "\u0e1c\u0e21\u0e2d\u0e22\u0e39\u0e48\u0e17\u0e35\u0e48\u0e01\u0e23\u0e38\u0e07"
    korean = "\uc800\ub294 \uc11c\uc6b8\uc5d0 \uc0bd\ub2c8\ub2e4"
    assert [default_kind([text])[0] for text in (japanese, thai, korean)] == [
        "char",
        "char",
        "word",
    ]


def test_a_play_is_encoded_quickly():
    path = Path(__file__).parents[3] / "shared/data/tinyshakespeare/input.txt"
    if not path.exists():
        pytest.skip("needs ../shared/data/tinyshakespeare")
    text = path.read_text()
    char = train_tokeniser("char", [text])
    start = time.perf_counter()
    (ids,) = char.encode([text])
    assert time.perf_counter() - start < 3
    assert char.vocabulary == 65 + 2
    assert char.decode(ids) == text


def test_existing_ids_do_not_change():
    """Saved models hold these ids."""
    text = "The cat, the hat: the caf\u00e9!\n"
    found = {}
    for kind in KINDS[:4]:
        made = train_tokeniser(kind, [text] * 2)
        found[kind] = made.encode([text])[0].tolist()
    assert found["byte"] == [byte + 1 for byte in text.encode()]
    order = sorted(set(text), key=lambda c: (-text.count(c), c))
    assert found["char"] == [2 + order.index(c) for c in text]
    assert found["word"] == [2, 7, 4, 2, 8, 5, 2, 6, 3]
    assert found["bpe"] == [263, 268, 13, 262, 267, 27, 262, 270, 2, 200]


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None)
@given(text=st.text(st.sampled_from("ab \n.\u00e9\u4e2d\u0130\U0001f600"), max_size=30))
@example(text="")
def test_offsets_are_where_tokens_stand(kind, text):
    ours = TOKENISERS[kind]
    (ids,) = ours.encode([text])
    spans = ours.offsets(text)
    assert spans.dtype == np.int64
    assert spans.shape == (len(ids), 2)
    assert (np.diff(spans, axis=0) >= 0).all()
    assert ((spans[:, 0] < spans[:, 1]) & (spans[:, 1] <= len(text))).all()
    covered = np.zeros(len(text), dtype=bool)
    for start, end in spans:
        covered[start:end] = True
    for character, seen in zip(text, covered, strict=True):
        assert seen or (kind == "word" and character.isspace())


def test_offsets_by_hand(monkeypatch):
    assert TOKENISERS["byte"].offsets("a\u00e9\U0001f600").tolist() == (
        [[0, 1]] + [[1, 2]] * 2 + [[2, 3]] * 4
    )
    assert TOKENISERS["char"].offsets("a\u00e9").tolist() == [[0, 1], [1, 2]]
    text = "\u0130x THE, \u4e2d cat"
    spans = TOKENISERS["word"].offsets(text)
    assert [text[a:b] for a, b in spans] == ["\u0130x", "THE", ",", "\u4e2d", "cat"]
    whole = [TOKENISERS[kind].offsets(text * 3).tolist() for kind in ("word", "bpe", "unigram")]
    monkeypatch.setattr(units, "_CHUNK", 4)
    for kind, spans in zip(("word", "bpe", "unigram"), whole, strict=True):
        assert TOKENISERS[kind].offsets(text * 3).tolist() == spans
    with pytest.raises(DataError):
        TOKENISERS["bpe"].offsets("\ud800")


@pytest.mark.parametrize("kind", KINDS)
def test_json_is_stable_and_damage_is_said(kind):
    data = TOKENISERS[kind].to_json()
    assert Tokeniser.from_json(data).to_json() == data
    for broken in (data[:-1], data[: len(data) // 2], b"\xff" + data, b"null", b"[1]"):
        with pytest.raises(StoreError, match=r"model/tokenizer\.json"):
            Tokeniser.from_json(broken, name="model/tokenizer.json")


@pytest.mark.parametrize("kind", KINDS)
def test_changed_settings_are_refused(kind):
    spec = json.loads(TOKENISERS[kind].to_json())
    special = {"id": 5, "content": "cat", "single_word": False, "lstrip": False, "rstrip": False}
    special |= {"normalized": False, "special": True}
    cut = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    other = "Lowercase" if kind != "word" else "NFKC"
    for change in (
        {"added_tokens": [special]},
        {"truncation": cut},
        {"normalizer": {"type": other}},
        {"pre_tokenizer": {"type": "Whitespace"}},
    ):
        with pytest.raises(StoreError) as caught:
            Tokeniser.from_json(json.dumps({**spec, **change}).encode())
        assert caught.value.code == "E-TOKENISER"


def test_ids_with_holes_or_doubles_are_refused():
    spec = json.loads(TOKENISERS["word"].to_json())
    names = spec["model"]["vocab"]
    for index in (3, 1, 10**6):
        changed = {**names, "cat": index}
        if sorted(changed.values()) == list(range(len(changed))):
            continue
        spec["model"]["vocab"] = changed
        with pytest.raises(StoreError):
            Tokeniser.from_json(json.dumps(spec).encode())
    spec = json.loads(TOKENISERS["unigram"].to_json())
    spec["model"]["vocab"][7] = spec["model"]["vocab"][8]
    with pytest.raises(StoreError):
        Tokeniser.from_json(json.dumps(spec).encode())


@pytest.mark.parametrize("kind", KINDS)
def test_flipped_bytes_are_an_error_or_a_tokeniser(kind):
    data = TOKENISERS[kind].to_json()
    draws = np.random.default_rng(0)
    for at in draws.integers(0, len(data), 60):
        changed = bytearray(data)
        changed[at] ^= 1 << int(draws.integers(8))
        try:
            made = Tokeniser.from_json(bytes(changed))
        except StoreError:
            continue
        (ids,) = made.encode(["the cat \u4e2d [PAD]\n"])
        assert ids.max() < made.vocabulary


@pytest.mark.parametrize("pattern", [r"\w+|[^\w\s]", r"\S+"])
def test_words_that_keep_their_case_are_ours_too(pattern):
    library = Tokenizer(
        models.WordLevel({"[ padding ]": 0, "[ unknown ]": 1, "A": 2}, "[ unknown ]")
    )
    library.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
    loaded = Tokeniser.from_json(Tokeniser("word", library).to_json())
    assert loaded.kind == "word"
    assert loaded.library.to_str() == library.to_str()
    library.normalizer = normalizers.NFD()
    with pytest.raises(StoreError):
        Tokeniser.from_json(Tokeniser("word", library).to_json())


_LEARN = """
import hashlib, random
from howfar.data.tokenise import train_tokeniser
draws = random.Random(0)
words = ["".join(draws.choices("abcdefgh", k=draws.randint(1, 9))) for _ in range(3000)]
texts = [" ".join(draws.choices(words, k=40)) + "\u4e2d\u6587" for _ in range(300)]
for kind in ("byte", "char", "word", "bpe", "unigram"):
    made = train_tokeniser(kind, texts, max_vocabulary=700)
    ids = b"".join(ids.tobytes() for ids in made.encode(texts))
    print(kind, hashlib.sha256(made.to_json() + ids).hexdigest())
"""


def test_every_process_learns_the_same():
    found = set()
    for hashes, threads in (("1", "true"), ("2", "false")):
        environment = os.environ | {"PYTHONHASHSEED": hashes, "TOKENIZERS_PARALLELISM": threads}
        done = subprocess.run(
            [sys.executable, "-c", _LEARN],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(done.stdout)
    assert len(found) == 1
    assert len(found.pop().split("\n")) == 6


def test_unigram_pieces_by_hand():
    # "ab" makes up all words, so it is worth more than any other piece.
    found = dict(learn_pieces({"abab": 50, "ab": 50, "cab": 2}, 257))
    assert set(found) == {*ALPHABET, "ab"}
    # 152 uses of "ab" and 2 of "c"; letters that are not used count half a use.
    assert found["ab"] == pytest.approx(np.log(152 / 154), abs=1e-3)
    assert found["c"] == pytest.approx(np.log(2 / 154), abs=1e-3)
    assert found["z"] == pytest.approx(np.log(0.5 / 154), abs=1e-3)
    assert max(found, key=found.get) == "ab"


def test_unigram_loss_by_hand():
    known = {"a": -1.0, "b": -2.0, "ab": -2.5, "aba": -3.0}
    assert unigram._without("ab", known) == -3.0  # a, b
    assert unigram._without("aba", known) == -3.5  # ab, a
    scores, used = np.array([-1.0, -2.0, -2.5]), np.array([4.0, 1.0, 2.0])
    assert unigram._worth(["a", "b", "ab"], scores, used)[2] == 2 * (-2.5 - -3.0)
    with pytest.raises(ValueError, match="empty"):
        unigram._without("x", {})


def test_unigram_cuts_words_into_meaningful_pieces():
    stems, ends = ["walk", "jump", "talk", "paint", "cook"], ["", "s", "ed", "ing", "er"]
    text = " ".join(stem + end for stem in stems for end in ends for _ in range(9))
    made = train_tokeniser("unigram", [text], max_vocabulary=258 + 15)
    (ids,) = made.encode(["we walked painting"])
    assert [made.token(int(i)) for i in ids][-4:] == [" walk", "ed", " paint", "ing"]
    assert made.vocabulary <= 258 + 15


def test_words_are_counted_as_the_library_splits():
    text = "I'll go  there, 12 times!\n\nYou\u00e9 don't\n x_y"
    split = TOKENISERS["bpe"].library.pre_tokenizer.pre_tokenize_str(text)
    counts = word_counts([text], 1)
    assert sorted(counts.elements()) == sorted(word for word, _ in split)


def test_memory_is_bounded_by_the_words_learned_from(monkeypatch):
    monkeypatch.setattr(vocabularies, "_DISTINCT", {"word": 3, "bpe": 3})
    texts = ["one two three", "one two four four four", "two five five"]
    for kind, fed in (("word", "one two"), ("bpe", "one two")):
        assert list(vocabularies._bounded(texts, kind))[1] == fed
    assert train_tokeniser("word", texts, min_count=1).vocabulary == 2 + 3
    monkeypatch.setattr(unigram, "_DISTINCT", 2)
    assert dict(word_counts([" a a b c"], 1)) == {"\u0120a": 2}


@pytest.mark.parametrize("kind", KINDS)
def test_time_grows_with_length(kind):
    ours = TOKENISERS[kind]

    def seconds(size):
        best = 9.0
        for _ in range(5):
            start = time.process_time()
            ours.encode(["the cat sat on a mat " * (size // 21), "ab" * (size // 2)])
            best = min(best, time.process_time() - start)
        return best

    assert seconds(1 << 17) <= 2.5 * seconds(1 << 16) + 0.005
