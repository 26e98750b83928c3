"""A label for each token, where the tokens are given.

Idea     the given tokens are the tokens, with their capitals; what training never saw is unknown
Input    columns of lists, columns of texts with spaces between, or lines of a text: the token
         first, its tag last, a blank line between sentences (CoNLL)
Split    sentences at random, equal ones together; those with a tag that train lacks go to train
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from howfar.core.errors import DataError, UsageError, shown
from howfar.data.aims.cutting import cut_rows
from howfar.data.aims.encoding import encoded, held_texts, joined
from howfar.data.aims.labels import ordered
from howfar.data.aims.opening import Source
from howfar.data.aims.options import CorpusOptions
from howfar.data.aims.parting import Shares, apart, read_parts
from howfar.data.aims.reading import Read, Roles
from howfar.data.aims.recording import record
from howfar.data.aims.roles import TAG_NAMES, TOKEN_NAMES, Pair
from howfar.data.aims.tokens import case_kept, unknown
from howfar.data.aims.unseen import settle_unseen
from howfar.data.anything import Rows
from howfar.data.examples import Corpus, Examples
from howfar.data.faults import Fault, error
from howfar.data.split import Parts
from howfar.data.split_by import known_to_train

_SPACE = "\u2423"  # the visible sign for a space
_MIN_COUNT = 2  # a word seen once teaches what an unknown word is


def load_tags(source: Source, options: CorpusOptions) -> Corpus:
    """Sentences of given tokens with a tag each.

    Raises:
        DataError: E-TAGS where tokens and tags do not match; E-ONE-CLASS, E-UNSEEN-LABEL.
        UsageError: E-OPTION for tokens other than words. EnvironmentFault: as for `read_table`.
    """
    if options.tokens not in (None, "word"):
        why = f"--tokens {options.tokens} does not fit tagging: the given tokens are the tokens."
        raise UsageError("E-OPTION", why, "leave --tokens out")
    pair = Pair(("tokens", TOKEN_NAMES), ("tags", TAG_NAMES))
    roles = Roles(choose=pair, plain=False, long=True, texts=_joined, convert=_tags, rows=sentences)

    def split(main: Read, shares: Shares) -> Parts:
        return known_to_train(apart(options)(main, shares), main.keys, main.targets)

    parted = read_parts(source, options, roles, split)
    names = ordered(tag for tags in parted.parts[0].targets for tag in tags)
    if len(names) == 1:
        raise DataError("E-ONE-CLASS", f"All training tokens have the tag {shown(names[0])}.")
    parted, left, said = settle_unseen(parted, names, options, lambda tags: tags)
    tokeniser = case_kept(
        parted.parts[0].texts, options.max_vocabulary, "given", min_count=_MIN_COUNT
    )
    codes = {name: code for code, name in enumerate(names)}
    texts = [part.texts for part in parted.parts]
    cut = cut_rows([encoded(tokeniser, of) for of in texts], texts, options, "token", covered=100)
    kept = slice(cut.length) if options.keep == "start" else slice(-cut.length, None)
    train, validation, test = (
        Examples(
            ids=ids,
            targets=joined(
                (np.asarray([codes[t] for t in tags[kept]]) for tags in p.targets),
                p.texts,
                len(codes),
            ),
            texts=held_texts(p.texts),
        )
        for ids, p in zip(cut.parts, parted.parts, strict=True)
    )
    missing, warned = unknown(tokeniser, cut.parts[1:])
    counts = Counter(tag for p in parted.parts for tags in p.targets for tag in tags)
    how = (
        f"The given tokens are the tokens, capitals kept; those seen less than {_MIN_COUNT} times "
        "in train are unknown."
    )
    data = record(
        "tagging",
        parted,
        tokeniser,
        sizes=[len(part) for part in parted.parts],
        length=cut.length,
        dropped=left,
        truncated=(cut.rows, cut.tokens),
        unknown_tokens=missing,
        labels={name: counts[name] for name in names},
        notes=(how, *said, *cut.notes, *warned),
    )
    return Corpus(
        aim="tagging",
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


def sentences(rows: Rows, *, least: int = 2) -> Rows:
    """The rows of a text in lines of token and tag; rows of a table as they are.

    least: columns of a line; 1 where no tags are needed.

    Where tabs separate, a line that starts with # and has none is a comment.

    Raises:
        DataError: E-TAGS for a line of another number of columns.
    """
    if rows.kind != "text":
        return rows
    text = str(rows.column(0)[0])
    tab = any("\t" in line for line in text.split("\n") if not line.startswith("#"))
    found: list[tuple[int, list[str], list[str]]] = []
    width, fresh = 0, True
    for number, line in enumerate(text.split("\n"), start=1):
        cells = [cell.strip() for cell in line.split("\t")] if tab else line.split()
        if line.split()[:1] in ([], ["-DOCSTART-"]):
            fresh = True
            continue
        if tab and line.startswith("#") and "\t" not in line:
            continue
        width = width or len(cells)
        if len(cells) != width or width < least or not (cells[0] and cells[-1]):
            why = f"{len(cells)} columns where the first line has {width}"
            hint = (
                "a token, a tab or space, and its tag on each line; a blank line between sentences"
            )
            fault = Fault(number, "E-TAGS", "Line not readable", why, "tags", hint)
            raise error(fault, rows.path)
        if fresh:
            found.append((number, [], []))
            fresh = False
        found[-1][1].append(cells[0])
        found[-1][2].append(cells[-1])
    return replace(
        rows,
        kind="table",
        names=("tokens", "tags"),
        lines=[number for number, _, _ in found],
        column=lambda i: [sentence[i + 1] for sentence in found],
    )


def _listed(value: object) -> list[str] | None:
    """The items of a list or of a text with spaces between; None where it is neither."""
    if isinstance(value, str):
        return value.split()
    if not isinstance(value, Sequence) or isinstance(value, bytes):
        return None
    if not all(isinstance(item, str | int) for item in value):
        return None
    return [str(item) for item in value]


def _joined(value: object) -> object:
    """Tokens as one text with single spaces; what is no list is judged as any cell."""
    items = _listed(value)
    if items is None:
        return value
    # A token with a space inside would become two.
    return " ".join(_SPACE.join(item.split()) or _SPACE for item in items)


def _tags(value: object, text: str, line: int, column: str) -> tuple[str, ...] | Fault:
    tags = _listed(value)
    tokens = text.split()
    hint = "a tag for each token, both as lists, or as texts with spaces between"
    if tags is None or not all(tag.strip() for tag in tags):
        why = f"the cell holds {shown(value)}"
        return Fault(line, "E-TAGS", "Tags not readable", why, "tags", hint, column)
    if len(tags) != len(tokens):
        why = f"{len(tokens):,} tokens have {len(tags):,} tags"
        return Fault(line, "E-TAGS", "Tokens and tags differ", why, "tags", hint, column)
    return tuple(tag.strip() for tag in tags)
