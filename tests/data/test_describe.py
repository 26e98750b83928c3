"""What `describe` tells of a file: every count by hand."""

import json

import numpy as np
import pytest

from howfar.core.errors import DataError
from howfar.data.corpus import CorpusOptions
from howfar.data.describe import describe
from howfar.data.leaks import find_leaks, leak_note
from howfar.data.profile import lengths, repeats, scripts
from howfar.data.split import normalised
from howfar.record.codec import dumps, loads
from howfar.record.described import Described


def write(folder, rows, names=("text", "label"), name="t.jsonl"):
    path = folder / name
    lines = (json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows)
    path.write_text("".join(lines))
    return str(path)


def seen(source, **options):
    found = describe(source, CorpusOptions(**options))
    assert loads(Described, dumps(found)) == found
    return found


def test_lengths_by_hand():
    found = lengths(np.asarray([3, 1, 2, 4, 5, 6, 7, 8, 9, 10]), "word")
    assert (found.total, found.shortest, found.longest) == (55, 1, 10)
    assert (found.median, found.p90, found.p95) == (5, 9, 10)
    assert found.starts == (1, 2, 4, 8)
    assert found.counts == (1, 2, 4, 3)
    assert lengths(np.asarray([0, 0, 1]), "word").starts == (0, 1)
    assert lengths(np.asarray([0]), "word").counts == (1,)
    assert lengths(np.asarray([8]), "word").starts == (8,)


def test_scripts_count_letters_alone():
    assert scripts(["ab 12 !", "\u0416\u4e2d"]) == {"Latin": 0.5, "Cyrillic": 0.25, "Han": 0.25}
    assert scripts(["123", ""]) == {}
    assert scripts(["\u3042\u30a2\uff71\uff21\u00aa"]) == {
        "Katakana": 0.4, "Latin": 0.4, "Hiragana": 0.2}  # fmt: skip
    # Lone surrogates and private code points are no letters.
    assert scripts(["\ud800\ue000a"]) == {"Latin": 1.0}


def test_scripts_of_much_text(monkeypatch):
    monkeypatch.setattr("howfar.data.profile._AT_ONCE", 3)
    assert scripts(["ab", "c\u0416", "\u0416", "", "d"]) == {"Latin": 4 / 6, "Cyrillic": 2 / 6}


def test_repeats_by_hand():
    texts = ["Good film", "Good film", "good  FILM", "Good, film!", "good-film", "bad", "!!", "??"]
    assert repeats(texts, [normalised(text) for text in texts]) == (1, 1, 2)
    assert repeats([], []) == (0, 0, 0)


def test_leaks_by_hand():
    leak = find_leaks(
        (["A", "b", "a", "c"], ["a", "b", "a", "c"]), (["a", "B", "x"], ["a", "b", "x"])
    )
    assert (leak.known, leak.exact, leak.copies) == ((0, 1), 1, (0, 1, 2))
    said = leak_note(leak, "test", [2, 3, 4])
    assert said == (
        "W-LEAK: 2 of 3 rows (66.7 %) of the test file stand in the training file too, 1 of them "
        "letter by letter (rows 2, 3); they are copies of 3 rows there."
    )
    assert leak_note(find_leaks((["a"], ["a"]), ([], [])), "test", []) is None


def test_a_labelled_table(tmp_path):
    data = [(f"w{i} good", "a") for i in range(30)] + [(f"w{i} x bad bad", "b") for i in range(20)]
    data += [("W0 good", "a"), ("w0 good", "b"), ("", "a"), ("once", "c"), ("no label", "")]
    found = seen(write(tmp_path, data))
    assert (found.rows, found.empty, found.unlabelled, found.kind) == (55, 1, 1, "table")
    assert (found.text, found.label, found.aim, found.tokens) == (
        "text", "label", "classification", "word")  # fmt: skip
    assert found.labels == {"a": 31, "b": 21, "c": 1}
    assert found.rare == 1
    assert (found.duplicates, found.same, found.near) == (1, 1, 0)
    assert found.conflicts == 3
    assert found.lengths.total == 30 * 2 + 20 * 4 + 2 + 2 + 1 + 2
    assert (found.lengths.median, found.lengths.longest) == (2, 4)
    assert found.characters.longest == len("w19 x bad bad")
    assert [column.role for column in found.columns] == ["text", "label"]
    assert [column.missing for column in found.columns] == [1, 1]
    assert (found.cutting.length, found.cutting.rows) == (4, 0)
    said = " ".join(found.warnings)
    assert "E-EMPTY-TEXT: 1 of 55 rows (1.8 %) have no text (row 53)" in said
    assert "E-LABEL: 1 of 55 rows" in said
    assert "E-TOO-FEW: labels with fewer than 3 different texts, one for each part: 'c'" in said
    assert "W-CONFLICT: 3 of 53 rows" in said


