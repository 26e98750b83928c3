"""Rows to ask a model about, from what is named: a text, a table, an array, a factory.

Idea     a running text is cut into windows apart from each other; a table gives a row a sequence;
         an array is taken as it is. The model's own tokeniser goes before all others
Units    `length` counts special tokens in
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from howfar.adapt import Opened
from howfar.adapt.outside import look_up
from howfar.core.errors import DataError, UsageError, shown
from howfar.core.seeds import Seeds
from howfar.data.texts import Texts, read_texts

LONGEST = 128  # tokens a row where neither the user nor the model says
LEAST = 2

Encode = Callable[[str], Sequence[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Rows for a measure: tokens (N, L[, D]), lengths (N,), the next token of each place or None.

    name: of the data; unit: of a token; notes: what was guessed, cut or left out.
    """

    tokens: Tensor
    lengths: Tensor
    following: Tensor | None
    name: str
    unit: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the command line asks for."""

    data: str | None
    random: str | None
    tokens: str | None
    text: str | None
    encoding: str | None
    length: int | None
    sequences: int
    seed: int


def rows_of(wanted: Wanted, opened: Opened, trained_length: int | None) -> Asked:
    """The rows that are named.

    Raises:
        UsageError: E-OPTION where it is not said what to ask. DataError: E-TOO-SHORT, E-FORMAT.
    """
    length = wanted.length or min(LONGEST, trained_length or LONGEST)
    if (wanted.data is None) == (wanted.random is None):
        what = "Neither DATA nor --random" if wanted.data is None else "Both DATA and --random"
        message = f"{what} says what the model is to be asked about."
        raise UsageError("E-OPTION", message, "a text, a table, an .npy file, or --random 1000")
    if wanted.random is not None:
        return _drawn(wanted.random, wanted, length)
    data = str(wanted.data)
    if data.lower().endswith(".npy"):
        return _array(_loaded(data), data, wanted)
    if ":" in data and not Path(data).exists():
        return _made(data, wanted)
    texts = read_texts(data, text=wanted.text, encoding=wanted.encoding)
    encode, unit, said = _encoder(wanted, opened, texts)
    frame = (opened.before, opened.after) if wanted.tokens is None else ((), ())
    asked = _Texts(wanted, length, encode, frame).rows(texts, Path(data).name, unit)
    return replace(asked, notes=(*asked.notes, *said))


def _drawn(kind: str, wanted: Wanted, length: int) -> Asked:
    """Independent tokens: `V` ids, or `normal` reals, `normal:D` vectors."""
    rng = Seeds(wanted.seed).numpy("random rows")
    name, _, width = kind.partition(":")
    count = wanted.sequences
    if name == "normal" and (not width or (width.isdecimal() and int(width) > 0)):
        shape = (count, length, int(width)) if width else (count, length)
        tokens = torch.from_numpy(rng.standard_normal(shape).astype(np.float32))
        return _whole(tokens, f"independent normal numbers, seed {wanted.seed}", "position")
    if not kind.isascii() or not kind.isdecimal() or int(kind) < LEAST:
        message = f"--random {shown(kind)} is no number of symbols."
        raise UsageError("E-OPTION", message, "--random 1000, --random normal, --random normal:8")
    tokens = torch.from_numpy(rng.integers(int(kind), size=(count, length)))
    return _whole(tokens, f"independent symbols 0 .. {int(kind) - 1}, seed {wanted.seed}", "symbol")


def _loaded(path: str) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise UsageError("E-NO-FILE", f"There is no file {shown(path)}.", "a path") from error
    except (ValueError, EOFError, OSError) as error:
        message = f"{shown(path)} cannot be read as an array of numbers: {shown(str(error), 200)}."
        raise DataError("E-FORMAT", message, "numpy.save(path, array) of numbers") from error
    if not isinstance(array, np.ndarray):
        raise DataError("E-FORMAT", f"{shown(path)} holds no single array.", "numpy.save")
    return array


def _array(array: Any, name: str, wanted: Wanted) -> Asked:
    """Rows (N, L[, D]) as they are; one row of whole numbers is a text to be cut."""
    try:
        tokens = torch.as_tensor(np.asarray(array))
    except (TypeError, ValueError) as error:
        message = f"{shown(name)} holds {shown(type(array).__name__)}, not numbers."
        raise DataError("E-FORMAT", message, "integers (N, L), or reals (N, L) or (N, L, D)") from (
            error
        )
    if not tokens.is_floating_point() and tokens.ndim == 1:
        length = wanted.length or LONGEST
        return _Texts(wanted, length, lambda text: [], ((), ())).running(
            tokens.tolist(), name, "token", ()
        )
    if tokens.ndim not in (2, 3) or 0 in tokens.shape or tokens.is_complex():
        message = f"{shown(name)} holds {tuple(tokens.shape)} of {tokens.dtype}."
        raise DataError("E-SHAPE", message, "integers (N, L), or reals (N, L) or (N, L, D)")
    tokens = tokens[: wanted.sequences, : wanted.length]
    return _whole(tokens if tokens.is_floating_point() else tokens.long(), name, "token")


def _made(name: str, wanted: Wanted) -> Asked:
    """What `package.module:name` is or gives: tokens, or (tokens, lengths)."""
    where, _, attribute = name.partition(":")
    found = look_up(where, attribute, name)
    try:
        made = found() if callable(found) else found
    except Exception as error:
        text = shown(" ".join(str(error).split()), 300)
        message = f"{shown(name)} raised {type(error).__name__}: {text}."
        raise UsageError("E-DATA", message, "a function without arguments") from error
    if not isinstance(made, tuple):
        return _array(made, name, wanted)
    asked = _array(made[0], name, wanted)
    lengths = torch.as_tensor(np.asarray(made[1])).long()[: len(asked.tokens)]
    lengths = lengths.clamp(max=asked.tokens.shape[1])
    return Asked(tokens=asked.tokens, lengths=lengths, following=None, name=name, unit=asked.unit)


def _whole(tokens: Tensor, name: str, unit: str) -> Asked:
    lengths = torch.full((len(tokens),), tokens.shape[1])
    return Asked(tokens=tokens, lengths=lengths, following=None, name=name, unit=unit)


def _encoder(wanted: Wanted, opened: Opened, texts: Texts) -> tuple[Encode, str, tuple[str, ...]]:
    """How text becomes ids, what one is called, and what to say of them."""
    if wanted.tokens is None and opened.encode is not None:
        return opened.encode, "piece", ()
    kind = wanted.tokens
    if kind is None:
        folder = "The folder of " if opened.name.startswith("hf:") else ""
        message = f"{folder}{shown(opened.name)} has no tokeniser: how does text become its tokens?"
        hint = "--tokens byte, char, word, or a tokenizer.json or a table of characters"
        raise UsageError("E-OPTION", message, hint)
    if kind == "byte":
        return (lambda text: list(text.encode())), "byte", ()
    if kind in ("char", "word", "bpe"):
        from howfar.data.tokenise import train_tokeniser

        made = train_tokeniser(kind, texts.texts)  # type: ignore[arg-type]  # one of its kinds
        notes = _made_here(made.vocabulary, opened.model)
        return (lambda text: made.encode([text])[0].tolist()), made.unit, notes
    return _from_file(kind), "token", ()


def _made_here(count: int, model: object) -> tuple[str, ...]:
    """What to say of ids that the model may never have seen."""
    note = "ids were made from this text: right only for a model trained on exactly these"
    sizes = []
    if isinstance(model, torch.nn.Module):
        sizes = [m.num_embeddings for m in model.modules() if isinstance(m, torch.nn.Embedding)]
    if not sizes or count >= max(sizes):
        return (f"{note}.",)
    return (f"{note}. They are {count:,}, and the model's embedding holds {max(sizes):,}.",)


def _from_file(path: str) -> Encode:
    """A tokenizer.json of the `tokenizers` library, or a JSON table from characters to ids."""
    try:
        raw = Path(path).read_text("utf-8")
        spec = json.loads(raw)
    except (OSError, ValueError) as error:
        message = f"--tokens {shown(path)} is neither byte, char, word, bpe nor a readable file."
        raise UsageError("E-OPTION", message, "--tokens byte") from error
    if isinstance(spec, dict) and "model" in spec:
        from tokenizers import Tokenizer

        try:
            library = Tokenizer.from_str(raw)
        except Exception as error:  # the library raises plain Exception
            message = f"{shown(path)} is no tokeniser: {shown(str(error), 200)}."
            raise DataError("E-TOKENISER", message, "tokenizer.json") from error
        return lambda text: list(library.encode(text, add_special_tokens=False).ids)
    if not isinstance(spec, dict) or not all(type(v) is int and v >= 0 for v in spec.values()):
        message = f"{shown(path)} is no table from characters to ids."
        raise DataError("E-TOKENISER", message, '{"a": 1, "b": 2, ...}')
    return lambda text: [spec[character] for character in text if character in spec]


class _Texts:
    """Texts to rows of at most `length` tokens, special ones around each."""

    def __init__(
        self,
        wanted: Wanted,
        length: int,
        encode: Encode,
        frame: tuple[tuple[int, ...], tuple[int, ...]],
    ) -> None:
        self.wanted, self.length, self.encode = wanted, length, encode
        self.before, self.after = frame
        self.room = length - len(self.before) - len(self.after)
        if self.room < 1:
            message = f"--length {length} leaves no room beside the model's special tokens."
            raise UsageError("E-OPTION", message, f"--length {length + 8}")

    def rows(self, texts: Texts, name: str, unit: str) -> Asked:
        """Windows of a running text; the beginnings of a table's rows."""
        if not texts.table:
            return self.running(list(self.encode(texts.texts[0])), name, unit, texts.notes)
        order = Seeds(self.wanted.seed).numpy("rows of a table").permutation(len(texts.texts))
        chosen = sorted(order[: self.wanted.sequences].tolist())
        found = [list(self.encode(texts.texts[i])) for i in chosen]
        full = [ids for ids in found if ids]
        cut = sum(len(ids) > self.room for ids in full)
        notes = [f"{cut:,} of {len(full):,} rows are cut to {self.length:,} tokens."] if cut else []
        if len(full) < LEAST:
            raise DataError("E-TOO-SHORT", f"{shown(name)} gives {len(full)} rows.", "more rows")
        return self._padded([ids[: self.room] for ids in full], name, unit, (*texts.notes, *notes))

    def running(self, ids: list[int], name: str, unit: str, notes: tuple[str, ...]) -> Asked:
        """Windows apart from each other, with the token that follows where there is one."""
        width = self.room + 1
        apart = len(ids) // width
        if apart < LEAST:
            message = (
                f"{shown(name)} has {len(ids):,} {unit}s: too few for two rows of {self.room:,}."
            )
            fits = len(ids) // LEAST - 1
            if fits < LEAST:
                hint = f"a text of at least {LEAST * (LEAST + 1)} {unit}s"
            else:
                hint = f"--length {fits + self.length - self.room}"
            raise DataError("E-TOO-SHORT", message, hint)
        rng = Seeds(self.wanted.seed).numpy("windows")
        start = int(rng.integers(len(ids) - apart * width + 1))
        places = sorted(rng.permutation(apart)[: self.wanted.sequences].tolist())
        if len(places) < self.wanted.sequences:
            notes = (*notes, f"{len(places)} rows of {self.length:,} are all that fit.")
        array = np.asarray(ids)[start : start + apart * width].reshape(apart, width)[places]
        windows = torch.from_numpy(array).long()
        asked = self._padded(windows[:, :-1].tolist(), name, unit, notes)
        # The one token before a row is asked for the row's first; what stands behind, for nothing.
        known = len(self.before) < LEAST and not self.after
        following = windows[:, 1 - len(self.before) :] if known else None
        return Asked(
            tokens=asked.tokens,
            lengths=asked.lengths,
            following=following,
            name=name,
            unit=unit,
            notes=notes,
        )

    def _padded(
        self, rows: Sequence[Sequence[int]], name: str, unit: str, notes: tuple[str, ...]
    ) -> Asked:
        framed = [[*self.before, *row, *self.after] for row in rows]
        lengths = torch.tensor([len(row) for row in framed])
        tokens = torch.zeros(len(framed), int(lengths.max()), dtype=torch.int64)
        for i, row in enumerate(framed):
            tokens[i, : len(row)] = torch.tensor(row)
        return Asked(
            tokens=tokens, lengths=lengths, following=None, name=name, unit=unit, notes=notes
        )
