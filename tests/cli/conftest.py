"""A fresh folder, the real entry point, and a small table of reviews."""

import json
import random
from dataclasses import dataclass

import pytest

from howfar.cli import main

QUICK = (
    *("--budget", "20 steps", "--seeds", "1", "--rates", "1e-2", "--families", "textcnn,gru"),
    *("--parameters", "2000", "--sequences", "32", "--batch", "8"),
    *("--cost-lengths", "none", "--workers", "1"),
)
GOOD, BAD = ("good", "great", "lovely", "fine"), ("bad", "awful", "boring", "poor")
PLAIN = (
    "the",
    "film",
    "was",
    "a",
    "story",
    "of",
    "people",
    "and",
    "it",
    "had",
    "scenes",
    "in",
    "town",
)


@dataclass(frozen=True)
class Ended:
    """How a call of the command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self):
        """The one JSON document on stdout."""
        return json.loads(self.out)


@pytest.fixture
def howfar(tmp_path, monkeypatch, capsys):
    """Call the command in a fresh folder: `howfar("compare", ...)` -> Ended."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def call(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Ended(ended.value.code, said.out, said.err)

    return call


def reviews(count=80, seed=1):
    """Rows (text, label): one word in the text decides."""
    rng = random.Random(seed)
    rows = []
    for i in range(count):
        words = [rng.choice(PLAIN) for _ in range(rng.randint(6, 20))]
        words.insert(rng.randrange(len(words)), rng.choice(GOOD if i % 2 else BAD))
        rows.append((" ".join(words), "positive" if i % 2 else "negative"))
    return rows


def write_csv(path, rows, *, separator=",", names=("text", "label")):
    """A table, every cell quoted."""
    lines = [names, *rows]
    cells = [separator.join('"' + cell.replace('"', '""') + '"' for cell in row) for row in lines]
    path.write_text("\n".join(cells) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def table(tmp_path):
    """The path of a small CSV of reviews."""
    return write_csv(tmp_path / "reviews.csv", reviews())
