"""Each aim's rows and targets by hand, and what is wrong with them said."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from howfar.core.errors import DataError, UsageError
from howfar.data.aims.labels import ordered, several
from howfar.data.aims.numbers import number
from howfar.data.aims.tokens import case_kept
from howfar.data.corpus import CorpusOptions, load_corpus
from howfar.data.faults import Fault
from howfar.data.tokenise import Tokeniser
from howfar.record.codec import dumps, loads
from howfar.record.comparison import Data

PARTS = ("train", "validation", "test")


def write(folder, rows, names=("text", "label"), name="t.jsonl"):
    path = folder / name
    lines = (json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows)
    path.write_text("".join(lines))
    return str(path)


def loaded(source, aim, **options):
    corpus = load_corpus(source, aim, CorpusOptions(**options))
    assert loads(Data, dumps(corpus.data)) == corpus.data
    return corpus


def noted(corpus, code):
    return [note for note in corpus.data.notes if code in note]


# Several labels


@pytest.mark.parametrize("listed", [True, False])
def test_several_labels(tmp_path, listed):
    labels = [["a"], ["b", "a"], [], ["b"]]
    cells = [each if listed else " | ".join(each) for each in labels]
    data = [(f"t{i}", cells[i % 4]) for i in range(40)]
    corpus = loaded(write(tmp_path, data), "multilabel")
    assert corpus.names == ("a", "b")
    assert corpus.outputs == 2
    known = {"t" + str(i): labels[i % 4] for i in range(40)}
    for part in map(corpus.part, PARTS):
        assert part.targets.dtype == np.float32
        for text, row in zip(part.texts, part.targets, strict=True):
            assert row.tolist() == [float(name in known[text]) for name in "ab"]
    assert corpus.data.labels == {"a": 20, "b": 20}
    assert (corpus.data.train, corpus.data.validation, corpus.data.test) == (32, 4, 4)
    assert noted(corpus, "10 of 40 rows (25.0 %) have no label")
    assert noted(corpus, "iterative stratification")


def test_several_labels_unseen_in_training(tmp_path):
    path = write(tmp_path, [(f"t{i}", "ab"[i % 2]) for i in range(20)])
    test = write(tmp_path, [("x", "a|z"), ("y", "b")], name="test.jsonl")
    with pytest.raises(DataError, match="such as 'z'"):
        loaded(path, "multilabel", test=test)
    corpus = loaded(path, "multilabel", test=test, unseen="ignore")
    assert corpus.test.targets.tolist() == [[1, 0], [0, 1]]
    assert noted(corpus, "W-UNSEEN: 1 of 2 rows")


def test_no_labels_at_all_and_far_too_many(tmp_path):
    with pytest.raises(DataError, match="None of 9 rows has a label"):
        loaded(write(tmp_path, [(f"t{i}", []) for i in range(9)]), "multilabel")
    many = [(f"t{i}", [str(i)]) for i in range(1001)]
    with pytest.raises(DataError) as caught:
        loaded(write(tmp_path, many), "multilabel")
    assert caught.value.code == "E-LABEL-CARD"


@pytest.mark.parametrize(
    ("value", "labels"),
    [
        ("b| a|b|", ("b", "a")),
        (["1", 2, 2], ("1", "2")),
        (None, ()),
        ("", ()),
        (float("nan"), ()),
        (3, ("3",)),
    ],
)
def test_labels_of_a_cell(value, labels):
    assert several(value, "|", 1, "label") == labels


@pytest.mark.parametrize("value", [{"a": 1}, b"a", [["a"]], [None], [float("nan")]])
def test_no_labels_of_a_cell(value):
    assert several(value, "|", 1, "label").code == "E-LABEL"


def test_labels_in_order():
    assert ordered(["10", "9", "1"]) == ("1", "9", "10")
    assert ordered(["b", "10", "9"]) == ("10", "9", "b")


# Numbers


def test_numbers_are_standardised_by_train(tmp_path):
    data = [(f"t{i}", i) for i in range(40)]
    test = write(tmp_path, [("x", 1000)], name="test.jsonl")
    corpus = loaded(write(tmp_path, data), "regression", test=test)
    mean, deviation = corpus.scale
    values = [float(text[1:]) for text in corpus.train.texts]
    assert (mean, deviation) == (np.mean(values), np.std(values))
    np.testing.assert_allclose(corpus.train.targets * deviation + mean, values, rtol=1e-6)
    assert corpus.test.targets.tolist() == [np.float32((1000 - mean) / deviation)]
    assert corpus.train.targets.dtype == np.float32
    assert (corpus.outputs, corpus.names, corpus.data.labels) == (1, (), None)


@pytest.mark.parametrize(
    "cell", ["", " ", "nan", "inf", "-Infinity", "1e999", "1,5", "1_0", "\uff11", "0x1", "one"]
)
def test_what_is_no_number(cell):
    found = number(cell, "", 3, "score")
    assert isinstance(found, Fault)
    assert found.code == "E-LABEL"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_that_is_written_is_read(value):
    assert number(repr(value), "", 1, "y") == value


def test_numbers_that_cannot_be_learned(tmp_path):
    def fails(values, match):
        with pytest.raises(DataError, match=match) as caught:
            loaded(write(tmp_path, [(f"t{i}", v) for i, v in enumerate(values)]), "regression")
        return caught.value.code

    assert fails(["0.1"] * 20, "All 16 training rows have the number 0.1") == "E-CONSTANT"
    assert fails(["1e308", "-1e308"] * 20, "too large") == "E-LABEL"
    assert fails(["1"] * 5 + ["x"] + ["2"] * 9, r":6 \(column 'label'\): 'x'") == "E-LABEL"
    assert fails(["1"] * 5 + [""] + ["2"] * 9, "Missing label") == "E-LABEL"


# Tags


SENTENCES = [
    (["The", "cat", "sat"], ["D", "N", "V"]),
    (["the", "dog's", "tail"], ["D", "N", "N"]),
    (["New York", "won"], ["N", "V"]),
]


def tagged(count=30):
    return [
        ([*tokens, f"n{i}"], [*tags, "X"])
        for i in range(count)
        for tokens, tags in [SENTENCES[i % 3]]
    ]


def check_tags(corpus, data):
    known = {" ".join("\u2423".join(t.split()) for t in tokens): tags for tokens, tags in data}
    assert corpus.names == ("D", "N", "V", "X")
    for part in map(corpus.part, PARTS):
        for text, ids, codes in zip(part.texts, part.ids, part.targets, strict=True):
            assert len(ids) == len(codes) == len(known[text])
            assert [corpus.names[code] for code in codes] == known[text]


def test_tags_of_lists(tmp_path):
    data = tagged()
    corpus = loaded(write(tmp_path, data, ("tokens", "ner_tags")), "tagging")
    check_tags(corpus, data)
    ids = {corpus.tokeniser.token(i): i for i in range(corpus.vocabulary)}
    # Capitals are kept, a token is one id whatever is in it, and n0, n1, ... were seen once.
    assert {"The", "the", "dog's", "New\u2423York"} <= set(ids)
    assert "n0" not in ids
    assert corpus.tokeniser.kind == "word"
    assert corpus.data.unknown_tokens == 6
    assert corpus.data.labels["X"] == 30
    assert noted(corpus, "The given tokens are the tokens")


def test_tags_of_lines(tmp_path):
    path = tmp_path / "a.txt"
    data = [([t.replace(" ", "") for t in tokens], tags) for tokens, tags in tagged()]
    for comment, gap in (("", " "), ("# text = The cat\n", "\t")):
        blocks = [
            "".join(f"{t}{gap}_{gap}{k}\n" for t, k in zip(*row, strict=True)) for row in data
        ]
        path.write_text("-DOCSTART- -X- O\n\n" + "\n".join(comment + block for block in blocks))
        check_tags(loaded(str(path), "tagging"), data)


def test_tags_of_texts(tmp_path):
    data = [
        (" ".join(t.replace(" ", "") for t in tokens), " ".join(tags)) for tokens, tags in tagged()
    ]
    corpus = loaded(write(tmp_path, data, ("sentence", "tags")), "tagging")
    check_tags(corpus, [(text.split(), tags.split()) for text, tags in data])


def test_tags_are_cut_with_their_tokens(tmp_path):
    data = tagged()
    path = write(tmp_path, data, ("tokens", "tags"))
    assert loaded(path, "tagging").data.truncated_rows == 0
    for keep, kept in (("start", slice(2)), ("end", slice(-2, None))):
        corpus = loaded(path, "tagging", length=2, keep=keep)
        known = {" ".join("\u2423".join(t.split()) for t in tokens): tags for tokens, tags in data}
        for text, codes in zip(corpus.train.texts, corpus.train.targets, strict=True):
            assert [corpus.names[code] for code in codes] == known[text][kept]
        assert corpus.data.truncated_tokens == 20 * 2 + 10


@pytest.mark.parametrize("aim", ["tagging", "multilabel"])
def test_a_label_seen_once_is_trained_on(tmp_path, aim):
    names = ("tokens", "tags") if aim == "tagging" else ("text", "label")
    for seed in range(12):
        rows = [([f"w{i}", "x"], ["A", "B"]) for i in range(29)] + [(["rare", "x"], ["Z", "B"])]
        rows = rows if aim == "tagging" else [(" ".join(text), label) for text, label in rows]
        corpus = loaded(write(tmp_path, rows, names), aim, seed=seed)
        assert any(text.startswith("rare") for text in corpus.train.texts)


@pytest.mark.parametrize(
    ("row", "match"),
    [
        ((["a", "b"], ["X"]), "2 tokens have 1 tags"),
        ((["a"], [""]), "Tags not readable"),
        ((["a"], None), "Tags not readable"),
        ((["a"], [["X"]]), "Tags not readable"),
    ],
)
def test_tags_that_do_not_match(tmp_path, row, match):
    path = write(tmp_path, [*tagged(), row], ("tokens", "tags"))
    with pytest.raises(DataError, match=match) as caught:
        loaded(path, "tagging")
    assert caught.value.code == "E-TAGS"
    assert ":31" in caught.value.message
    assert loaded(path, "tagging", bad_rows="skip").data.dropped == 1


def test_other_faults_of_tags(tmp_path):
    path = write(tmp_path, tagged(), ("tokens", "tags"))
    with pytest.raises(UsageError, match="does not fit tagging"):
        loaded(path, "tagging", tokens="char")
    (tmp_path / "a.txt").write_text("a X\nb\n")
    with pytest.raises(DataError, match=r"a.txt:2: 1 columns where the first line has 2"):
        loaded(str(tmp_path / "a.txt"), "tagging")
    one = write(tmp_path, [([f"w{i}"], ["O"]) for i in range(20)], ("tokens", "tags"))
    with pytest.raises(DataError) as caught:
        loaded(one, "tagging")
    assert caught.value.code == "E-ONE-CLASS"


# Pairs


def test_pairs(tmp_path):
    data = [(f"say word{i % 5} {i}", f"Word{i % 5} , it IS") for i in range(40)]
    corpus = loaded(write(tmp_path, data, ("source", "target")), "seq2seq")
    known = dict(data)
    writer = corpus.target_tokeniser
    for part in map(corpus.part, PARTS):
        for text, ids in zip(part.texts, part.targets, strict=True):
            assert writer.decode(ids) == known[text]
    assert corpus.end == writer.vocabulary
    assert corpus.outputs == corpus.target_vocabulary == writer.vocabulary + 1
    assert (corpus.length, corpus.target_length) == (3, 4)
    assert (corpus.data.kind, corpus.data.truncated_rows) == ("seq2seq", 0)


def test_a_target_is_never_cut(tmp_path, monkeypatch):
    monkeypatch.setattr("howfar.data.aims.pairs.LONGEST_TARGET", 3)
    data = [(f"s{i}", "a b c d e" if i % 10 == 0 else "a b") for i in range(40)]
    test = write(tmp_path, [("x", "a b c d e e"), ("y", "q")], ("source", "target"), "test.jsonl")
    corpus = loaded(write(tmp_path, data, ("source", "target")), "seq2seq", test=test)
    long = sum(int(text[1:]) % 10 == 0 for text in corpus.validation.texts)
    assert len(corpus.train) == 36 - (4 - long)
    assert corpus.data.dropped == 4 - long
    assert corpus.data.train == len(corpus.train)
    assert corpus.target_length == 3
    assert [len(ids) for ids in corpus.test.targets] == [6, 1]
    assert noted(corpus, "of test have a target longer")
    assert noted(corpus, "1 target tokens of validation and test never stand")


def test_columns_of_pairs(tmp_path):
    data = [(f"s {i}", f"t {i}") for i in range(20)]
    two = loaded(write(tmp_path, data, ("english", "french")), "seq2seq")
    assert noted(two, "The source column 'english' was guessed")
    turned = loaded(write(tmp_path, data, ("answer", "question")), "seq2seq")
    assert turned.train.texts[0].startswith("t")
    named = loaded(write(tmp_path, data, ("a", "b")), "seq2seq", text="b")
    assert named.train.texts[0].startswith("t")
    with pytest.raises(DataError, match=r"not obvious which column .* is the source"):
        loaded(write(tmp_path, [("1", "2", "3")] * 9, ("a", "b", "c")), "seq2seq")
    with pytest.raises(DataError, match="No column 'z'"):
        loaded(write(tmp_path, data, ("a", "b")), "seq2seq", label="z")
    with pytest.raises(DataError, match="not obvious"):
        loaded(write(tmp_path, data, ("a", "b")), "seq2seq", text="a", label="a")


def test_scripts_decide_each_side(tmp_path):
    data = [(f"a small house {i}", "\u5c0f\u623f\u5b50" * (1 + i % 3)) for i in range(30)]
    corpus = loaded(write(tmp_path, data, ("source", "target")), "seq2seq")
    assert (corpus.tokeniser.kind, corpus.target_tokeniser.kind) == ("word", "char")
    bytes_ = loaded(write(tmp_path, data, ("source", "target")), "seq2seq", tokens="byte")
    assert (bytes_.tokeniser.kind, bytes_.target_tokeniser.kind) == ("byte", "byte")


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=12), max_size=6))
def test_given_tokens_are_one_id_each(tokens):
    bare = ["".join(token.split()) or "-" for token in tokens]
    tokeniser = case_kept([" ".join(bare)], 1000, "given")
    [ids] = tokeniser.encode([" ".join(bare)])
    assert len(ids) == len(bare)
    assert [tokeniser.token(i) for i in ids] == bare


@pytest.mark.parametrize("how", ["cased", "given"])
def test_kept_case_is_saved_and_read(tmp_path, how):
    text = "Don't  stop , Paris paris"
    tokeniser = case_kept([text], 100, how)
    tokeniser.save(tmp_path / "tokenizer.json")
    again = Tokeniser.load(tmp_path / "tokenizer.json")
    assert again.kind == "word"
    assert again.encode([text])[0].tolist() == tokeniser.encode([text])[0].tolist()
    words = {"cased": "Don ' t stop , Paris paris", "given": "Don't stop , Paris paris"}
    assert again.decode(again.encode([text])[0]) == words[how]


def test_a_vocabulary_too_small():
    with pytest.raises(UsageError, match="at least 3"):
        case_kept(["a"], 2, "cased")
    assert case_kept(["b a b B"], 4, "cased").encode(["b a B"])[0].tolist() == [2, 1, 3]


# Running text


def test_one_text_is_cut_in_order(tmp_path):
    path = tmp_path / "a.txt"
    text = "".join(f"line {i:04} of the text\n" for i in range(1000))
    path.write_text(text)
    corpus = loaded(str(path), "lm")
    assert "".join(corpus.part(name).texts[0] for name in PARTS) == text
    assert [len(corpus.part(name).texts[0]) for name in PARTS] == [17600, 2200, 2200]
    assert (corpus.end, corpus.mask, corpus.vocabulary) == (None, None, corpus.tokeniser.vocabulary)
    assert (corpus.data.kind, corpus.data.rows, corpus.data.train) == ("text", 1, 17600)
    assert (corpus.length, corpus.tokeniser.kind) == (128, "char")
    with_test = loaded(str(path), "lm", test=str(path))
    assert [len(with_test.part(name).texts[0]) for name in PARTS] == [19800, 2200, 22000]
    assert noted(with_test, "W-LEAK")
    whole = loaded(str(path), "lm", test=str(path), validation=str(path))
    assert [len(whole.part(name).texts[0]) for name in PARTS] == [22000] * 3
    masked = loaded(str(path), "masked")
    assert (masked.tokeniser.kind, masked.mask) == ("char", masked.tokeniser.vocabulary)
    assert loaded(str(path), "masked", tokens="word").tokeniser.kind == "word"
    assert masked.vocabulary == masked.outputs == masked.tokeniser.vocabulary + 1


def test_documents_are_dealt_out_whole_by_length(tmp_path):
    data = [("a b " * (400 if i == 0 else 20) + str(i),) for i in range(101)]
    path = write(tmp_path, data, ("text",))
    corpus = loaded(path, "lm", tokens="word")
    size = corpus.tokeniser.vocabulary
    assert (corpus.end, corpus.mask, corpus.vocabulary) == (size, None, size + 1)
    assert sorted(t for name in PARTS for t in corpus.part(name).texts) == sorted(
        t for (t,) in data
    )
    shares = [sum(map(len, corpus.part(name).texts)) for name in PARTS]
    np.testing.assert_allclose(np.asarray(shares) / sum(shares), [0.8, 0.1, 0.1], atol=0.02)
    # A document's tokens and its end.
    assert corpus.data.train == corpus.train.ids.num_tokens + len(corpus.train)
    assert corpus.data.rows == 101
    masked = loaded(path, "masked")
    assert (masked.end, masked.mask) == (size, size + 1)


def test_two_documents_are_each_cut(tmp_path):
    data = [("abc " * 900,), ("xyz " * 900,)]
    corpus = loaded(write(tmp_path, data, ("text",)), "lm")
    assert [len(corpus.part(name)) for name in PARTS] == [2, 2, 2]
    assert all(corpus.part(name).texts[1][:3] == "xyz" for name in PARTS)
    assert (corpus.end, corpus.data.rows) == (corpus.tokeniser.vocabulary, 2)


def test_the_window_fits_a_short_text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("ab\n" * 400)
    corpus = loaded(str(path), "lm")
    assert corpus.length == 29
    assert noted(corpus, "The window is 29 characters")
    with pytest.raises(DataError, match="too short for windows of 128") as caught:
        loaded(str(path), "lm", length=128)
    assert caught.value.hint == "--length 29"
    path.write_text("ab\n" * 10)
    with pytest.raises(DataError) as caught:
        loaded(str(path), "lm")
    assert caught.value.code == "E-TOO-SHORT"
    with pytest.raises(UsageError):
        loaded(str(path), "lm", length=1)


def test_labels_need_a_table(tmp_path):
    (tmp_path / "a.txt").write_text("only text")
    for aim in ("classification", "multilabel", "regression", "seq2seq"):
        with pytest.raises(DataError, match="it has no labels"):
            loaded(str(tmp_path / "a.txt"), aim)


def test_a_column_of_documents_must_be_clear(tmp_path):
    path = write(tmp_path, [("1", "2")] * 9, ("a", "b"))
    with pytest.raises(DataError, match="not obvious which column"):
        loaded(path, "lm")
    with pytest.raises(DataError, match="No column 'c'"):
        loaded(path, "lm", text="c")
