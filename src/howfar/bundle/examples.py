"""Rows of a file as a trained model reads them: its tokeniser, its classes, its length.

Idea     the columns are found and the cells judged as for training; nothing is learned anew
Unseen   a label that the model does not know is an error, or with `unseen="ignore"` its row is left
         out and counted; of several labels only the unknown ones are left out
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from howfar.bundle.bundle import Bundle
from howfar.core.errors import DataError, shown
from howfar.data.aims.labels import several
from howfar.data.aims.numbers import number
from howfar.data.aims.options import CorpusOptions
from howfar.data.aims.reading import Names, Read, Roles, read_source
from howfar.data.aims.roles import (
    NUMBER_NAMES,
    SOURCE_NAMES,
    TAG_NAMES,
    TARGET_NAMES,
    TOKEN_NAMES,
    Pair,
    text_alone,
    text_and_label,
)
from howfar.data.aims.tagging import _joined, _tags, sentences
from howfar.data.anything import Rows
from howfar.data.columns import TEXT_NAMES
from howfar.data.examples import Corpus, Examples, Targets
from howfar.data.faults import place, share
from howfar.data.ragged import Ragged
from howfar.record.comparison import Data

_RUNNING = ("lm", "masked")  # aims whose texts stay whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Rows ready to be scored. left_out: rows with a label that the model does not know."""

    examples: Examples
    name: str
    left_out: int = 0
    notes: tuple[str, ...] = ()
    sha256: str | None = None


def read_asked(bundle: Bundle, source: str | Path, options: CorpusOptions) -> Asked:
    """Read a file for a model.

    Args:
        bundle: the model.
        source: as for `howfar.data.corpus.load_corpus`.
        options: columns, how to read, and `unseen`.

    Raises:
        DataError: whatever is wrong with the content; E-UNSEEN-LABEL.
        UsageError, EnvironmentFault: as for `read_table`.
    """
    settings = bundle.settings
    roles = _as_trained(_roles(settings.aim, options), settings.columns)
    read = read_source(source, options, roles)
    where = partial(_unseen, read)
    found = asked_of(bundle, read.texts, read.targets, unseen=options.unseen, where=where)
    name = Path(read.path).name.split(".")[0] or str(source)
    return replace(found, name=name, notes=(*read.notes, *found.notes), sha256=read.sha256)


def asked_of(
    bundle: Bundle,
    texts: Sequence[str],
    targets: Sequence[Any] | None = None,
    *,
    unseen: str = "error",
    where: Callable[[int, int, str], DataError] | None = None,
) -> Asked:
    """Texts with what is true of them, as the model reads them.

    Args:
        bundle: the model.
        texts: at least one.
        targets: by aim a class's name, names of labels, a number, tags of every token, the answer
            to a source; None for language models.
        unseen: "error" or "ignore".
        where: makes the error of an unknown label, from its row, how many there are, and itself.

    Raises:
        DataError: E-UNSEEN-LABEL; E-EMPTY where no row is left; E-TAGS for tags that do not fit.
    """
    settings = bundle.settings
    rows, left = list(range(len(texts))), 0
    notes: tuple[str, ...] = ()
    known = frozenset(settings.names)
    odd = [i for i in rows if not known.issuperset(_labels(settings.aim, targets, i))]
    if odd and unseen == "error":
        unknown = next(x for x in _labels(settings.aim, targets, odd[0]) if x not in known)
        raise (where or partial(_plain, len(texts)))(odd[0], len(odd), unknown)
    if odd:
        notes = (f"W-UNSEEN: {share(len(odd), len(rows))} have a label the model does not know.",)
    if odd and settings.aim != "multilabel":
        gone = set(odd)
        rows, left = [i for i in rows if i not in gone], len(odd)
    if not rows:
        raise DataError("E-EMPTY", "No row is left to score.", "rows with labels it knows")
    kept = tuple(texts[i] for i in rows)
    whole = bundle.tokeniser.encode(kept)
    told = [] if targets is None else [targets[i] for i in rows]
    ids, cut = _cut(bundle, whole)
    examples = Examples(ids=Ragged.of(ids), targets=_targets(bundle, told, whole), texts=kept)
    return Asked(examples=examples, name="texts", left_out=left, notes=(*notes, *cut))


def corpus_of(bundle: Bundle, asked: Asked) -> Corpus:
    """The rows as every part of a corpus of the model's own."""
    settings, tokeniser = bundle.settings, bundle.tokeniser
    length = settings.length
    if settings.aim in _RUNNING:
        size = asked.examples.ids.num_tokens + len(asked.examples) * (settings.end is not None)
        if size < 2:
            message = "A text of one token has no next token to score."
            raise DataError("E-TOO-SHORT", message, "more text")
        length = min(length, size - 1)
    return Corpus(
        aim=cast("Any", settings.aim),
        train=asked.examples,
        validation=asked.examples,
        test=asked.examples,
        tokeniser=tokeniser,
        vocabulary=settings.vocabulary,
        length=length,
        data=Data(
            kind="text" if settings.aim in _RUNNING else "labels",
            name=asked.name,
            unit=tokeniser.unit,
            rows=len(asked.examples),
            test=len(asked.examples),
            sha256=asked.sha256,
        ),
        names=settings.names,
        keep=cast("Any", settings.keep),
        end=settings.end,
        mask=settings.mask,
        scale=cast("Any", settings.scale),
        target_tokeniser=bundle.target_tokeniser,
        target_vocabulary=settings.vocabulary if settings.aim == "seq2seq" else None,
        target_length=settings.target_length,
    )


