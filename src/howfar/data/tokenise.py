r"""Text to integer ids and back, in units a reader can count: bytes, characters, words or pieces.

Idea     every tokeniser is a `tokenizers` object that is saved as it is; bytes and characters are
         encoded by table look-up instead, which gives the same ids and is far quicker
Ids      0 padding, 1 unknown, then the vocabulary; for bytes 0 padding, then byte value + 1
Units    byte  UTF-8 byte            char  Unicode code point
         word  lower-cased \w+, or one other character that is not white space
         bpe   byte-level byte-pair encoding, no unknown pieces
Source   https://huggingface.co/docs/tokenizers; Sennrich et al. 2016, arXiv 1508.07909
"""

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

from howfar.core.errors import DataError, StoreError, UsageError, closest, shown
from howfar.data.faults import place

Kind: TypeAlias = Literal["byte", "char", "word", "bpe"]
Ids: TypeAlias = npt.NDArray[np.int32]

PADDING, UNKNOWN = 0, 1
UNITS = {"byte": "byte", "char": "character", "word": "word", "bpe": "piece"}
MAX_VOCABULARY = 20_000

# With a space inside, no text can produce these names in any of the four units.
_SPECIAL = ["[ padding ]", "[ unknown ]"]
_WORDS, _CHARACTERS = r"\w+|[^\w\s]", r"[\s\S]"
_CODE_POINTS = 0x110000
_CHUNK = 1 << 16
# A line break between two visible characters stands alone in the byte-level pattern.
_CUT = {"word": re.compile(r"(?<=\S)\s(?=\S)"), "bpe": re.compile(r"(?<=\S)\n(?=\S)")}
# Thai, Lao, Burmese, Khmer, Japanese and Chinese letters.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff]"
)
_AT_ONCE = 256  # pieces: the library keeps far more than the ids of each