def test_what_a_length_would_cut(tmp_path):
    data = [("a b c d e", "n"), ("a b", "p")] * 10
    found = seen(write(tmp_path, data), length=3)
    assert (found.cutting.rows, found.cutting.tokens, found.cutting.asked) == (10, 20, True)
    by_character = seen(write(tmp_path, data), length=3, tokens="char")
    assert (by_character.cutting.rows, by_character.cutting.tokens) == (10, 60)
    assert by_character.lengths is None


def test_a_test_file(tmp_path):
    path = write(tmp_path, [(f"w{i} same words", "np"[i % 2]) for i in range(40)])
    test = [("w1 same words", "p"), ("W2 SAME WORDS", "n"), ("new new", "z")]
    found = seen(path, test=write(tmp_path, test, name="test.jsonl"))
    beside = found.beside
    assert (beside.rows, beside.known, beside.exact, beside.unseen) == (3, 2, 1, 1)
    # "w1", "W2" and "new" twice were seen less than twice in the data: 4 of 8 tokens.
    assert found.unknown == 4 / 8
    with pytest.raises(DataError, match="No column 'label'"):
        seen(path, test=write(tmp_path, [("a",)], ("text",), "bare.jsonl"))


def test_what_the_label_column_is_good_for(tmp_path):
    def aim(labels, **options):
        rows = [(f"some text {i}", label) for i, label in enumerate(labels)]
        return seen(write(tmp_path, rows), **options)

    assert aim([str(i % 5) for i in range(60)]).aim == "classification"
    assert aim([i / 7 for i in range(60)]).aim == "regression"
    numbers = aim(list(range(60))).numbers
    assert (numbers.least, numbers.mean, numbers.greatest) == (0, 29.5, 59)
    several = aim([["a"], ["a", "b"], []] * 20)
    assert (several.aim, several.labels) == ("multilabel", {"a": 40, "b": 20})
    assert aim([f"answer {i}" for i in range(60)]).aim == "seq2seq"
    assert aim(["1e308", "-1e308"] * 3 + [str(i) for i in range(60)]).aim == "regression"


def test_columns_that_are_not_clear(tmp_path):
    rows = [(str(i), "long text here", str(i % 3)) for i in range(20)]
    found = seen(write(tmp_path, rows, ("id", "what", "kind")))
    assert (found.text, found.label, found.aim) == ("what", None, "lm")
    assert any("--label names it" in note for note in found.notes)
    named = seen(write(tmp_path, rows, ("id", "what", "kind")), label="kind")
    assert (named.text, named.label, named.aim) == ("what", "kind", "classification")
    with pytest.raises(DataError, match="No column 'sort'"):
        seen(write(tmp_path, rows, ("id", "what", "kind")), label="sort")
    with pytest.raises(DataError, match="No column 'b'"):
        seen(write(tmp_path, [("x",)], ("a",)), label="b")
    kinds = [column.holds for column in found.columns]
    assert kinds == ["numbers", "text", "numbers"]


def test_running_text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one line\n\nanother line here\n" * 20 + "\u4e2d" * 9)
    found = seen(str(path))
    assert (found.kind, found.of, found.rows, found.empty) == ("text", "line", 61, 20)
    assert found.characters.longest == len("another line here")
    assert found.unknown == pytest.approx(9 / 106, abs=0.02)
    assert (found.cutting, found.labels, found.tokens) == (None, None, "char")
    path.write_text("a\tb\n" * 30)
    assert "W-TABLE: 30 of 30 lines have 1 tab" in seen(str(path)).warnings[0]
    assert seen(str(path), tokens="word").lengths.unit == "word"


def test_texts_that_cannot_be_used_are_gathered(tmp_path):
    data = [("x" * 50, "a"), ("a\x00b", "a"), ("fine", "b")] + [
        (f"t{i}", "ab"[i % 2]) for i in range(9)
    ]
    found = seen(write(tmp_path, data), max_field=20)
    assert [warning.split(": ")[1].split(" (")[0] for warning in found.warnings] == [
        "NUL character", "cell too long"]  # fmt: skip
    with pytest.raises(DataError, match=r"No row of .* has a text in 'text'.*cell too long"):
        seen(write(tmp_path, data[:1] * 3), max_field=20)


def test_a_folder_of_long_documents(tmp_path):
    (tmp_path / "docs").mkdir()
    for name in "abc":
        (tmp_path / "docs" / f"{name}.txt").write_text(f"text {name} " * 50)
    found = seen(tmp_path / "docs", max_field=20)
    assert (found.kind, found.of, found.rows, found.aim) == ("folder", "document", 3, "lm")
    assert found.lengths.longest == 100
