"""A folder of texts: classes or documents, in order, and nothing from outside it."""

import gzip
import os
from collections import Counter

import pytest

from howfar.core.errors import DataError, EnvironmentFault, UsageError
from howfar.data import folders
from howfar.data.anything import iterate, open_rows
from howfar.data.read import read_table

FILES = {
    "pos/2.txt": "good",
    "pos/1.txt": "fine\r\nfilm",
    "neg/10.md": "poor",
    "neg/9": "bad",
    "neg/3.gif": "GIF89a",
    "neg/.hidden.txt": "no",
    "README.txt": "about",
    ".git/config": "no",
}


def fill(folder, files=FILES):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def test_sub_folders_are_classes(tmp_path):
    rows = open_rows(fill(tmp_path))
    assert (rows.kind, rows.names, rows.lines) == ("folder", ("text", "label"), range(1, 5))
    assert list(rows.column(0)) == ["poor", "bad", "fine\nfilm", "good"]
    assert list(rows.column(1)) == ["neg", "neg", "pos", "pos"]
    assert rows.notes == (
        "1 file beside the class folders were passed over.",
        "1 file read so: Line ends CR LF and CR were read as LF.",
        "1 file that are no texts were passed over.",
        "2 files with hidden names were passed over.",
    )
    assert next(iterate(tmp_path)) == (1, {"text": "poor", "label": "neg"})


def test_files_are_documents(tmp_path):
    rows = open_rows(
        fill(tmp_path, {"b.txt": "two", "a.md": "one", "c.txt.gz": gzip.compress(b"3")})
    )
    assert rows.names == ("text",)
    assert list(rows.column(0)) == ["one", "two", "3"]
    assert [row for _, row in iterate(tmp_path)] == [{"text": text} for text in ("one", "two", "3")]


def test_the_hash_is_of_names_and_contents(tmp_path):
    first = open_rows(fill(tmp_path / "a")).sha256
    assert open_rows(fill(tmp_path / "b")).sha256 == first
    (tmp_path / "b/pos/1.txt").write_text("other")
    assert open_rows(tmp_path / "b").sha256 != first
    (tmp_path / "a/pos/1.txt").rename(tmp_path / "a/pos/0.txt")
    assert open_rows(tmp_path / "a").sha256 != first


def test_the_order_is_that_of_names_not_of_the_disk(tmp_path, monkeypatch):
    found = [path for path, _ in folders.look(str(fill(tmp_path))).files]
    listed = type(tmp_path).iterdir

    def backwards(paths):
        return sorted(paths, reverse=True)

    monkeypatch.setattr(type(tmp_path), "iterdir", lambda path: iter(backwards(listed(path))))
    assert [path for path, _ in folders.look(str(tmp_path)).files] == found


def test_links_stay_inside(tmp_path):
    folder = fill(tmp_path / "in", {"pos/1.txt": "good", "neg/1.txt": "bad"})
    (folder / "pos/2.txt").symlink_to("1.txt")
    assert Counter(open_rows(folder).column(1)) == {"pos": 2, "neg": 1}
    (tmp_path / "secret.txt").write_text("secret")
    targets = {
        "pos/3.txt": tmp_path / "secret.txt",
        "pos/4.txt": "4.txt",
        "pos/5.txt": "nowhere.txt",
        "loop": ".",
        "other": tmp_path,
        "pos/6.txt": "/dev/zero",
        "pos/up.txt": "../../secret.txt",
    }
    for name, target in targets.items():
        (folder / name).symlink_to(target)
        with pytest.raises(DataError) as caught:
            open_rows(folder)
        assert caught.value.code == "E-LINK", name
        assert name.split("/")[-1] in caught.value.message
        (folder / name).unlink()


def test_what_is_no_file_is_passed_over(tmp_path):
    fill(tmp_path, {"a.txt": "one"})
    os.mkfifo(tmp_path / "b.txt")
    rows = open_rows(tmp_path)
    assert list(rows.column(0)) == ["one"]
    assert rows.notes == ("1 file that are no texts were passed over.",)


BAD = {
    "nothing": ({}, "E-EMPTY", "no .txt"),
    "a table": ({"train.csv": "text,label\na,b\n"}, "E-EMPTY", "no .txt"),
    "classes a level below": (
        {"train/pos/1.txt": "a", "test/pos/1.txt": "b"},
        "E-FOLDER",
        "hold folders",
    ),
    "a saved set": ({"dataset_info.json": "{}", "a.txt": "b"}, "E-FOLDER", "saved by"),
    "not UTF-8": ({"a.txt": b"a\n\xff"}, "E-ENCODING", "a.txt:2"),
    "NUL": ({"a.txt": b"a\0"}, "E-NUL", "a.txt:1"),
    "a zip": ({"a.txt": b"PK\x03\x04"}, "E-FORMAT", "zip"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_folders(tmp_path, case):
    files, code, part = BAD[case]
    with pytest.raises(DataError) as caught:
        open_rows(fill(tmp_path, files))
    assert (caught.value.code, caught.value.exit_code) == (code, 3)
    assert part in caught.value.message


def test_hints_of_bad_folders(tmp_path):
    with pytest.raises(DataError) as caught:
        open_rows(fill(tmp_path / "a", {"train.csv": "text,label\na,b\n"}))
    assert "'train.csv'" in caught.value.hint
    with pytest.raises(DataError) as caught:
        open_rows(fill(tmp_path / "b", {"train/pos/1.txt": "a"}))
    assert caught.value.hint.endswith("b/train")


def test_bad_files_may_be_skipped(tmp_path):
    fill(tmp_path, {"a.txt": "one", "b.txt": "x\0y", "c.txt": b"caf\xe9 d\xe9j\xe0 vu"})
    rows = open_rows(tmp_path, bad_rows="skip", rejects=tmp_path / "rejects.jsonl")
    assert list(rows.column(0)) == ["one", "caf\xe9 d\xe9j\xe0 vu"]
    assert rows.dropped == {"unreadable file (E-NUL)": 1}
    assert "b.txt" in (tmp_path / "rejects.jsonl").read_text()
    assert any("read as cp1252" in note for note in rows.notes)


def test_an_empty_file_is_an_empty_text(tmp_path):
    assert list(open_rows(fill(tmp_path, {"a.txt": "", "b.txt": "x"})).column(0)) == ["", "x"]


def test_a_folder_is_no_table(tmp_path):
    with pytest.raises(UsageError, match="it is a folder"):
        read_table(tmp_path)


def test_a_closed_folder(tmp_path, monkeypatch):
    fill(tmp_path)

    def refuse(_):
        raise PermissionError(13, "Permission denied")

    # chmod does not stop root, so the call itself refuses here.
    monkeypatch.setattr(type(tmp_path), "iterdir", refuse)
    with pytest.raises(EnvironmentFault) as caught:
        open_rows(tmp_path)
    assert caught.value.code == "E-PERMISSION"