class Tokeniser:
    """Turns texts into int32 ids. Made by `train_tokeniser` or `Tokeniser.load`.

    Attributes:
        kind: "byte", "char", "word" or "bpe".
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
            return self._encode_pieces(texts)
        except UnicodeEncodeError as fault:
            raise DataError(
                "E-ENCODING", f"Cannot tokenise half of a surrogate pair ({fault.reason})."
            ) from fault

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
        if self.kind == "bpe":
            known = array[array != UNKNOWN].tolist()
            return str(self.library.decode(known, skip_special_tokens=False))
        return " ".join(self.token(int(i)) for i in array)

    def token(self, index: int) -> str:
        """How one id is written, for tables and figures."""
        if index == PADDING:
            return ""
        if self.kind == "word":
            return "\ufffd" if index == UNKNOWN else str(self.library.id_to_token(index))
        return self.decode([index])

    def count_unknown(self, ids: Ids) -> int:
        """How many of the ids are tokens outside the vocabulary."""
        return 0 if self.unknown is None else int((ids == self.unknown).sum())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a `tokenizer.json` that the `tokenizers` library reads too."""
        Path(path).write_text(self.library.to_str(), encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Tokeniser":
        """Read what `save` wrote.

        Raises:
            StoreError: E-TOKENISER for a missing, broken or foreign file.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
            return cls(_kind_of(json.loads(text)), Tokenizer.from_str(text))
        except Exception as broken:  # the library raises plain Exception
            raise StoreError(
                "E-TOKENISER", f"Cannot read the tokeniser {place(os.fspath(path))}: {broken}."
            ) from broken

    def _encode_pieces(self, texts: Sequence[str]) -> list[Ids]:
        pieces = [list(_pieces(text, _CUT[self.kind])) for text in texts]
        flat = [piece for text in pieces for piece in text]
        arrays = (
            np.asarray(encoded.ids, dtype=np.int32)
            for start in range(0, len(flat), _AT_ONCE)
            for encoded in self.library.encode_batch_fast(
                flat[start : start + _AT_ONCE], add_special_tokens=False
            )
        )
        empty = np.empty(0, dtype=np.int32)
        return [np.concatenate([empty, *(next(arrays) for _ in text)]) for text in pieces]


def train_tokeniser(
    kind: Kind,
    texts: Iterable[str],
    *,
    max_vocabulary: int = MAX_VOCABULARY,
    min_count: int | None = None,
) -> Tokeniser:
    """Build a tokeniser from the training part.

    Args:
        kind: "byte", "char", "word" or "bpe".
        texts: the training texts, and no others.
        max_vocabulary: the most ids, padding and unknown included; bytes need 257.
        min_count: how often a token must occur to be known; by default 2 for words and pieces,
            1 for characters.

    Raises:
        UsageError: E-OPTION for an unknown kind or a vocabulary too small for it.
    """
    if kind not in get_args(Kind):
        known = get_args(Kind)
        near = closest(str(kind), known)
        message = f"No tokens are called {shown(kind)}. {near}Known: {', '.join(known)}."
        raise UsageError("E-OPTION", message, "--tokens char")
    least = {"byte": 257, "char": 3, "word": 3, "bpe": 258}[kind]
    if max_vocabulary < least:
        raise UsageError("E-OPTION", f"--max-vocabulary must be at least {least} for {kind}.")
    if kind == "byte":
        return Tokeniser(kind, _byte_library())
    if kind == "char":
        return Tokeniser(kind, _char_library(texts, max_vocabulary, min_count or 1))
    library, trainer = _trainable(kind, max_vocabulary, min_count or 2)
    library.train_from_iterator(_all_pieces(texts, _CUT[kind]), trainer)
    # A special token would be cut out of user text that spells it: keep the ids, not the rule.
    spec = json.loads(library.to_str())
    spec["added_tokens"] = []
    return Tokeniser(kind, Tokenizer.from_str(json.dumps(spec)))


def script_note(tokeniser: Tokeniser, texts: Sequence[str]) -> str | None:
    """W-SCRIPT where words were asked for and most rows are in a script without spaces."""
    if tokeniser.kind != "word":
        return None
    rows = sum(map(_unspaced, texts))
    if 2 * rows <= len(texts):
        return None
    return (
        f"W-SCRIPT: {rows:,} of {len(texts):,} texts are in a script without spaces between words; "
        "--tokens char reads them by character."
    )


def _unspaced(text: str) -> bool:
    if text.isascii():
        return False
    runs = re.findall(r"\w+", text[:2000])
    letters = sum(map(len, runs))
    script = len(_UNSPACED.findall("".join(runs)))
    # Segmented text has about two characters a word.
    return 2 * script > letters and (len(runs) == 1 or letters > 3.5 * len(runs))


def _pieces(text: str, cut: re.Pattern[str]) -> Iterator[str]:
    start = 0
    while len(text) - start > _CHUNK:
        found = cut.search(text, start + _CHUNK)
        if found is None:
            break
        yield text[start : found.end()]
        start = found.end()
    yield text[start:]


def _all_pieces(texts: Iterable[str], cut: re.Pattern[str]) -> Iterator[str]:
    for text in texts:
        yield from _pieces(text, cut)


def _tables(library: Tokenizer) -> tuple[Ids, npt.NDArray[np.uint32]]:
    """Code point -> id, and id -> code point."""
    ids = np.full(_CODE_POINTS, UNKNOWN, dtype=np.int32)
    points = np.full(library.get_vocab_size(), ord("\ufffd"), dtype=np.uint32)
    for token, index in library.get_vocab().items():
        if index > UNKNOWN:
            ids[ord(token)], points[index] = index, ord(token)
    return ids, points


def _byte_library() -> Tokenizer:
    # The byte-level alphabet: visible bytes stand for themselves, the rest for U+0100 onwards.
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    written = {byte: chr(byte) for byte in visible}
    written |= {byte: chr(0x100 + i) for i, byte in enumerate(hidden)}
    vocabulary = {_SPECIAL[0]: 0} | {written[byte]: byte + 1 for byte in range(256)}
    library = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    library.decoder = decoders.ByteLevel()
    return library


def _char_library(texts: Iterable[str], most: int, min_count: int) -> Tokenizer:
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    common = sorted((c for c in counts if counts[c] >= min_count), key=lambda c: (-counts[c], c))
    vocabulary = {name: i for i, name in enumerate([*_SPECIAL, *common[: most - 2]])}
    library = Tokenizer(models.WordLevel(vocabulary, unk_token=_SPECIAL[1]))
    library.pre_tokenizer = pre_tokenizers.Split(Regex(_CHARACTERS), "isolated")
    return library


def _trainable(kind: Kind, most: int, min_count: int) -> tuple[Tokenizer, Any]:
    if kind == "word":
        library = Tokenizer(models.WordLevel({}, unk_token=_SPECIAL[1]))
        library.normalizer = normalizers.Lowercase()
        library.pre_tokenizer = pre_tokenizers.Split(Regex(_WORDS), "removed", invert=True)
        return library, trainers.WordLevelTrainer(
            vocab_size=most,
            min_frequency=min_count,
            special_tokens=_SPECIAL,
            show_progress=False,
        )
    library = Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return library, trainers.BpeTrainer(
        vocab_size=most,
        min_frequency=min_count,
        special_tokens=_SPECIAL,
        show_progress=False,
        initial_alphabet=alphabet,
    )


def _kind_of(spec: dict[str, Any]) -> Kind:
    """The kind of a parsed tokenizer.json of ours; ValueError for another's."""
    names = spec["model"]["vocab"]
    if names.get(_SPECIAL[0]) != PADDING:
        raise ValueError("it was not written by howfar")
    if spec["model"]["type"] == "BPE":
        return "bpe" if _SPECIAL[1] in names else "byte"
    return "char" if spec["pre_tokenizer"]["pattern"]["Regex"] == _CHARACTERS else "word"
