"""Words of ASCII texts: the ids are those of the library, for every pattern."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from howfar.data.aims.tokens import case_kept
from howfar.data.ascii_words import AsciiWords
from howfar.data.tokenise import Tokeniser, train_tokeniser

TEXTS = [
    "The film, the FILM_2!",
    "a b\x1cc\x1dd\x1e e\x1f\x85f",
    "don't x-ray 1.5 [ unknown ]",
    "\x0b\x0c\0\x7f",
]
ALL = "".join(map(chr, range(128)))
MADE = {
    "lower": train_tokeniser("word", [*TEXTS, ALL], min_count=1),
    "cased": case_kept([*TEXTS, ALL], 1000, "cased"),
    "given": case_kept([*TEXTS, ALL], 1000, "given"),
    "few": train_tokeniser("word", TEXTS * 2, max_vocabulary=6),
}


def library(tokeniser, text):
    return tokeniser.library.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("name", MADE)
def test_every_pair_of_characters(name):
    made = MADE[name]
    words = AsciiWords(made.library)
    for first in ALL:
        text = "".join(f"{first}{second}a{first}" for second in ALL)
        assert words.encode(text).tolist() == library(made, text)


@given(
    st.sampled_from(sorted(MADE)), st.lists(st.one_of(st.sampled_from(TEXTS), st.text(max_size=20)))
)
def test_any_texts_in_their_order(name, texts):
    made = MADE[name]
    texts = [text for text in texts if text.isprintable() or text.isascii()]
    found = made.encode(texts)
    assert [ids.tolist() for ids in found] == [library(made, text) for text in texts]
    assert all(ids.dtype == np.int32 for ids in found)


def test_words_by_hand_and_read_again():
    made = train_tokeniser("word", ["the cat", "The dog the"], min_count=1)
    again = Tokeniser.from_json(made.to_json())
    for one in (made, again):
        ids = one.encode(["THE dog?", "\u00e9 the", ""])
        assert [row.tolist() for row in ids] == [[2, one.encode(["dog"])[0][0], 1], [1, 2], []]
