"""Labelled data: every count in the record by hand, and the tokeniser from train alone."""

import json

import numpy as np
import pytest

from howfar.core.errors import DataError, UsageError
from howfar.data.labelled import load_labelled
from howfar.record.codec import dumps, loads
from howfar.record.comparison import Data


def write(folder, rows, name="t.jsonl"):
    path = folder / name
    path.write_text("".join(json.dumps({"text": t, "label": k}) + "\n" for t, k in rows))
    return path


def rows(count=40, words=6):
    return [(f"w{i} " + "good " * (i % words), "np"[i % 2]) for i in range(count)]


def test_parts_labels_and_ids_belong_together(tmp_path):
    loaded = load_labelled(write(tmp_path, rows()), tokens="char", length=100)
    known = dict(rows())
    for part in (loaded.train, loaded.validation, loaded.test):
        assert len(part.ids) == len(part.labels) == len(part.texts)
        assert part.labels.dtype == np.int64
        for ids, label, text in zip(part.ids, part.labels, part.texts, strict=True):
            assert loaded.label_names[label] == known[text]
            if part is loaded.train:
                assert loaded.tokeniser.decode(ids) == text
    assert (loaded.data.train, loaded.data.validation, loaded.data.test) == (32, 4, 4)
    assert loaded.data.labels == {"n": 20, "p": 20}
    assert loads(Data, dumps(loaded.data)) == loaded.data


def test_what_is_cut_is_counted(tmp_path):
    # 30 rows of 2 words, 10 rows of 9: with 4 words kept, 10 rows lose 5 words each.
    data = [(f"a{i} b", "np"[i % 2]) for i in range(30)]
    data += [(f"a{i} c d e f g h i j", "np"[i % 2]) for i in range(30, 40)]
    start = load_labelled(write(tmp_path, data), length=4)
    assert (start.data.truncated_rows, start.data.truncated_tokens) == (10, 50)
    assert "W-TRUNC: 10 of 40 rows (25.0 %)" in start.data.notes[-1]
    assert "(longest 9): their end was cut, 50 words in all." in start.data.notes[-1]
    end = load_labelled(write(tmp_path, data), length=4, keep="end")
    assert "their start was cut" in end.data.notes[-1]
    for loaded, last in ((start, "c d e"), (end, "g h i j")):
        ids = next(
            ids
            for ids, text in zip(loaded.train.ids, loaded.train.texts, strict=True)
            if text.endswith("j")
        )
        assert len(ids) == 4
        assert loaded.tokeniser.decode(ids).endswith(last)


def test_the_default_length_covers_95_per_cent_of_train(tmp_path):
    data = [("x " * n + f"u{n}", "np"[n % 2]) for n in range(1, 101)]
    loaded = load_labelled(write(tmp_path, data))
    lengths = [len(text.split()) for text in loaded.train.texts]
    assert loaded.length == int(np.ceil(np.percentile(lengths, 95)))
    long = [("x " * 600 + f"u{n}", "np"[n % 2]) for n in range(20)]
    assert load_labelled(write(tmp_path, long)).length == 512


def test_the_vocabulary_is_of_train_alone(tmp_path):
    data = rows(60)
    path = write(tmp_path, data)
    before = load_labelled(path, tokens="char", seed=5)
    held = set(before.test.texts) | set(before.validation.texts)
    changed = [(t.replace("good", "\u4e2d\u6587") if t in held else t, k) for t, k in data]
    after = load_labelled(write(tmp_path, changed), tokens="char", seed=5)
    assert after.train.texts == before.train.texts
    assert after.test.texts != before.test.texts
    assert after.tokeniser.library.to_str() == before.tokeniser.library.to_str()
    chinese = sum(t.count("\u4e2d") for t in after.test.texts + after.validation.texts)
    assert after.data.unknown_tokens >= 2 * chinese > 0


