"""Data sets of the `datasets` library: objects, saved folders, names; never a surprise request."""

import socket
import sys

import pytest

from howfar.core.errors import DataError, EnvironmentFault, UsageError
from howfar.data import hub
from howfar.data.anything import iterate, open_rows

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """No bars, no network."""
    datasets.disable_progress_bars()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def refuse(*_):
    raise ConnectionError("a request was made")


def made(rows=3):
    names = datasets.ClassLabel(names=["neg", "pos"])
    return datasets.Dataset.from_dict(
        {
            "text": [f"text {i}" for i in range(rows)],
            "label": [(1, 0, -1)[i % 3] for i in range(rows)],
            "tags": [[0, 1], [1], []] * (rows // 3),
            "score": [0.5] * rows,
        },
        features=datasets.Features(
            {
                "text": datasets.Value("string"),
                "label": names,
                "tags": datasets.Sequence(datasets.ClassLabel(names=["O", "B"])),
                "score": datasets.Value("float32"),
            }
        ),
    )


def test_a_data_set_object():
    rows = open_rows(made())
    assert (rows.kind, rows.names) == ("table", ("text", "label", "tags", "score"))
    assert list(rows.column(0)) == ["text 0", "text 1", "text 2"]
    assert list(rows.column(1)) == ["pos", "neg", None]
    assert list(rows.column(2)) == [["O", "B"], ["B"], []]
    assert list(rows.column(3)) == [0.5, 0.5, 0.5]
    assert rows.lines == range(1, 4)
    assert rows.sha256 is None


def test_it_is_iterated_in_pieces(monkeypatch):
    monkeypatch.setattr(hub, "_ROWS_AT_ONCE", 4)
    each = list(iterate(made(9)))
    assert [number for number, _ in each] == list(range(1, 10))
    assert each[8][1]["text"] == "text 8"
    assert each[3][1] == {"text": "text 3", "label": "pos", "tags": ["O", "B"], "score": 0.5}


def test_splits(tmp_path):
    whole = datasets.DatasetDict(test=made(3), train=made(6))
    rows = open_rows(whole)
    assert len(rows) == 6
    assert rows.notes == ("The split 'train' was read; there are also 'test'.",)
    whole.save_to_disk(tmp_path / "saved")
    assert len(open_rows(f"hf:{tmp_path}/saved")) == 6
    test = open_rows(f"hf:{tmp_path}/saved#test")
    assert (len(test), test.notes) == (3, ())
    with pytest.raises(UsageError, match="Did you mean 'test'") as caught:
        open_rows(f"hf:{tmp_path}/saved#tset")
    assert caught.value.code == "E-OPTION"
    made().save_to_disk(tmp_path / "one")
    assert len(open_rows(f"hf:{tmp_path}/one")) == 3
    with pytest.raises(UsageError, match="has no splits"):
        open_rows(f"hf:{tmp_path}/one#train")
    with pytest.raises(DataError) as caught:
        open_rows(tmp_path / "saved")
    assert "hf:" in caught.value.hint


def test_a_damaged_saved_set(tmp_path):
    made().save_to_disk(tmp_path / "saved")
    for path in (tmp_path / "saved").iterdir():
        whole = path.read_bytes()
        path.write_bytes(b"{" + whole[len(whole) // 2 :])
        with pytest.raises((DataError, UsageError)):
            open_rows(f"hf:{tmp_path}/saved")
        path.write_bytes(whole)
    (tmp_path / "other").mkdir()
    with pytest.raises(DataError, match="no saved data set"):
        open_rows(f"hf:{tmp_path}/other")


def test_a_name_without_a_network():
    with pytest.raises(EnvironmentFault) as caught:
        open_rows("hf:someone/something")
    assert (caught.value.code, caught.value.exit_code) == ("E-OFFLINE", 4)
    assert "hf:FOLDER" in caught.value.hint
    for name in ("hf:", "hf:https://example.org/x", "hf:a\0b"):
        with pytest.raises(UsageError) as caught:
            open_rows(name)
        assert caught.value.code == "E-NO-FILE"


def test_a_name_that_is_not_there(monkeypatch):
    def missing(*_):
        raise datasets.exceptions.DatasetNotFoundError("it does not exist\nhere")

    monkeypatch.setattr(datasets, "load_dataset", missing)
    with pytest.raises(UsageError) as caught:
        open_rows("hf:someone/something")
    assert caught.value.code == "E-NO-FILE"
    assert "\n" not in str(caught.value)


def test_a_configuration_is_passed_on(monkeypatch):
    asked = []

    def load(*given):
        asked.append(given)
        return datasets.DatasetDict(train=made())

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert len(open_rows("hf:glue:sst2#train")) == 3
    open_rows("hf:someone/imdb")
    assert asked == [("glue", "sst2"), ("someone/imdb", None)]


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(EnvironmentFault) as caught:
        open_rows("hf:imdb")
    assert caught.value.code == "E-EXTRA"
    assert "howfar[hf]" in caught.value.hint


def test_what_cannot_be_counted_is_refused():
    # To make a real one would import torch.
    stream = type("IterableDataset", (), {"__module__": "datasets.iterable_dataset"})
    with pytest.raises(UsageError, match="only once"):
        open_rows(stream())
    with pytest.raises(DataError) as caught:
        open_rows(made().select([]))
    assert caught.value.code == "E-EMPTY"
    with pytest.raises(DataError) as caught:
        open_rows(datasets.Dataset.from_dict({"text": ["a"], "Text ": ["b"]}))
    assert caught.value.code == "E-DUP-COLUMN"
