"""From ids, one by one, to text that may be shown: whole characters, and nothing of a stop string.

Idea     bytes and byte-level pieces pass an incremental UTF-8 decoder, which holds back half a
         character; then all that may still become a stop string is held back
Stop     the text ends before the stop string that is complete first, read character by character;
         of several that end on the same character, before the longest
"""

import codecs
from collections.abc import Callable, Sequence

from howfar.core.errors import UsageError, shown
from howfar.data.tokenise import UNKNOWN, Tokeniser
from howfar.data.unigram import ALPHABET


class Decoding:
    """Text of ids as they come; `add` returns the characters that the id completes.

    What is no UTF-8 becomes U+FFFD, as in `Tokeniser.decode`; half a character at the end is lost.
    """

    def __init__(self, tokeniser: Tokeniser) -> None:
        self.tokeniser = tokeniser
        self._bytes = codecs.getincrementaldecoder("utf-8")("replace")
        self._bytes_of = bytes_of(tokeniser)
        self._last: list[int] = []

    def add(self, index: int) -> str:
        """The characters that are whole now."""
        if self._bytes_of is not None:
            return self._bytes.decode(self._bytes_of(index))
        if self.tokeniser.kind == "char":
            return self.tokeniser.token(index)
        # What stands between two tokens, such as a space, is seen by decoding both.
        before = self.tokeniser.decode(self._last)
        both = self.tokeniser.decode([*self._last, index])
        self._last = [index]
        return both[len(before) :]


class Writer:
    """Collects text, passes on what is certain, and says when a stop string is complete.

    Args:
        stop: strings before which the text ends.
        stream: is given the text piece by piece; what it was given is never taken back.

    Raises:
        UsageError: E-OPTION for an empty stop string.
    """

    def __init__(
        self, stop: Sequence[str] = (), stream: Callable[[str], None] | None = None
    ) -> None:
        if isinstance(stop, str) or not all(stop):
            message = f"stop={shown(stop)} is no list of strings with something in them."
            raise UsageError("E-OPTION", message, 'stop=["\\n\\n"]')
        self.stop = tuple(stop)
        self.stream = stream
        self._sent: list[str] = []
        self._held = ""

    @property
    def text(self) -> str:
        """All that was passed on."""
        return "".join(self._sent)

    def add(self, text: str) -> bool:
        """More text; True: a stop string is complete, and all before it was passed on."""
        pending = self._held + text
        ends = [(at + len(s), at) for s in self.stop if (at := pending.find(s)) >= 0]
        if ends:
            self._held = ""
            self._send(pending[: min(ends)[1]])
            return True
        keep = self._possible(pending)
        self._held = pending[len(pending) - keep :]
        self._send(pending[: len(pending) - keep])
        return False

    def finish(self) -> None:
        """No more text comes: pass on what was held back."""
        self._send(self._held)
        self._held = ""

    def _possible(self, pending: str) -> int:
        """Characters at the end with which a stop string may begin."""
        longest = max(map(len, self.stop), default=1) - 1
        for size in range(min(longest, len(pending)), 0, -1):
            if any(s.startswith(pending[-size:]) for s in self.stop):
                return size
        return 0

    def _send(self, text: str) -> None:
        if not text:
            return
        self._sent.append(text)
        if self.stream is not None:
            self.stream(text)


def bytes_of(tokeniser: Tokeniser) -> Callable[[int], bytes] | None:
    """The bytes that an id stands for; None for a tokeniser whose ids are characters or words.

    Padding and unknown stand for none.
    """
    if tokeniser.kind == "byte":
        return lambda index: bytes([index - 1]) if 0 < index <= 256 else b""
    if tokeniser.kind not in ("bpe", "unigram"):
        return None
    byte = {character: value for value, character in enumerate(ALPHABET)}

    def found(index: int) -> bytes:
        piece = tokeniser.library.id_to_token(index) if index > UNKNOWN else None
        return bytes(byte[character] for character in piece or "")

    return found
