"""What each kind of tokeniser learns from texts, as an object of the `tokenizers` library.

Idea     the vocabulary is all that differs between two tokenisers of one kind; the rest is fixed
         here, so that a saved file can be compared with it
Exact    bytes, characters and both kinds of pieces need no normaliser: what is decoded is the text;
         words are lower-cased. Same texts, same ids, in every process
Memory   beyond 400,000 different words (1,000,000 for words) no further ones are learned from
Source   https://huggingface.co/docs/tokenizers; Sennrich et al. 2016, arXiv 1508.07909
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from howfar.data.unigram import ALPHABET, SPLIT, learn_pieces, word_counts
from howfar.data.units import SPECIAL, Kind, pieces

LEAST = {"byte": 257, "char": 3, "word": 3, "bpe": 258, "unigram": 258}

_WORDS, _CHARACTERS = r"\w+|[^\w\s]", r"[\s\S]"
_GIVEN = r"\S+"  # words as they stand between spaces, of data that was tokenised before
# Different words that are learned from, so that memory is bounded: below 0.5 GB.
_DISTINCT = {"word": 1_000_000, "bpe": 400_000}
_SPLITS = {"word": re.compile(_WORDS), "bpe": SPLIT}


def learn(kind: Kind, texts: Iterable[str], most: int, min_count: int | None) -> Tokenizer:
    """A library tokeniser of at most `most` ids; `min_count` None: 2, and 1 for characters."""
    if kind == "byte":
        return around(kind, _bytes())
    if kind == "char":
        return around(kind, _characters(texts, most, min_count or 1))
    if kind == "unigram":
        found = learn_pieces(word_counts(texts, min_count or 2), most - len(SPECIAL))
        return around(kind, unigram_model(found))
    return _trained(kind, _bounded(_all_pieces(texts, kind), kind), most, min_count or 2)


def around(kind: Kind, model: Any) -> Tokenizer:  # noqa: ANN401 - the library has no base class
    """The tokeniser of this kind with this model."""
    library = Tokenizer(model)
    if kind == "char":
        library.pre_tokenizer = pre_tokenizers.Split(Regex(_CHARACTERS), "isolated")
    elif kind == "word":
        library.normalizer = normalizers.Lowercase()
        library.pre_tokenizer = pre_tokenizers.Split(Regex(_WORDS), "removed", invert=True)
    else:
        library.pre_tokenizer = pre_tokenizers.ByteLevel(
            add_prefix_space=False, use_regex=kind != "byte"
        )
        library.decoder = decoders.ByteLevel()
    return library


def unigram_model(scored: list[tuple[str, float]]) -> models.Unigram:
    """Pieces with log probabilities; every byte is among them, so nothing is unknown."""
    return models.Unigram([*((name, 0.0) for name in SPECIAL), *scored], 1, False)


def kind_of(spec: dict[str, Any]) -> Kind:
    """The kind of a parsed tokenizer.json of ours.

    Raises:
        ValueError: it was not written by howfar, or it was changed.
    """
    model, kind = spec["model"], _guessed(spec)
    names = _names(model)
    if sorted(names.values()) != list(range(len(names))):
        raise ValueError("its ids have holes or doubles")
    first = [0] if kind == "byte" else [0, 1]
    if [names.get(name) for name in SPECIAL[: len(first)]] != first:
        raise ValueError("it was not written by howfar")
    if _frame(spec) != _expected(kind, spec):
        raise ValueError("its settings are not those that howfar writes")
    return kind


def _guessed(spec: dict[str, Any]) -> Kind:
    model = spec["model"]
    if model["type"] == "Unigram":
        return "unigram"
    if model["type"] == "BPE":
        return "bpe" if SPECIAL[1] in model["vocab"] else "byte"
    return "char" if spec["pre_tokenizer"]["pattern"]["Regex"] == _CHARACTERS else "word"


def _names(model: dict[str, Any]) -> dict[str, int]:
    if model["type"] != "Unigram":
        return dict(model["vocab"])
    names = [name for name, _ in model["vocab"]]
    if len(set(names)) != len(names):
        raise ValueError("a piece stands in it twice")
    return {name: index for index, name in enumerate(names)}


def _frame(spec: dict[str, Any]) -> dict[str, Any]:
    """All but the vocabulary."""
    model = {key: value for key, value in spec["model"].items() if key not in ("vocab", "merges")}
    return {**spec, "model": model}


def _expected(kind: Kind, spec: dict[str, Any]) -> dict[str, Any]:
    frame = _frame(json.loads(around(kind, _EMPTY[kind]()).to_str()))
    if kind == "word":
        if spec["normalizer"] is None:  # words may keep their case
            frame["normalizer"] = None
        if spec["pre_tokenizer"]["pattern"]["Regex"] == _GIVEN:
            frame["pre_tokenizer"]["pattern"]["Regex"] = _GIVEN
    return frame


def _all_pieces(texts: Iterable[str], kind: Kind) -> Iterator[str]:
    for text in texts:
        yield from pieces(text, kind)


def _bounded(texts: Iterable[str], kind: Kind) -> Iterator[str]:
    known: set[str] = set()
    for text in texts:
        words = _SPLITS[kind].findall(text.lower() if kind == "word" else text)
        if len(known) < _DISTINCT[kind]:
            known.update(words)
            yield text
        else:
            yield (" " if kind == "word" else "").join(word for word in words if word in known)


def _bytes() -> models.BPE:
    vocabulary = {SPECIAL[0]: 0} | {name: byte + 1 for byte, name in enumerate(ALPHABET)}
    return models.BPE(vocab=vocabulary, merges=[])


def _characters(texts: Iterable[str], most: int, min_count: int) -> models.WordLevel:
    """The most frequent characters, ties by code point."""
    counts = np.zeros(0x110000, dtype=np.int64)
    for text in _joined(texts):
        found = np.bincount(np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32))
        counts[: len(found)] += found
    known = np.flatnonzero(counts >= min_count)
    # Sorting is stable, so ties stay in the order of code points.
    common = known[np.argsort(-counts[known], kind="stable")][: most - len(SPECIAL)]
    names = [*SPECIAL, *map(chr, common.tolist())]
    return models.WordLevel({name: i for i, name in enumerate(names)}, unk_token=SPECIAL[1])


def _joined(texts: Iterable[str]) -> Iterator[str]:
    """The same characters in longer texts."""
    waiting: list[str] = []
    size = 0
    for text in texts:
        waiting.append(text)
        size += len(text)
        if size >= 1 << 16:
            yield "".join(waiting)
            waiting, size = [], 0
    yield "".join(waiting)


def _trained(kind: Kind, texts: Iterable[str], most: int, min_count: int) -> Tokenizer:
    library = around(kind, _EMPTY[kind]())
    shared: dict[str, Any] = {
        "vocab_size": most,
        "min_frequency": min_count,
        "special_tokens": list(SPECIAL),
        "show_progress": False,
    }
    if kind == "word":
        trainer: Any = trainers.WordLevelTrainer(**shared)
    else:
        trainer = trainers.BpeTrainer(**shared, initial_alphabet=sorted(ALPHABET))
    library.train_from_iterator(texts, trainer)
    # A special token would be cut out of user text that spells it: keep the ids, not the rule.
    spec = json.loads(library.to_str())
    spec["added_tokens"] = []
    return Tokenizer.from_str(json.dumps(spec))


_EMPTY: dict[Kind, Callable[[], Any]] = {
    "byte": _bytes,
    "char": lambda: models.WordLevel({}, unk_token=SPECIAL[1]),
    "word": lambda: models.WordLevel({}, unk_token=SPECIAL[1]),
    "bpe": models.BPE,
    "unigram": lambda: unigram_model([]),
}
