"""Tokenisers: exact round trips, ids equal to the library's own, nothing special from user text."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from howfar.core.errors import DataError, StoreError, UsageError
from howfar.data import tokenise
from howfar.data.tokenise import Tokeniser, script_note, train_tokeniser

KINDS = ["byte", "char", "word", "bpe"]
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
    assert [TOKENISERS[kind].unit for kind in KINDS] == ["byte", "character", "word", "piece"]


def test_words_seen_once_are_unknown():
    word = train_tokeniser("word", ["once twice twice"])
    assert word.encode(["once twice"])[0].tolist() == [1, 2]
    assert word.decode([1, 2, 0]) == "\ufffd twice"
    assert word.count_unknown(np.asarray([1, 2, 1])) == 2


@settings(deadline=None)
@given(TEXT)
def test_bytes_and_pieces_come_back_exactly(text):
    for kind in ("byte", "bpe"):
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
    if ours.unknown is None and kind == "bpe":
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


@pytest.mark.parametrize("kind", ["word", "bpe"])
@settings(deadline=None)
@given(text=st.text(st.sampled_from("ab \n\t.\u00e9\u2028"), max_size=60))
@example(text="aaaa\n\naaaa")
@example(text="aaaa \n aaaa")
@example(text="aaaa.\n.aaaa")
def test_cutting_long_text_changes_nothing(kind, text):
    ours = TOKENISERS[kind]
    whole = ours.library.encode(text, add_special_tokens=False).ids
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenise, "_CHUNK", 3)
        pieces = list(tokenise._pieces(text, tokenise._CUT[kind]))
        assert "".join(pieces) == text
        assert ours.encode([text])[0].tolist() == whole


def test_text_really_is_cut(monkeypatch):
    monkeypatch.setattr(tokenise, "_CHUNK", 3)
    assert len(list(tokenise._pieces("abcd\nefgh\nijkl", tokenise._CUT["bpe"]))) == 3


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
