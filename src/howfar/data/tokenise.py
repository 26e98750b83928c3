r"""Text to integer ids and back, in units a reader can count: bytes, characters, words or pieces.

Idea     every tokeniser is a `tokenizers` object that is saved as it is; bytes, characters and
         words of ASCII are looked up instead, which gives the same ids and is far quicker
Trip     bytes, characters that are in the vocabulary, and pieces come back exactly; words come back
         lower-cased with single spaces, and as the same ids
Source   https://huggingface.co/docs/tokenizers
"""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from howfar.core.errors import DataError, StoreError, UsageError, closest, shown
from howfar.data.ascii_words import AsciiWords
from howfar.data.faults import place
from howfar.data.scripts import default_kind, unspaced
from howfar.data.units import PADDING, UNITS, UNKNOWN, Kind, pieces
from howfar.data.vocabularies import LEAST, kind_of, learn

__all__ = [
    "MAX_VOCABULARY",
    "PADDING",
    "UNITS",
    "UNKNOWN",
    "Ids",
    "Kind",
    "Tokeniser",
    "check_kind",
    "default_kind",
    "script_note",
    "train_tokeniser",
]

Ids: TypeAlias = npt.NDArray[np.int32]
Spans: TypeAlias = npt.NDArray[np.int64]

MAX_VOCABULARY = 20_000

_CODE_POINTS = 0x110000
_AT_ONCE = 256  # pieces: the library keeps far more than the ids of each