def _roles(aim: str, options: CorpusOptions) -> Roles:
    if aim == "multilabel":

        def parted(value: object, text: str, line: int, column: str) -> object:
            return several(value, options.label_separator, line, column)

        return Roles(choose=text_and_label, plain=False, convert=parted)
    if aim == "regression":
        return Roles(choose=Pair(("text", TEXT_NAMES), ("number", NUMBER_NAMES)), convert=number)
    if aim == "tagging":
        pair = Pair(("tokens", TOKEN_NAMES), ("tags", TAG_NAMES))
        return Roles(choose=pair, plain=False, texts=_joined, convert=_tags, rows=sentences)
    if aim == "seq2seq":
        return Roles(choose=Pair(("source", SOURCE_NAMES), ("target", TARGET_NAMES)))
    return Roles(choose=text_alone if aim in _RUNNING else text_and_label)


def _as_trained(roles: Roles, columns: tuple[str, ...]) -> Roles:
    """The same roles; columns that nobody names are those of training, where the file has them."""

    def choose(rows: Rows, asked: Names) -> tuple[int, int | None, tuple[str, ...]]:
        known = [None if name in asked or name not in rows.names else name for name in columns]
        pairs = zip(asked, [*known, None, None], strict=False)
        filled = [own or (trained if rows.kind == "table" else None) for own, trained in pairs]
        text, target, said = roles.choose(rows, (filled[0], filled[1]))
        taken = [name for name, own in zip(filled, asked, strict=True) if name and not own]
        if taken:
            named = " and ".join(shown(name, 40) for name in taken)
            said = (*said, f"As trained, {'columns' if len(taken) > 1 else 'column'} {named}.")
        return text, target, said

    return replace(roles, choose=choose)


def _labels(aim: str, targets: Sequence[Any] | None, row: int) -> Sequence[str]:
    """The names of classes in one target."""
    if targets is None or aim not in ("classification", "multilabel", "tagging"):
        return ()
    return (targets[row],) if aim == "classification" else targets[row]


def _targets(bundle: Bundle, told: list[Any], whole: Sequence[Any]) -> Targets:
    """Targets of the kept rows, as `Examples` holds them."""
    settings = bundle.settings
    codes = {name: code for code, name in enumerate(settings.names)}
    if settings.aim == "classification":
        return np.asarray([codes[label] for label in told], dtype=np.int64)
    if settings.aim == "multilabel":
        table = np.zeros((len(told), len(codes)), dtype=np.float32)
        for row, labels in enumerate(told):
            table[row, [codes[label] for label in labels if label in codes]] = 1
        return table
    if settings.aim == "regression":
        mean, deviation = settings.scale or (0.0, 1.0)
        return ((np.asarray(told, dtype=np.float64) - mean) / deviation).astype(np.float32)
    if settings.aim == "tagging":
        for tags, ids in zip(told, whole, strict=True):
            if len(tags) != len(ids):
                message = f"{len(ids):,} tokens have {len(tags):,} tags."
                raise DataError("E-TAGS", message, "a tag for each token")
        kept = _kept(bundle)
        return Ragged.of([np.asarray([codes[tag] for tag in tags][kept]) for tags in told])
    if settings.aim == "seq2seq":
        assert bundle.target_tokeniser is not None
        return Ragged.of(bundle.target_tokeniser.encode(told))
    return None


def _cut(bundle: Bundle, whole: Sequence[Any]) -> tuple[list[Any], tuple[str, ...]]:
    """Rows as long as the model reads them; texts of language models stay whole."""
    most = bundle.settings.length
    over = sum(len(ids) > most for ids in whole)
    if bundle.settings.aim in _RUNNING or not over:
        return list(whole), ()
    longest = max(map(len, whole))
    said = (
        f"W-TRUNC: {share(over, len(whole))} are longer than the {most:,} "
        f"{bundle.tokeniser.unit}s that the model reads (longest {longest:,}), and are cut."
    )
    return [ids[_kept(bundle)] for ids in whole], (said,)


def _kept(bundle: Bundle) -> slice:
    most = bundle.settings.length
    return slice(most) if bundle.settings.keep == "start" else slice(-most, None)


def _unseen(read: Read, row: int, rows: int, label: str) -> DataError:
    where = place(read.path, read.lines[row], read.columns[1])
    return _unknown(f" in {where}", share(rows, len(read)), label)


def _plain(whole: int, row: int, rows: int, label: str) -> DataError:
    return _unknown(f" in row {row + 1:,}", share(rows, whole), label)


def _unknown(where: str, rows: str, label: str) -> DataError:
    return DataError(
        "E-UNSEEN-LABEL",
        f"Unknown label{where}: {rows} have a label that the model does not know, such as "
        f"{shown(label)}.",
        "--unseen ignore leaves them out and counts them",
    )
