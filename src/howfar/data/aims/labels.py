"""One class a row, or any number of classes a row.

Idea     labels are strings; classes are those of train, in order, as numbers where all are whole
Split    by label, equal texts together; several labels by iterative stratification
Unseen   a held row whose label training lacks is an error, or is left out and counted
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from howfar.core.errors import DataError, shown
from howfar.data.aims.cutting import cut_rows
from howfar.data.aims.encoding import encoded, held_texts
from howfar.data.aims.opening import Source
from howfar.data.aims.options import CorpusOptions
from howfar.data.aims.parting import Parted, Shares, read_parts
from howfar.data.aims.reading import Read, Roles
from howfar.data.aims.recording import record
from howfar.data.aims.roles import text_and_label
from howfar.data.aims.tokens import learned, unknown
from howfar.data.aims.unseen import settle_unseen
from howfar.data.cells import near_duplicates
from howfar.data.examples import Corpus, Examples
from howfar.data.faults import Fault, share
from howfar.data.split import Parts, check_labels, split_rows
from howfar.data.split_by import known_to_train
from howfar.data.stratify import split_several

_LOPSIDED = 0.9  # share of the commonest label
_RARE = 100  # times as many rows of the commonest label as of the rarest
_MOST_CLASSES = 1000


def load_classes(source: Source, options: CorpusOptions) -> Corpus:
    """Texts with one label each.

    Raises:
        DataError: whatever is wrong with the content, such as E-ONE-CLASS, E-UNSEEN-LABEL.
        UsageError, EnvironmentFault: as for `read_table`.
    """

    def split(main: Read, shares: Shares) -> Parts:
        return split_rows(
            main.keys, main.targets, fractions=shares, seed=options.seed, rare=options.rare
        )

    parted = read_parts(source, options, Roles(choose=text_and_label), split)
    check_labels([label for part in parted.parts for label in part.targets])
    names = ordered(parted.parts[0].targets)
    if len(names) == 1:
        label = shown(names[0])
        why = f"All {len(parted.parts[0]):,} rows of train have the label {label}."
        raise DataError("E-ONE-CLASS", why, "add rows of another class, or split otherwise")
    parted, left, said = settle_unseen(parted, names, options, lambda label: (label,))
    codes = {name: code for code, name in enumerate(names)}
    targets = [
        np.asarray([codes[label] for label in part.targets], dtype=np.int64)
        for part in parted.parts
    ]
    counts = Counter(label for part in parted.parts for label in part.targets)
    notes = [*said, *near_duplicates(list(counts)), *lopsided(parted.parts[0].targets)]
    if held_texts(parted.parts[0].texts) is None:
        notes.append("The texts are too many to score TF-IDF beside the model.")
    return assembled("classification", parted, targets, names, (counts, left, notes), options)


def load_several(source: Source, options: CorpusOptions) -> Corpus:
    """Texts with any number of labels each, in a list or in one cell.

    Raises:
        DataError: whatever is wrong with the content, such as E-LABEL, E-UNSEEN-LABEL.
        UsageError, EnvironmentFault: as for `read_table`.
    """

    def convert(value: object, text: str, line: int, column: str) -> tuple[str, ...] | Fault:
        return several(value, options.label_separator, line, column)

    def split(main: Read, shares: Shares) -> Parts:
        _check_several(main)
        parts = split_several(main.keys, main.targets, fractions=shares, seed=options.seed)
        parts = known_to_train(parts, main.keys, main.targets)
        if not all(len(part) for part, share in zip(parts, shares, strict=True) if share > 0):
            why = f"{len(main):,} rows have too few different texts for every part of a split."
            raise DataError(
                "E-TOO-FEW", why, "add rows, or name files with --test and --validation"
            )
        return parts

    roles = Roles(choose=text_and_label, plain=False, convert=convert)
    parted = read_parts(source, options, roles, split)
    names = ordered(label for labels in parted.parts[0].targets for label in labels)
    parted, left, said = settle_unseen(
        parted,
        names,
        options,
        lambda labels: labels,
        trim=lambda labels, known: tuple(label for label in labels if label in known),
    )
    codes = {name: code for code, name in enumerate(names)}
    targets = []
    for part in parted.parts:
        made = np.zeros((len(part), len(names)), dtype=np.float32)
        for row, labels in enumerate(part.targets):
            made[row, [codes[label] for label in labels]] = 1
        targets.append(made)
    counts = Counter(label for p in parted.parts for labels in p.targets for label in labels)
    bare = sum(not labels for part in parted.parts for labels in part.targets)
    total = sum(map(len, parted.parts))
    notes = [*said, *near_duplicates(list(counts))]
    if options.group is None and options.time is None and options.fractions[0] < 1:
        notes.append("Split by iterative stratification: each label has its share of each part.")
    if bare:
        notes.append(f"{share(bare, total)} have no label.")
    return assembled("multilabel", parted, targets, names, (counts, left, notes), options)


def several(value: object, separator: str, line: int, column: str) -> tuple[str, ...] | Fault:
    """The different labels of a cell, in order; a list, or a text to be split."""
    if value is None or (isinstance(value, float) and value != value):
        return ()
    parts = value if isinstance(value, list | tuple) else str(value).split(separator)
    if isinstance(value, dict | bytes) or not all(
        isinstance(part, str | int | float) and part == part for part in parts
    ):
        hint = 'a list of texts, or one text such as "a|b"'
        return Fault(line, "E-LABEL", "Labels not readable", shown(value), "labels", hint, column)
    labels = dict.fromkeys(str(part).strip() for part in parts)
    labels.pop("", None)
    return tuple(labels)


def ordered(labels: Iterable[str]) -> tuple[str, ...]:
    """Different labels in order, as numbers where all are whole numbers."""
    known = set(labels)
    if all(label.isascii() and label.isdigit() and len(label) < 19 for label in known):
        return tuple(sorted(known, key=lambda label: (int(label), label)))
    return tuple(sorted(known))


def lopsided(labels: Sequence[str]) -> tuple[str, ...]:
    """W-IMBALANCE where one label has nearly all rows, or another hardly any."""
    counts = Counter(labels).most_common()
    (first, most), (last, least) = counts[0], counts[-1]
    if most > _LOPSIDED * len(labels):
        return (
            f"W-IMBALANCE: {share(most, len(labels))} of train have the label {shown(first)}; "
            "always saying so is hard to beat.",
        )
    if most >= _RARE * least:
        return (
            f"W-IMBALANCE: the label {shown(last)} has {least:,} training rows, {shown(first)} has "
            f"{most:,}; look at macro F1, not at accuracy alone.",
        )
    return ()


def assembled(
    aim: str,
    parted: Parted,
    targets: Sequence[object],
    names: tuple[str, ...],
    counted: tuple[Counter[str], int, Sequence[str]],
    options: CorpusOptions,
) -> Corpus:
    """Tokenise, cut and record rows that have one target each.

    Args:
        aim: of the corpus.
        parted: the rows.
        targets: of each part, as the aim has them.
        names: of the classes.
        counted: label -> rows, rows left out since the split, and notes.
        options: tokens, length and the end that stays.
    """
    counts, left, said = counted
    tokeniser, learnt = learned(options, parted.parts[0].texts)
    texts = [part.texts for part in parted.parts]
    cut = cut_rows([encoded(tokeniser, of) for of in texts], texts, options, tokeniser.unit)
    missing, warned = unknown(tokeniser, cut.parts[1:])
    train, validation, test = (
        Examples(ids=ids, targets=made, texts=held_texts(of))  # type: ignore[arg-type]
        for ids, made, of in zip(cut.parts, targets, texts, strict=True)
    )
    data = record(
        "labels" if aim == "classification" else aim,
        parted,
        tokeniser,
        sizes=[len(part) for part in parted.parts],
        length=cut.length,
        dropped=left,
        truncated=(cut.rows, cut.tokens),
        unknown_tokens=missing,
        labels={name: counts[name] for name in names} if names else None,
        notes=(*cut.notes, *learnt, *warned, *said),
    )
    return Corpus(
        aim=aim,  # type: ignore[arg-type]
        train=train,
        validation=validation,
        test=test,
        tokeniser=tokeniser,
        vocabulary=tokeniser.vocabulary,
        length=cut.length,
        data=data,
        names=names,
        keep=options.keep,
        columns=parted.columns,
    )


def _check_several(main: Read) -> None:
    names = {label for labels in main.targets for label in labels}
    if not names:
        why = f"None of {len(main):,} rows has a label."
        raise DataError("E-LABEL", why, "name the column with --label")
    if len(names) > _MOST_CLASSES:
        raise DataError(
            "E-LABEL-CARD",
            f"{len(main):,} rows have {len(names):,} different labels: is this a text column?",
            "name another column with --label, or --label-separator",
        )