class Tokeniser:
    """Turns texts into int32 ids. Made by `train_tokeniser` or `Tokeniser.load`.

    Attributes:
        kind: "byte", "char", "word", "bpe" or "unigram".
        vocabulary: number of ids, padding and unknown included.
        unit: what one token is, in words.
        unknown: the id of tokens outside the vocabulary, or None where there are none.
    """

    def __init__(self, kind: Kind, library: Tokenizer) -> None:
        self.kind = kind
        self.library = library
        self.vocabulary: int = library.get_vocab_size(with_added_tokens=False)
        self.unit = UNITS[kind]
        self.unknown = UNKNOWN if kind in ("char", "word") else None
        self._ascii: AsciiWords | None = None  # made when it is needed
        if kind == "char":
            self._ids, self._points = _tables(library)

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        """Ids of each text, (tokens,) int32. Long texts are cut where that changes nothing.

        Raises:
            DataError: E-ENCODING for a lone surrogate.
        """
        try:
            if self.kind == "byte":
                return [np.frombuffer(t.encode(), np.uint8).astype(np.int32) + 1 for t in texts]
            if self.kind == "char":
                return [self._ids[np.frombuffer(t.encode("utf-32-le"), np.uint32)] for t in texts]
            for text in texts:
                text.encode()  # refuses lone surrogates
            return self._encode_words(texts) if self.kind == "word" else self._encode_pieces(texts)
        except UnicodeEncodeError as fault:
            raise _surrogate(fault) from fault

    def offsets(self, text: str) -> Spans:
        """(tokens, 2) int64: token i of `encode([text])` stands at text[start:end].

        Several tokens may share a character: its bytes, or pieces of them.

        Raises:
            DataError: E-ENCODING for a lone surrogate.
        """
        try:
            data = text.encode("utf-32-le")
        except UnicodeEncodeError as fault:
            raise _surrogate(fault) from fault
        if self.kind in ("byte", "char"):
            places = np.arange(len(text), dtype=np.int64)
            if self.kind == "byte":
                codes = np.frombuffer(data, np.uint32)
                # UTF-8 grows by a byte at each of these code points.
                places = np.repeat(
                    places, 1 + np.searchsorted([0x80, 0x800, 0x10000], codes, "right")
                )
            return np.stack([places, places + 1], axis=1)
        spans, before = [np.empty((0, 2), dtype=np.int64)], 0
        for piece in pieces(text, self.kind):
            found = self.library.encode(piece, add_special_tokens=False).offsets
            spans.append(np.asarray(found, dtype=np.int64).reshape(-1, 2) + before)
            before += len(piece)
        return np.concatenate(spans)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids. Padding is left out; an unknown token is U+FFFD; words get single spaces.

        Raises:
            ValueError: for an id outside the vocabulary.
        """
        array = np.asarray(list(ids), dtype=np.int64)
        if array.size and (array.min() < 0 or array.max() >= self.vocabulary):
            raise ValueError(f"An id is outside 0 to {self.vocabulary - 1}.")
        array = array[array != PADDING]
        if self.kind == "byte":
            return str((array - 1).astype(np.uint8).tobytes(), "utf-8", "replace")
        if self.kind == "char":
            return str(self._points[array].tobytes(), "utf-32-le")
        if self.kind == "word":
            return " ".join(self.token(int(i)) for i in array)
        known = array[array != UNKNOWN].tolist()
        return str(self.library.decode(known, skip_special_tokens=False))

    def token(self, index: int) -> str:
        """How one id is written, for tables and figures."""
        if index == PADDING:
            return ""
        if self.kind == "word":
            return "\ufffd" if index == UNKNOWN else str(self.library.id_to_token(index))
        return self.decode([index])

    def count_unknown(self, ids: npt.NDArray[np.integer]) -> int:
        """How many of the ids are tokens outside the vocabulary."""
        return 0 if self.unknown is None else int((ids == self.unknown).sum())

    def to_json(self) -> bytes:
        """A `tokenizer.json` that the `tokenizers` library reads too."""
        return str(self.library.to_str()).encode()

    @classmethod
    def from_json(cls, data: bytes, *, name: str = "tokenizer.json") -> "Tokeniser":
        """What `to_json` gave; `name` is said in the error.

        Raises:
            StoreError: E-TOKENISER for broken or foreign content.
        """
        try:
            # Written again by the library, so that a file of another version compares.
            library = Tokenizer.from_str(str(data, "utf-8"))
            return cls(kind_of(json.loads(library.to_str())), library)
        except BaseException as broken:  # the library's panics are not of Exception
            if not isinstance(broken, Exception) and type(broken).__name__ != "PanicException":
                raise
            why = shown(broken, 160)
            raise StoreError(
                "E-TOKENISER",
                f"Cannot read the tokeniser {place(name)}: {why}.",
                "save the model again, or take another copy of it",
            ) from broken

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what `to_json` gives."""
        Path(path).write_bytes(self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Tokeniser":
        """Read what `save` wrote.

        Raises:
            StoreError: E-TOKENISER for a missing, broken or foreign file.
        """
        try:
            data = Path(path).read_bytes()
        except OSError as fault:
            raise StoreError(
                "E-TOKENISER", f"Cannot read the tokeniser {place(os.fspath(path))}: {fault}."
            ) from fault
        return cls.from_json(data, name=os.fspath(path))

    def _encode_words(self, texts: Sequence[str]) -> list[Ids]:
        if self._ascii is None:
            self._ascii = AsciiWords(self.library)
        others = iter(self._encode_pieces([text for text in texts if not text.isascii()]))
        return [self._ascii.encode(t) if t.isascii() else next(others) for t in texts]

    def _encode_pieces(self, texts: Sequence[str]) -> list[Ids]:
        cut = [list(pieces(text, self.kind)) for text in texts]
        flat = [piece for text in cut for piece in text]
        arrays = (
            np.asarray(encoded.ids, dtype=np.int32)
            for start in range(0, len(flat), _AT_ONCE)
            for encoded in self.library.encode_batch_fast(
                flat[start : start + _AT_ONCE], add_special_tokens=False
            )
        )
        empty = np.empty(0, dtype=np.int32)
        return [np.concatenate([empty, *(next(arrays) for _ in text)]) for text in cut]


def train_tokeniser(
    kind: Kind,
    texts: Iterable[str],
    *,
    max_vocabulary: int = MAX_VOCABULARY,
    min_count: int | None = None,
) -> Tokeniser:
    """Build a tokeniser from the training part.

    Args:
        kind: "byte", "char", "word", "bpe" or "unigram".
        texts: the training texts, and no others; read once.
        max_vocabulary: the most ids, padding and unknown included; bytes need 257.
        min_count: how often a token must occur to be known (for "unigram", a word to be learned
            from); by default 2 for words and pieces, 1 for characters.

    Raises:
        UsageError: E-OPTION for an unknown kind or a vocabulary too small for it.
    """
    check_kind(kind, max_vocabulary)
    return Tokeniser(kind, learn(kind, texts, max_vocabulary, min_count))


def check_kind(kind: Kind, max_vocabulary: int) -> None:
    """Refuse an unknown kind, or a vocabulary too small for it.

    Raises:
        UsageError: E-OPTION.
    """
    if kind not in get_args(Kind):
        known = get_args(Kind)
        near = closest(str(kind), known)
        message = f"No tokens are called {shown(kind)}. {near}Known: {', '.join(known)}."
        raise UsageError("E-OPTION", message, "--tokens char")
    if max_vocabulary < LEAST[kind]:
        raise UsageError("E-OPTION", f"--max-vocabulary must be at least {LEAST[kind]} for {kind}.")


def script_note(tokeniser: Tokeniser, texts: Sequence[str]) -> str | None:
    """W-SCRIPT where words were asked for and most rows are in a script without spaces."""
    if tokeniser.kind != "word":
        return None
    rows = sum(map(unspaced, texts))
    if 2 * rows <= len(texts):
        return None
    return (
        f"W-SCRIPT: {rows:,} of {len(texts):,} texts are in a script without spaces between words; "
        "--tokens char reads them by character."
    )


def _surrogate(fault: UnicodeEncodeError) -> DataError:
    return DataError("E-ENCODING", f"Cannot tokenise half of a surrogate pair ({fault.reason}).")


def _tables(library: Tokenizer) -> tuple[Ids, npt.NDArray[np.uint32]]:
    """Code point -> id, and id -> code point."""
    ids = np.full(_CODE_POINTS, UNKNOWN, dtype=np.int32)
    points = np.full(library.get_vocab_size(), ord("\ufffd"), dtype=np.uint32)
    for token, index in library.get_vocab().items():
        if index > UNKNOWN:
            ids[ord(token)], points[index] = index, ord(token)
    return ids, points
