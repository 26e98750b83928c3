"""Running text, in documents: for the next token, or for tokens that are hidden.

Idea     few documents are each cut in order, many are dealt out whole, by length; the tokeniser is
         learned from train alone; windows are cut later, over documents joined with `end`
Ids      the tokeniser's, then `end` where there is more than one document, then `mask` where
         tokens are hidden
"""

from collections.abc import Sequence
from dataclasses import replace

from howfar.core.errors import DataError, UsageError
from howfar.data.aims.encoding import encoded, held_texts
from howfar.data.aims.opening import Source, open_source
from howfar.data.aims.options import CorpusOptions
from howfar.data.aims.parting import Parted, Shares, read_parts
from howfar.data.aims.reading import Read, Roles
from howfar.data.aims.recording import record
from howfar.data.aims.roles import text_alone
from howfar.data.aims.tokens import learned, unknown
from howfar.data.examples import Aim, Corpus, Examples
from howfar.data.running import HELD_WINDOWS, TRAIN_WINDOWS, cut_at
from howfar.data.split import Parts, key_of, sorted_parts
from howfar.data.split_by import blocks, split_apart

LENGTH = 128  # tokens of a window by default
_SHORTEST = 16  # a default window is not made shorter than this
_FEW = 3  # different documents below which each one is cut in order


def load_documents(source: Source, aim: Aim, options: CorpusOptions) -> Corpus:
    """Running text for "lm" or "masked".

    Raises:
        DataError: E-TOO-SHORT for fewer than 20 windows of training text, or 4 of the others.
        UsageError, EnvironmentFault: as for `read_text` and `read_table`.
    """
    if options.length is not None and options.length < 2:
        raise UsageError("E-OPTION", f"--length {options.length} is less than 2.", "--length 128")
    opened = open_source(source, options)
    parted, rows, said = _parted(opened, options)
    # What is written goes on letter by letter; hidden tokens of the texts of a table are words.
    kind = options.tokens or ("char" if aim == "lm" or opened.kind == "text" else None)
    tokeniser, learnt = learned(options, parted.parts[0].texts, kind)
    ids = [encoded(tokeniser, part.texts) for part in parted.parts]
    several = max(map(len, ids)) > 1
    end = tokeniser.vocabulary if several else None
    mask = tokeniser.vocabulary + several if aim == "masked" else None
    vocabulary = tokeniser.vocabulary + several + (aim == "masked")
    sizes = [part.num_tokens + len(part) * several for part in ids]
    length, fitted = _fitting(sizes, options.length, tokeniser.unit)
    missing, warned = unknown(tokeniser, ids[1:])
    data = record(
        "text" if aim == "lm" else aim,
        parted,
        tokeniser,
        sizes=sizes,
        length=length,
        vocabulary=vocabulary,
        unknown_tokens=missing,
        notes=(*said, *learnt, *fitted, *warned),
    )
    train, validation, test = (
        Examples(ids=part, texts=held_texts(read.texts))
        for part, read in zip(ids, parted.parts, strict=True)
    )
    return Corpus(
        aim=aim,
        train=train,
        validation=validation,
        test=test,
        tokeniser=tokeniser,
        vocabulary=vocabulary,
        length=length,
        data=replace(data, rows=rows),
        keep=options.keep,
        columns=parted.columns,
        end=end,
        mask=mask,
    )


def _parted(source: Source, options: CorpusOptions) -> tuple[Parted, int, tuple[str, ...]]:
    """The parts: documents dealt out whole, or cut in order where there are few; how many."""
    in_order: list[int] = []

    def split(main: Read, shares: Shares) -> Parts:
        if shares[0] == 1 or len(blocks(main.keys)) < _FEW:
            in_order.extend([len(main)] * (shares[0] < 1))
            return sorted_parts([range(len(main)), (), ()])
        weights = [len(text) for text in main.texts]
        return split_apart(main.keys, weights=weights, fractions=shares, seed=options.seed)

    parted = read_parts(source, options, Roles(choose=text_alone), split)
    rows = sum(map(len, parted.parts))
    if not in_order:
        return parted, rows, ()
    pieces = [_in_order(text, options.fractions) for text in parted.parts[0].texts]
    parts = [
        _texts(part, [piece[i] for piece in pieces]) if share else part
        for i, (part, share) in enumerate(zip(parted.parts, options.fractions, strict=True))
    ]
    said = f"{'Each' if in_order[0] > 1 else 'The'} text is cut in order: the end is held out."
    return replace(parted, parts=(parts[0], parts[1], parts[2])), rows, (said,)


def _in_order(text: str, shares: Shares) -> list[str]:
    """One piece for train, validation and test; empty where its share is 0."""
    cuts = [sum(shares[: i + 1]) for i in range(2) if shares[i + 1] > 0]
    pieces = iter(cut_at(text, cuts))
    return [next(pieces) if share > 0 else "" for share in shares]


def _texts(part: Read, texts: Sequence[str]) -> Read:
    return replace(
        part,
        texts=tuple(texts),
        keys=tuple(key_of(text) for text in texts),
        targets=("-",) * len(texts),
        lines=(1,) * len(texts),
    )


def _fitting(sizes: Sequence[int], asked: int | None, unit: str) -> tuple[int, tuple[str, ...]]:
    """The window, shortened where none was asked for and the text is short.

    Raises:
        DataError: E-TOO-SHORT.
    """
    train, *held = sizes
    most = min((train - 1) // TRAIN_WINDOWS, (min(held) - 1) // HELD_WINDOWS)
    length = asked or max(_SHORTEST, min(LENGTH, most))
    if most >= length:
        short = asked is None and length < LENGTH
        said = f"The window is {length:,} {unit}s, since the text is short."
        return length, (said,) if short else ()
    needed = TRAIN_WINDOWS * length + 1, HELD_WINDOWS * length + 1
    raise DataError(
        "E-TOO-SHORT",
        f"The text is too short for windows of {length:,} {unit}s: train, validation and test have "
        f"{train:,}, {held[0]:,} and {held[1]:,} {unit}s, and need {needed[0]:,}, {needed[1]:,} "
        f"and {needed[1]:,}.",
        f"--length {most}" if most >= 2 else "give more text",
    )
