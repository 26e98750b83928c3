"""A source and its target: what goes in and what is to be written.

Idea     two tokenisers, each of train alone; words of a target keep their capitals, so that an
         answer can be written as it should be
Long     a longer source is cut at one end; a target is never cut, since half an answer is a wrong
         one: training rows with a longer target are left out, held ones stay whole, and are counted
Split    rows at random, equal sources together
"""

from collections.abc import Sequence

import numpy as np

from howfar.core.errors import DataError
from howfar.data.aims.cutting import cut_rows
from howfar.data.aims.encoding import chosen, encoded, held_texts
from howfar.data.aims.opening import Source
from howfar.data.aims.options import CorpusOptions
from howfar.data.aims.parting import apart, read_parts
from howfar.data.aims.reading import Roles
from howfar.data.aims.recording import record
from howfar.data.aims.roles import SOURCE_NAMES, TARGET_NAMES, Pair
from howfar.data.aims.tokens import case_kept, learned, sampled, unknown
from howfar.data.examples import Corpus, Examples
from howfar.data.faults import share
from howfar.data.ragged import Ragged
from howfar.data.spool import some
from howfar.data.tokenise import Tokeniser, default_kind, train_tokeniser

LONGEST_TARGET = 1024
_LEAST = 2  # training rows that must be left


def load_pairs(source: Source, options: CorpusOptions) -> Corpus:
    """Pairs of a source and a target text.

    Raises:
        DataError: E-LABEL for a missing target, E-TRUNC where all training targets are too long.
        UsageError, EnvironmentFault: as for `read_table`.
    """
    pair = Pair(("source", SOURCE_NAMES), ("target", TARGET_NAMES))
    roles = Roles(choose=pair, long=True)
    parted = read_parts(source, options, roles, apart(options))
    parts = parted.parts
    tokeniser, learnt = learned(options, parts[0].texts)
    writer, said = _writer(options, parts[0].targets)
    targets = [encoded(writer, part.targets) for part in parts]
    longest = int(targets[0].lengths.max())
    most = min(longest, LONGEST_TARGET)
    notes = [*learnt, *said]
    kept: list[Sequence[int]] = [np.flatnonzero(targets[0].lengths <= most).tolist()]
    kept += [range(len(part)) for part in parts[1:]]
    left = len(parts[0]) - len(kept[0])
    if len(kept[0]) < _LEAST:
        why = f"Targets are longer than {most:,} {writer.unit}s (longest {longest:,})."
        raise DataError("E-TRUNC", why, "shorter targets, or --tokens bpe")
    if left:
        notes.append(
            f"W-LONG-TARGET: {share(left, len(parts[0]))} of train have a target longer than "
            f"{most:,} {writer.unit}s (longest {longest:,}), and are left out."
        )
    notes += _long_held(targets, most, writer.unit)
    texts = [some(part.texts, rows) for part, rows in zip(parts, kept, strict=True)]
    whole = [encoded(tokeniser, of) for of in texts]
    cut = cut_rows(whole, texts, options, tokeniser.unit, covered=100)
    train, validation, test = (
        Examples(
            ids=ids,
            targets=chosen(goals, of, rows),
            texts=held_texts(of),
        )
        for ids, goals, of, rows in zip(cut.parts, targets, texts, kept, strict=True)
    )
    missing, warned = unknown(tokeniser, cut.parts[1:])
    unwritable, _ = unknown(writer, targets[1:])
    if unwritable:
        notes.append(
            f"W-UNKNOWN: {unwritable:,} target tokens of validation and test never stand in a "
            "training target: they cannot be written."
        )
    data = record(
        "seq2seq",
        parted,
        tokeniser,
        sizes=[len(rows) for rows in kept],
        length=cut.length,
        dropped=left,
        truncated=(cut.rows, cut.tokens),
        unknown_tokens=missing + unwritable,
        notes=(
            *cut.notes,
            *warned,
            *notes,
            f"Targets are written in {writer.unit}s, at most {most:,}; a vocabulary of "
            f"{writer.vocabulary:,}.",
        ),
    )
    return Corpus(
        aim="seq2seq",
        train=train,
        validation=validation,
        test=test,
        tokeniser=tokeniser,
        vocabulary=tokeniser.vocabulary,
        length=cut.length,
        data=data,
        keep=options.keep,
        columns=parted.columns,
        end=writer.vocabulary,
        target_tokeniser=writer,
        target_vocabulary=writer.vocabulary + 1,
        target_length=most,
    )


def _writer(options: CorpusOptions, texts: Sequence[str]) -> tuple[Tokeniser, tuple[str, ...]]:
    """The target's tokeniser: every token of train is known, words keep their capitals."""
    kind, said = (options.tokens, None) if options.tokens else default_kind(texts)
    notes: tuple[str, ...] = (f"Target: {said}",) if said else ()
    if kind == "word":
        return case_kept(texts, options.max_vocabulary, "cased"), notes
    read, sample = sampled(texts, kind)
    notes += (f"Target: {sample}",) if sample else ()
    return train_tokeniser(kind, read, max_vocabulary=options.max_vocabulary), notes


def _long_held(targets: Sequence[Ragged], most: int, unit: str) -> list[str]:
    notes = []
    for name, part in zip(("validation", "test"), targets[1:], strict=True):
        over = part.lengths[part.lengths > most]
        if len(over):
            notes.append(
                f"W-LONG-TARGET: {share(len(over), len(part))} of {name} have a target longer than "
                f"the longest of training, {most:,} {unit}s (longest {over.max():,}); they stay, "
                "whole."
            )
    return notes
