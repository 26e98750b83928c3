"""Scripts that put no spaces between words, and the kind of tokens that suits a text.

Idea     a text is unspaced where most letters are of such a script and its runs of letters are long
Source   segmented Chinese has about two characters a word
"""

import re
from collections.abc import Sequence

from howfar.data.units import Kind

# Thai, Lao, Burmese, Khmer, Japanese and Chinese letters.
_LETTERS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff"
)
_UNSPACED = re.compile(f"[{_LETTERS}]")
_RUNS = re.compile(rf"[\w{_LETTERS}]+")  # Thai and Khmer vowel signs are not of \w
_SEEN = 2000  # characters of each text that are looked at


def unspaced(text: str) -> bool:
    """Whether the text's words are not separated."""
    if text.isascii():
        return False
    runs = _RUNS.findall(text[:_SEEN])
    letters = sum(map(len, runs))
    script = len(_UNSPACED.findall("".join(runs)))
    return 2 * script > letters and (len(runs) == 1 or letters > 3.5 * len(runs))


def default_kind(texts: Sequence[str]) -> tuple[Kind, str | None]:
    """Characters where most texts are unspaced, with a note that says so; else words."""
    rows = sum(map(unspaced, texts))
    if 2 * rows <= len(texts):
        return "word", None
    return "char", (
        f"{rows:,} of {len(texts):,} texts are in a script without spaces between words: they "
        "are read by character."
    )