def test_unknown_words_are_counted_after_the_cut(tmp_path):
    train = [(f"good bad {i % 3}", "np"[i % 2]) for i in range(10)]
    train = [(f"{text} u{i}", label) for i, (text, label) in enumerate(train)]
    test = [("good strange", "n"), ("strange bad odd never", "p")]
    loaded = load_labelled(
        write(tmp_path, train), test=write(tmp_path, test, "test.jsonl"), length=3
    )
    # "strange"; "strange", "odd" ("never" is cut); no unique word of validation is within 3.
    assert loaded.data.unknown_tokens == 3


def test_a_test_file_and_what_leaks_from_it(tmp_path):
    train, test = rows(40), [("W3  good good GOOD", "p"), ("new", "n"), ("w0 ", "n")]
    loaded = load_labelled(write(tmp_path, train), test=write(tmp_path, test, "test.jsonl"))
    assert loaded.test.texts == tuple(text for text, _ in test)
    assert (loaded.data.train, loaded.data.validation, loaded.data.test) == (36, 4, 3)
    assert loaded.data.rows == 43
    assert loaded.data.duplicates == 2
    (note,) = [note for note in loaded.data.notes if "W-LEAK" in note]
    assert "2 of 40 rows (5.0 %)" in note
    assert "rows 1, 4" in note


def test_labels_never_seen_in_training(tmp_path):
    test = write(tmp_path, [("a", "n"), ("b", "x"), ("c", "x")], "test.jsonl")
    with pytest.raises(DataError, match=r"test.jsonl:2 .*2 of 3 rows .*such as 'x'") as caught:
        load_labelled(write(tmp_path, rows()), test=test)
    assert caught.value.code == "E-UNSEEN-LABEL"


def test_the_ledger_of_dropped_rows(tmp_path):
    data = [*rows(40), ("alone", "rare"), ("", "n"), ("w1 good", "p"), ("x", "")]
    loaded = load_labelled(write(tmp_path, data), rare="drop", bad_rows="skip")
    assert loaded.data.dropped == 3
    assert loaded.data.rows == 41
    assert loaded.data.duplicates == 1
    assert "Left out: 2 rows (1 empty text, 1 no label)." in loaded.data.notes
    assert "Left out: 1 row with a label that has too few texts." in loaded.data.notes
    with pytest.raises(DataError, match="'rare' has 1 different texts"):
        load_labelled(write(tmp_path, data), bad_rows="skip")


def test_kept_empty_rows_have_no_tokens(tmp_path):
    loaded = load_labelled(write(tmp_path, [*rows(40), ("", "n")]), empty="keep")
    every = [ids for p in (loaded.train, loaded.validation, loaded.test) for ids in p.ids]
    assert sum(len(ids) == 0 for ids in every) == 1


def test_numbers_as_labels_stand_in_order(tmp_path):
    data = [(f"t{i}", str(i % 11)) for i in range(55)]
    loaded = load_labelled(write(tmp_path, data))
    assert loaded.label_names == tuple(str(i) for i in range(11))


def test_lopsided_labels_are_said(tmp_path):
    data = [(f"t{i}", "n" if i < 95 else "p") for i in range(100)]
    assert (
        "W-IMBALANCE: 75 of 78 rows (96.2 %)" in load_labelled(write(tmp_path, data)).data.notes[-1]
    )


@pytest.mark.parametrize("options", [{"length": 0}, {"keep": "middle"}, {"tokens": "letters"}])
def test_bad_options(tmp_path, options):
    with pytest.raises(UsageError):
        load_labelled(write(tmp_path, rows()), **options)


def test_loading_twice_gives_the_same(tmp_path):
    path = write(tmp_path, rows(60))
    first, again = load_labelled(path, seed=2), load_labelled(path, seed=2)
    assert first.train.texts == again.train.texts
    assert dumps(first.data) == dumps(again.data)
    assert load_labelled(path, seed=3).train.texts != first.train.texts
