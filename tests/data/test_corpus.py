"""Corpora for every aim: the split, the files beside it, and every count in the record."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from howfar.bundle.opening import open_corpus
from howfar.core.errors import DataError, HowfarError, UsageError
from howfar.data.anything import Rows
from howfar.data.cells import Ledger
from howfar.data.corpus import CorpusOptions, load_corpus
from howfar.data.describe import describe
from howfar.data.examples import AIMS
from howfar.data.labelled import load_labelled
from howfar.data.large import LARGE
from howfar.record.codec import dumps, loads
from howfar.record.comparison import Data
from howfar.record.described import Described
from howfar.report.described import render_described


def write(folder, rows, name="t.jsonl", names=("text", "label")):
    path = folder / name
    lines = (json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows)
    path.write_text("".join(lines))
    return str(path)


def rows(count=40, words=6):
    return [(f"w{i} " + "good " * (i % words), "np"[i % 2]) for i in range(count)]


def loaded(source, aim="classification", **options):
    return load_corpus(source, aim, CorpusOptions(**options))


def noted(corpus, code):
    return [note for note in corpus.data.notes if code in note]


@pytest.mark.parametrize("beside", [False, True])
def test_classes_are_those_of_load_labelled(tmp_path, beside):
    path = write(tmp_path, rows(80))
    test = write(tmp_path, [("new one", "n"), ("W3 good", "p")], "test.jsonl") if beside else None
    ours = loaded(path, seed=3, length=4, test=test, keep="end")
    theirs = load_labelled(path, seed=3, length=4, test=test, keep="end")
    for part in ("train", "validation", "test"):
        mine, other = ours.part(part), getattr(theirs, part)
        assert tuple(mine.texts) == other.texts
        assert mine.targets.tolist() == other.labels.tolist()
        assert [ids.tolist() for ids in mine.ids] == [ids.tolist() for ids in other.ids]
    assert ours.names == theirs.label_names
    assert ours.tokeniser.library.to_str() == theirs.tokeniser.library.to_str()
    same = ("kind", "name", "unit", "rows", "dropped", "truncated_rows", "truncated_tokens")
    same += ("duplicates", "train", "validation", "test", "vocabulary", "unknown_tokens")
    for name in (*same, "length", "labels", "sha256"):
        assert getattr(ours.data, name) == getattr(theirs.data, name), name
    assert loads(Data, dumps(ours.data)) == ours.data


def test_files_take_the_place_of_parts(tmp_path):
    path = write(tmp_path, rows(40))
    test = write(tmp_path, [(f"t{i}", "np"[i % 2]) for i in range(6)], "test.jsonl")
    check = write(tmp_path, [(f"v{i}", "np"[i % 2]) for i in range(4)], "check.jsonl")

    def sizes(**files):
        data = loaded(path, **files).data
        return data.train, data.validation, data.test

    assert sizes() == (32, 4, 4)
    assert sizes(test=test) == (36, 4, 6)
    assert sizes(validation=check) == (36, 4, 4)
    assert sizes(test=test, validation=check) == (40, 4, 6)


def test_leaks_are_counted_and_left_out_where_asked(tmp_path):
    path = write(tmp_path, rows(40))
    held = [("w3 good good good ", "p"), ("W0", "n"), ("new", "n")]
    test = write(tmp_path, held, "test.jsonl")
    plain = loaded(path, test=test)
    (note,) = noted(plain, "W-LEAK")
    assert "2 of 3 rows (66.7 %) of the test file stand in the training file too" in note
    assert "1 of them letter by letter (rows 1, 2); they are copies of 2 rows there" in note
    clean = loaded(path, test=test, dedup=True)
    kept = {text.strip() for text in clean.train.texts}
    assert not kept & {"w3 good good good", "w0"}
    gone = plain.data.train - clean.data.train
    assert clean.data.dropped == gone > 0
    assert any(f"Left out: {gone} row" in note for note in clean.data.notes)
    assert clean.data.test == 3
    # Rows that went to validation leak too.
    (note,) = noted(loaded(path, test=path), "W-LEAK")
    assert "40 of 40 rows (100.0 %) of the test file" in note
    # Between validation and test too.
    both = loaded(
        path, test=test, validation=write(tmp_path, [("new", "p"), ("x", "n")], "v.jsonl")
    )
    assert any("stand in the validation file too" in note for note in noted(both, "W-LEAK"))


def test_nothing_left_after_dedup(tmp_path):
    path = write(tmp_path, rows(20))
    with pytest.raises(DataError, match="Nothing to train on") as caught:
        loaded(path, test=path, validation=path, dedup=True)
    assert caught.value.code == "E-EMPTY"


def test_strict_refuses_to_cut(tmp_path):
    path = write(tmp_path, rows(40))
    with pytest.raises(DataError, match=r"longer than 3 words \(longest 6\)") as caught:
        loaded(path, length=3, strict=True)
    assert caught.value.code == "E-TRUNC"
    assert "--length 6" in caught.value.hint
    whole = loaded(path, strict=True)
    assert (whole.length, whole.data.truncated_rows) == (6, 0)


def test_the_length_is_that_of_train(tmp_path):
    path = write(tmp_path, rows(40))
    long = write(tmp_path, [("a b c d e f g h i j", "np"[i % 2]) for i in range(90)], "l.jsonl")
    corpus = loaded(path, test=long)
    assert corpus.length == loaded(path).length == 6
    assert corpus.data.truncated_rows == 90


def test_unseen_labels(tmp_path):
    path = write(tmp_path, rows(40))
    test = write(tmp_path, [("a", "n"), ("b", "x"), ("c", "x"), ("d", "p")], "test.jsonl")
    with pytest.raises(DataError, match=r"test.jsonl:2 .*2 of 4 rows .*such as 'x'") as caught:
        loaded(path, test=test)
    assert caught.value.code == "E-UNSEEN-LABEL"
    assert "--unseen ignore" in caught.value.hint
    corpus = loaded(path, test=test, unseen="ignore")
    assert (corpus.data.test, corpus.data.dropped, corpus.names) == (2, 2, ("n", "p"))
    assert "2 of 4 rows (50.0 %) of test" in noted(corpus, "W-UNSEEN")[0]
    strange = write(tmp_path, [("a", "x")], "strange.jsonl")
    with pytest.raises(DataError, match="No row of test has a label that training knows"):
        loaded(path, test=strange, unseen="ignore")


def test_groups_stay_whole(tmp_path):
    names = ("text", "label", "author")
    data = [(f"text {i}", "np"[i % 2], f"a{i % 10}") for i in range(60)]
    corpus = loaded(write(tmp_path, data, names=names), group="author")
    author = {text: who for text, _, who in data}
    sides = [{author[t] for t in corpus.part(p).texts} for p in ("train", "validation", "test")]
    assert [len(side) for side in sides] == [8, 1, 1]
    assert noted(corpus, "Split by group: none of 10 is in two parts.")
    with pytest.raises(DataError, match=r"No group in .*:60") as caught:
        loaded(write(tmp_path, [*data[:59], ("z", "n", " ")], names=names), group="author")
    assert caught.value.code == "E-GROUP"
    left = loaded(
        write(tmp_path, [*data[:59], ("z", "n", "")], names=names), group="author", bad_rows="skip"
    )
    assert left.data.dropped == 1
    with pytest.raises(DataError, match=r"No column .autor. .*Did you mean .author."):
        loaded(write(tmp_path, data, names=names), group="autor")


def test_the_newest_test(tmp_path):
    names = ("text", "label", "when")
    data = [(f"text {i}", "np"[i % 2], f"2024-01-{30 - i:02}") for i in range(20)]
    corpus = loaded(write(tmp_path, data, names=names), time="when")
    assert corpus.test.texts == ("text 0", "text 1")
    assert corpus.validation.texts == ("text 2", "text 3")
    with pytest.raises(UsageError, match="--group and --time"):
        CorpusOptions(group="a", time="b")


def test_rows_without_a_time_are_left_out_where_asked(tmp_path):
    names = ("text", "label", "when")
    data = [(f"text {i}", "np"[i % 2], f"2024-01-{30 - i:02}") for i in range(20)]
    odd = [("a", "n", "soon"), ("b", "p", ""), ("c", "n", "2024-02-30"), ("d", "p", "17")]
    path = write(tmp_path, [*data, *odd], names=names)
    with pytest.raises(DataError, match=r"No time in .*:21 .*'soon' \(rows 21, 22, 23\)") as caught:
        loaded(path, time="when")
    assert "--bad-rows skip" in caught.value.hint
    listing = tmp_path / "rejects.jsonl"
    corpus = loaded(path, time="when", bad_rows="skip", rejects=str(listing))
    assert corpus.data.dropped == 4
    assert corpus.test.texts == ("text 0", "text 1")
    assert noted(corpus, "3 no time")
    assert noted(corpus, "1 another kind of time than most rows")
    listed = [json.loads(line) for line in listing.read_text().splitlines()]
    assert [(row["line"], row["code"], row["column"], row["raw"]) for row in listed] == [
        (21, "E-TIME", "when", "soon"),
        (22, "E-TIME", "when", ""),
        (23, "E-TIME", "when", "2024-02-30"),
        (24, "E-TIME", "when", "17"),
    ]
    never = write(tmp_path, [(t, label, "never") for t, label, _ in data], "n.jsonl", names)
    with pytest.raises(DataError, match=r"every row was left out \(20 no time\)") as caught:
        loaded(never, time="when", bad_rows="skip")
    assert caught.value.code == "E-EMPTY"


@pytest.mark.parametrize(
    ("options", "flag"),
    [
        ({"label": "label"}, "--label"),
        ({"text": "text"}, "--text"),
        ({"group": "who"}, "--group"),
        ({"time": "when"}, "--time"),
        ({"separator": ";"}, "--sep"),
        ({"no_header": True}, "--no-header"),
        ({"quote": "none"}, "--quote"),
        ({"label_separator": ","}, "--label-separator"),
    ],
)
def test_options_of_tables_are_refused_on_a_plain_text(tmp_path, options, flag):
    path = tmp_path / "a.txt"
    path.write_text("some words and more\n" * 300)
    asked = CorpusOptions(**options, folder=tmp_path / "large")
    large = tmp_path / "large.txt"
    with large.open("wb") as file:
        file.truncate(LARGE)
    for read in (
        lambda: load_corpus(path, None, asked),
        lambda: load_corpus(path, "lm", asked),
        lambda: load_corpus(path, "masked", asked),
        lambda: describe(path, asked),
        lambda: open_corpus(large, None, asked),
    ):
        with pytest.raises(UsageError) as caught:
            read()
        assert caught.value.code == "E-OPTION"
        assert caught.value.message.startswith(f"{flag} has no effect here: ")
        assert "is a plain text" in caught.value.message
    with pytest.raises(DataError, match="running text: it has no labels"):
        load_corpus(path, "classification", asked)


@pytest.mark.parametrize("aim", ["lm", "tagging", "seq2seq", "regression", "classification", None])
def test_a_column_that_is_not_there_may_be_a_row_of_data(tmp_path, aim):
    path = tmp_path / "a.csv"
    path.write_text("good film,pos\nbad film,neg\n")
    column = {"text": "line"} if aim == "lm" else {"label": "mark"}
    with pytest.raises(DataError) as caught:
        load_corpus(path, aim, CorpusOptions(**column))
    assert caught.value.code == "E-COLUMN"
    assert "--no-header" in caught.value.hint
    with pytest.raises(DataError) as caught:
        load_corpus(path, aim, CorpusOptions(**column, no_header=True))
    assert "--no-header" not in caught.value.hint


def test_unclear_columns_may_be_a_row_of_data(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("good film,3,pos\nbad film,2,neg\n")
    for aim in ("classification", "seq2seq", "lm", None):
        with pytest.raises(DataError) as caught:
            load_corpus(path, aim)
        assert caught.value.code == "E-COLUMN"
        assert caught.value.hint.endswith(", or --no-header if the first row is data")


def test_the_aim_is_guessed(tmp_path):
    assert load_corpus(write(tmp_path, rows(40))).aim == "classification"
    text = tmp_path / "a.txt"
    text.write_text("some words and more\n" * 300)
    corpus = load_corpus(text)
    assert corpus.aim == "lm"
    assert "The aim lm was guessed" in corpus.data.notes[0]
    alone = write(tmp_path, [(f"a document {i} " * 9,) for i in range(90)], "b.jsonl", ("body",))
    assert load_corpus(alone).aim == "lm"
    odd = write(tmp_path, [(str(i), "x", "y") for i in range(9)], names=("a", "b", "c"))
    with pytest.raises(DataError, match="what is to be learned") as caught:
        load_corpus(odd)
    assert "--aim" in caught.value.hint
    assert "--no-header" not in caught.value.hint  # objects name their columns
    with pytest.raises(UsageError, match="Did you mean 'regression'"):
        load_corpus(odd, "regresion")


def test_rows_without_a_file(tmp_path):
    columns = (["good a", "bad b"] * 20, ["p", "n"] * 20)
    texts = [f"{text} {i}" for i, text in enumerate(columns[0])]
    found = Rows(
        path="given",
        names=("text", "label"),
        lines=range(1, 41),
        column=lambda i: (texts, columns[1])[i],
        notes=(),
        kind="table",
    )
    corpus = load_corpus(found)
    assert (corpus.data.train, corpus.data.name, corpus.data.sha256) == (32, "given", None)


CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.floats(),
    st.sampled_from(["", " ", "a", "b", "a b", "a|b", "1", "nan", "1e999"]),
    st.sampled_from(["\ud800", "\x00", "2024-01-01"]),
    st.text(max_size=5),
    st.binary(max_size=2),
    st.lists(st.one_of(st.sampled_from(["a", "b", ""]), st.integers(0, 2), st.none()), max_size=3),
)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=30),
    st.sampled_from([None, *AIMS]),
    st.fixed_dictionaries(
        {},
        optional={
            "bad_rows": st.just("skip"),
            "empty": st.sampled_from(["drop", "keep"]),
            "group": st.just("label"),
            "time": st.just("label"),
            "rare": st.just("drop"),
            "unseen": st.just("ignore"),
            "length": st.integers(1, 4),
            "strict": st.booleans(),
            "tokens": st.sampled_from(["byte", "char", "word"]),
        },
    ),
)
def test_any_cells_give_a_corpus_or_a_clear_error(cells, aim, options):
    options.pop("time", None) if "group" in options else None
    columns = tuple(zip(*cells, strict=True))
    found = Rows(
        path="given",
        names=("text", "label"),
        lines=range(1, len(cells) + 1),
        column=lambda i: columns[i],
        notes=(),
        kind="table",
        ledger=Ledger("given", skip=False),
    )
    try:
        corpus = load_corpus(found, aim, CorpusOptions(**options))
    except HowfarError:
        return
    assert loads(Data, dumps(corpus.data)) == corpus.data
    for name in ("train", "validation", "test"):
        part = corpus.part(name)
        assert len(part) > 0
        assert part.targets is None or len(part.targets) == len(part)
        assert all(0 <= i < corpus.vocabulary for ids in part.ids for i in ids)


@settings(deadline=None, max_examples=80)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=30))
def test_any_cells_can_be_described(cells):
    columns = tuple(zip(*cells, strict=True))
    found = Rows(
        path="given",
        names=("text", "label"),
        lines=range(1, len(cells) + 1),
        column=lambda i: columns[i],
        notes=(),
        kind="table",
    )
    try:
        seen = describe(found, CorpusOptions(text="text", label="label"))
    except DataError as error:
        said = str(error)
        assert "No row of given has a text" in said
        return
    assert loads(Described, dumps(seen)) == seen
    assert len(render_described(seen)) > 100


def test_a_folder_of_classes(tmp_path):
    for label in ("neg", "pos"):
        (tmp_path / "set" / label).mkdir(parents=True)
        for i in range(20):
            (tmp_path / "set" / label / f"{i}.txt").write_text(f"{label} text {i}")
    corpus = load_corpus(tmp_path / "set")
    assert (corpus.aim, corpus.names, corpus.data.rows) == ("classification", ("neg", "pos"), 40)


def test_what_is_left_out_is_said_once(tmp_path):
    path = tmp_path / "a.jsonl"
    good = "".join(json.dumps({"text": t, "label": k}) + "\n" for t, k in rows(40))
    path.write_text(good + "not json\n" + '{"text": "", "label": "n"}\n')
    corpus = loaded(path, bad_rows="skip", rejects=str(tmp_path / "r.jsonl"))
    (note,) = noted(corpus, "Left out")
    assert "2 rows (1 empty text, 1 not a JSON object)" in note
    assert corpus.data.dropped == 2
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 2


def test_one_class_in_train_alone(tmp_path):
    path = write(tmp_path, rows(20))
    only = write(tmp_path, [(f"x{i}", "n") for i in range(20)], "one.jsonl")
    with pytest.raises(DataError) as caught:
        loaded(only, test=path, validation=path)
    assert caught.value.code == "E-ONE-CLASS"


def test_labels_that_cannot_be_learned_however_they_are_split(tmp_path):
    names = ("text", "label", "when")
    data = [(f"t{i}", f"label {i}", str(i)) for i in range(30)]
    with pytest.raises(DataError) as caught:
        loaded(write(tmp_path, data, names=names), time="when", unseen="ignore")
    assert caught.value.code == "E-LABEL-CARD"


def test_unspaced_scripts(tmp_path):
    data = [("\u623f\u95f4\u5f88\u5927" * 3 + chr(0x4E00 + i), "np"[i % 2]) for i in range(30)]
    path = write(tmp_path, data)
    corpus = loaded(path)
    assert corpus.tokeniser.kind == "char"
    assert noted(corpus, "without spaces between words")
    asked = loaded(path, tokens="word")
    assert asked.tokeniser.kind == "word"
    assert noted(asked, "W-SCRIPT")


def test_rejects_of_each_file_have_a_list_of_their_own(tmp_path):
    path, test = (write(tmp_path, rows(40), name) for name in ("a.jsonl", "b.jsonl"))
    for name in (path, test):
        with Path(name).open("a") as file:
            file.write("[]\n")
    corpus = loaded(path, test=test, bad_rows="skip", rejects=str(tmp_path / "r.jsonl"))
    assert corpus.data.dropped == 2
    lists = [json.loads((tmp_path / n).read_text())["line"] for n in ("r.jsonl", "r.test.jsonl")]
    assert lists == [41, 41]


def test_imbalance(tmp_path):
    data = [(f"t{i}", "a" if i < 400 else "b" if i < 800 else "c") for i in range(804)]
    (note,) = noted(loaded(write(tmp_path, data)), "W-IMBALANCE")
    assert "'c' has 2 training rows, 'a' has 320" in note


def test_the_same_twice_and_another_seed(tmp_path):
    path = write(tmp_path, rows(60))
    first, again, other = (loaded(path, seed=seed) for seed in (2, 2, 3))
    assert dumps(first.data) == dumps(again.data)
    assert np.array_equal(first.train.ids.flat, again.train.ids.flat)
    assert first.train.texts == again.train.texts != other.train.texts


@pytest.mark.parametrize(
    "options",
    [{"length": 0}, {"keep": "middle"}, {"unseen": "drop"}, {"label_separator": ""}, {"rare": "x"}],
)
def test_bad_options(options):
    with pytest.raises(UsageError):
        CorpusOptions(**options)
