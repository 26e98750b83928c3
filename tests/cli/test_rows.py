"""Rows from texts: what is guessed is said, and every hint works."""

import re

import pytest
import torch
from torch import nn

from howfar.adapt import Opened
from howfar.cli.rows import Wanted, rows_of
from howfar.core.errors import DataError, UsageError

MODEL = nn.Embedding(500, 4)


def asked(path, *, tokens="byte", length=None, name="m:x", before=()):
    wanted = Wanted(
        data=str(path), random=None, tokens=tokens, text=None, encoding=None,
        length=length, sequences=20, seed=0,
    )  # fmt: skip
    return rows_of(wanted, Opened(model=MODEL, name=name, before=before), None)


@pytest.mark.parametrize("size", [6, 7, 64, 199, 200, 257])
def test_the_length_suggested_fits(tmp_path, size):
    path = tmp_path / "text.txt"
    path.write_text("abcd" * (size // 4) + "abc"[: size % 4])
    with pytest.raises(DataError, match=f"has {size} bytes: too few for two rows") as raised:
        asked(path, length=128 if size > 7 else 9)
    length = int(re.fullmatch(r"--length (\d+)", raised.value.hint)[1])
    assert len(asked(path, length=length).tokens) == 2
    with pytest.raises(DataError):
        asked(path, length=length + 1)


def test_a_text_too_short_for_any_rows(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("abcde")
    with pytest.raises(DataError) as raised:
        asked(path, length=2)
    assert raised.value.hint == "a text of at least 6 bytes"


@pytest.mark.parametrize("kind", ["char", "word"])
def test_ids_made_here_are_said(tmp_path, kind):
    path = tmp_path / "text.txt"
    path.write_text("a cat saw a dog " * 20)
    notes = asked(path, tokens=kind, length=8).notes
    assert any("right only for a model trained on exactly these" in note for note in notes)
    assert any(re.search(r"They are \d+, and the model's embedding holds 500", n) for n in notes)
    assert not any("made from" in note for note in asked(path, length=8).notes)


def test_no_tokeniser(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("a cat " * 20)
    with pytest.raises(UsageError, match="The folder of 'hf:x' has no tokeniser") as raised:
        asked(path, tokens=None, name="hf:x")
    assert "--tokens byte, char, word, or a tokenizer.json" in raised.value.hint
    assert torch.is_tensor(asked(path, length=8).tokens)
