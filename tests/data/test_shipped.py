"""The shipped data: small, loadable by name, unchanged from the originals."""

import gzip
import hashlib
from pathlib import Path

import pytest

from howfar.core.errors import UsageError
from howfar.data.labelled import load_labelled
from howfar.data.read import read_table, read_text
from howfar.data.running import load_running
from howfar.data.shipped import SHIPPED, licence_of, resolve

ORIGINALS = Path(__file__).parents[3] / "shared" / "data"


def test_each_has_a_licence_and_all_are_small():
    for name, entry in SHIPPED.items():
        assert entry.name == name
        text = entry.path.with_name(f"{name}.LICENSE.txt").read_text()
        assert entry.path.name in text
        assert licence_of(resolve(name)) == entry.licence
    assert sum(entry.path.stat().st_size for entry in SHIPPED.values()) < 2_600_000


def test_reviews():
    table = read_table(resolve("movie_reviews"))
    assert table.num_rows == 1000
    assert table.labels == ("neg",) * 500 + ("pos",) * 500
    assert table.texts[0].startswith("plot : two teen couples go to a church party")
    data = load_labelled("movie_reviews").data
    assert data.name == "movie_reviews"
    assert (data.train, data.validation, data.test) == (800, 100, 100)
    assert "CC BY 4.0" in data.licence


def test_plays():
    text, _, _ = read_text(resolve("tinyshakespeare"))
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert digest == "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
    made = load_running("tinyshakespeare")
    assert made.data.vocabulary == 67
    assert made.data.train + made.data.validation + made.data.test == len(text)


def test_plays_are_the_original():
    original = ORIGINALS / "tinyshakespeare" / "input.txt"
    if not original.exists():
        pytest.skip("needs ../shared/data/tinyshakespeare")
    assert gzip.decompress(resolve("tinyshakespeare").read_bytes()) == original.read_bytes()


def test_names_and_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve("movie_reviews") == SHIPPED["movie_reviews"].path
    assert resolve("other.csv") == Path("other.csv")
    with pytest.raises(UsageError, match="Did you mean 'movie_reviews'"):
        resolve("movie_review")
    (tmp_path / "movie_reviews").write_text("mine")
    assert resolve("movie_reviews") == Path("movie_reviews")
    assert licence_of(Path("movie_reviews")) is None
    assert resolve("a\0b") == Path("a\0b")
